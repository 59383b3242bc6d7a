"The app as `nbws run` asks for it."
import nbws.common # noqa: F401
import servers

app = servers.components()
