"""What an open page keeps through whatever happens to the line, the server, the kernel and the cells behind it.

A page stays open in each front end, and all that can happen there happens to it, one after the other:

                        JupyterLab  behind   Notebook 7  JupyterHub  nbws run  behind  python
                                    nginx                                      nginx   chat.py
    asleep for 6 s          x          x          x           x          x        x       x
    asleep for 14 s         x          x          x           x          x        x       x
    network cut for 5 s     x          x          x           x          x        x       x
    page's cell again       x          x          x           x         a script has no cells
    app's cell again        x          x          x           x         a script has no cells
    kernel restarted        x          x          x           x         a script has no kernel
    server restarted        x          x          x           x          x        x       x

After each of them the page is alive within a second, where nothing else runs: what was typed stands in the box, the
list is there, what somebody else says and has said meanwhile arrives once, and what the page sends arrives, too. The
pages of a test sleep side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import BrowserContext, CDPSession, FrameLocator, Locator, Page, expect

from .conftest import EVIDENCE, settle
from .hub import Hub, proxy_command
from .jupyter import RESTARTED_LAB, RESTARTED_NOTEBOOK, JupyterServer, JupyterSettings
from .nginx import Nginx, nginx_command
from .notebook import Notebook, write_notebook
from .relay import Relay
from .scripts import Script
from .sockets import connected
from .test_proxy import address
from .timeouts import seconds

UseJupyter = Callable[[JupyterSettings], JupyterServer]
NewContext = Callable[..., BrowserContext]
Network = Callable[[int], Relay]
StartNginx = Callable[[int], Nginx]
Run = Callable[..., Script]
Shown = Page | FrameLocator

pytestmark = pytest.mark.timeout(seconds(300))

APP = """
from nbws.common import *
app, rt = fast_app(exts='ws')
people = app.room('people', history=20)
"""
PAGE = """
@rt('/')
def home():
    form = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    wave = Button('wave', name='msg', value='wave', ws_send=True)
    return Titled('first', Ul(id='said'), form, wave, hx_ext='ws', ws_connect='/ws')
"""
SOCKET = """
@app.ws('/ws', conn=people.join)
async def said(msg: str): people.send(Ul(Li(msg), hx_swap_oob='beforeend:#said'))
"""
SCRIPT = APP + PAGE + SOCKET + "serve()\n"
CONNECTED = "() => document.querySelector('[ws-connect]')?.['htmx-internal-data']?.webSocket?.socket?.readyState === 1"
CELLS = [APP, PAGE, SOCKET, "serve()"]
SERVES = 3


class Talk:
    """What is said in an app: by the pages that are tried, and by somebody else, whose network is fine."""

    def __init__(self, other: Callable[[], Shown]) -> None:
        self.other = other
        self.texts: list[str] = []
        self.fronts: list[Front] = []

    def tell(self, text: str) -> None:
        """Somebody else says something."""
        box = self.other().get_by_label("message")
        box.fill(text)
        box.press("Enter")
        self.texts.append(text)


class Front:
    """An open page behind a network that can break. `way` is its column of the table."""

    def __init__(self, way: str, talk: Talk, page: Page, url: str, network: Relay) -> None:
        self.way, self.talk, self.page, self.network = way, talk, page, network
        self._session: CDPSession | None = None
        page.goto(url)
        connected(page, talk.other())
        talk.fronts.append(self)
        talk.tell(f"before, in {way}")
        self.shows()

    def shows(self) -> None:
        """The page has the whole list, and everything in it once."""
        expect(lines(self.page)).to_have_text(self.talk.texts)

    def type(self, event: str) -> None:
        """Begin a message, and do not send it."""
        self.typed = f"half typed before {event}"
        self.page.get_by_label("message").fill(self.typed)

    def sleep(self) -> None:
        """The laptop sleeps: no script of its page runs, no packet passes, and nobody is told."""
        self._session = self.page.context.new_cdp_session(self.page)
        self._session.send("Debugger.enable")
        self._session.send("Debugger.pause")
        self.network.hold()

    def wake(self) -> None:
        """And goes on."""
        assert self._session
        self.network.release()
        self._session.send("Debugger.resume")
        self._session.detach()

    def cut(self) -> None:
        """The network is away, and says so."""
        self.network.cut()

    def join(self) -> None:
        """And is there again."""
        self.network.open = True

    def connects(self, since: float) -> None:
        """Wait for the socket, which may go to another address."""
        self.page.wait_for_function(CONNECTED, polling=20)
        self.took = time.monotonic() - since

    def is_alive(self, event: str) -> None:
        """Look at the page as its person does."""
        connected(self.talk.other())
        back = time.monotonic()
        self.talk.tell(f"after {event}, in {self.way}")
        self.shows()
        self.took += time.monotonic() - back
        print(f"{self.way}, {event}: alive after {self.took:.2f} s")
        if self.took > 1:
            fresh = max(self.fresh() for _ in range(3))
            print(f"    a fresh page takes {fresh:.2f} s")
            assert self.took < 1 + 10 * fresh  # A second, and what else this machine does just now
        self.page.get_by_role("button", name="wave").click()
        self.talk.texts.append("wave")
        self.shows()
        expect(lines(self.talk.other()).last).to_have_text("wave")
        expect(self.page.get_by_label("message")).to_have_value(self.typed)

    def fresh(self) -> float:
        """How many seconds a new page takes until it is connected: a tenth or two where nothing else runs."""
        page = self.page.context.new_page()
        began = time.monotonic()
        page.goto(self.page.url)
        page.wait_for_function(CONNECTED, polling=20)
        took = time.monotonic() - began
        page.close()
        return took


def lines(page: Shown) -> Locator:
    """What was said."""
    return page.locator("#said li")


def go_through_lines(talks: list[Talk]) -> None:
    """What can happen to the line of each page happens to all of them at the same time."""
    for event, number, begin, end in (
        ("asleep for 6 s", 6, Front.sleep, Front.wake),
        ("asleep for 14 s", 14, Front.sleep, Front.wake),
        ("network cut for 5 s", 5, Front.cut, Front.join),
    ):
        fronts = [front for talk in talks for front in talk.fronts]
        for front in fronts:
            front.type(event)
            begin(front)
            front.talk.tell(f"while {event}, in {front.way}")
        time.sleep(number)
        for front in fronts:
            end(front)
            front.connects(time.monotonic())
            front.is_alive(event)


def go_through(talk: Talk, event: str, happens: Callable[[], None]) -> None:
    """Something happens to the app, and so to all its pages."""
    for front in talk.fronts:
        front.type(event)
    happens()
    since = time.monotonic()
    for front in talk.fronts:
        front.connects(since)
    for front in talk.fronts:
        front.is_alive(event)


@pytest.fixture
def network() -> Iterator[Network]:
    """Networks of the test's own: each `network(port)` listens at another port and passes on to this one."""
    made: list[Relay] = []

    def make(port: int) -> Relay:
        made.append(Relay(port))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


@pytest.fixture
def start_nginx(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[StartNginx]:
    """Start nginx in front of a port."""
    started: list[Nginx] = []

    def start(port: int) -> Nginx:
        started.append(Nginx(port, tmp_path_factory.mktemp("nginx")))
        return started[-1]

    yield start
    left = [line for nginx in started for line in nginx.stop()]
    request.node.stash.setdefault(EVIDENCE, {})["nginx.log"] = "".join(nginx.log() for nginx in started)
    settle(left)


def skip_without_nginx() -> None:
    """At a test's end: all but the columns behind nginx has passed."""
    if nginx_command() is None:
        pytest.skip("no nginx: `make nginx` takes Debian's; the other columns passed")


def run(way: str, nb: Notebook, network: Network, token: str = "") -> Talk:
    """Run the notebook; its page in a tab of its own, and the cell's iframe as somebody else."""
    nb.run_all()
    talk = Talk(lambda: nb.frame(SERVES))
    add(way, talk, nb, network, urlsplit(address(nb, SERVES)).port or 0, token)
    return talk


def add(way: str, talk: Talk, nb: Notebook, network: Network, port: int, token: str) -> None:
    """One more page of the notebook's app, by this port."""
    line = network(port)
    url = urlsplit(address(nb, SERVES))._replace(netloc=f"127.0.0.1:{line.port}", query=token)
    Front(way, talk, nb.page.context.new_page(), urlunsplit(url), line)


def go_through_notebook(talk: Talk, nb: Notebook, restart_server: Callable[[], None]) -> None:
    """What can happen to a notebook."""

    def page_cell() -> None:
        nb.edit(1, PAGE.replace("first", "second"))
        for front in talk.fronts:
            expect(front.page.get_by_role("heading")).to_have_text("second")

    def kernel() -> None:
        nb.restart()
        nb.run_all()

    def server() -> None:
        restart_server()
        nb.page.bring_to_front()
        nb.reload()
        nb.run_all()

    go_through(talk, "page's cell again", page_cell)
    go_through(talk, "app's cell again", lambda: nb.run(0))
    go_through(talk, "kernel restarted", kernel)
    go_through(talk, "server restarted", server)


@pytest.mark.allow_jupyter_log("received signal 15, stopping")
def test_in_jupyter(
    use_jupyter: UseJupyter, network: Network, start_nginx: StartNginx, new_context: NewContext, output_path: str
) -> None:
    """In kernels of one's own Jupyter."""
    opened: list[tuple[Talk, Notebook, JupyterServer]] = []
    for way, settings in (("JupyterLab", RESTARTED_LAB), ("Notebook 7", RESTARTED_NOTEBOOK)):
        server = use_jupyter(settings)
        path = write_notebook(server.root / "drops.ipynb", CELLS)
        nb = Notebook(new_context().new_page(), server, path, Path(output_path))
        opened.append((run(way, nb, network, f"token={server.token}"), nb, server))
    if nginx_command():
        talk, nb, server = opened[0]
        door = start_nginx(urlsplit(server.url).port or 0)
        add("JupyterLab behind nginx", talk, nb, network, door.port, f"token={server.token}")
    go_through_lines([talk for talk, _, _ in opened])
    for talk, nb, server in opened:
        go_through_notebook(talk, nb, server.restart)
    skip_without_nginx()


@pytest.mark.skipif(proxy_command() is None, reason="no configurable-http-proxy: `make hub` needs npm")
def test_under_jupyterhub(hub: Hub, network: Network, new_context: NewContext, output_path: str) -> None:
    """In a kernel of a person's server."""
    page = new_context().new_page()
    alice = hub.user(page, "alice")
    nb = alice.open(page, CELLS, Path(output_path))
    talk = run("JupyterHub", nb, network)
    go_through_lines([talk])
    go_through_notebook(talk, nb, lambda: alice.restart(page.context.new_page()))


def test_at_scripts(
    run_script: Run, network: Network, start_nginx: StartNginx, new_context: NewContext, tmp_path: Path
) -> None:
    """As the app is served to the world; `nbws run` leaves who is silent for ten seconds."""
    file = tmp_path / "chat.py"
    file.write_text(SCRIPT)
    context = new_context()
    served: list[tuple[Talk, Callable[[], None]]] = []

    def serve(way: str, start: Callable[[], Script]) -> tuple[Talk, int]:
        running = start()
        inner = network(running.port)  # It keeps its port, whatever the script's next one is
        other = context.new_page()
        other.goto(f"http://127.0.0.1:{inner.port}/")

        def restart() -> None:
            nonlocal running
            running.stop()
            running = start()
            inner.target = running.port

        served.append((Talk(lambda: other), restart))
        add_page(way, served[-1][0], inner.port)
        return served[-1][0], inner.port

    def add_page(way: str, talk: Talk, port: int) -> None:
        line = network(port)
        Front(way, talk, context.new_page(), f"http://127.0.0.1:{line.port}/", line)

    serve("python chat.py", lambda: run_script(file))
    options = ("run", "chat.py", "--request-timeout", "10")
    talk, port = serve("nbws run", lambda: run_script("nbws", *options, cwd=tmp_path))
    if nginx_command():
        add_page("nbws run behind nginx", talk, start_nginx(port).port)
    go_through_lines([talk for talk, _ in served])
    for talk, restart in served:
        go_through(talk, "server restarted", restart)
    skip_without_nginx()
