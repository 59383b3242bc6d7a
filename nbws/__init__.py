"""Live web apps in notebooks. This face is lazy: a name is imported when it is first asked for.

Jupyter Server imports `nbws.jupyter.extension` at its start, and with it this file, and must not pay for the rest.
"""
__version__ = '0.1.0'

_FACE = {  # public name -> the module it stands in
    'App': 'nbws.app',
    'FastHTML': 'nbws.common',
    'serve': 'nbws.notebook.serve',
    'show': 'nbws.notebook.show',
    'stop': 'nbws.notebook.served',
}
__all__ = ['__version__', 'App', 'FastHTML', 'serve', 'show', 'stop']

TYPE_CHECKING = False # As `typing` says it, which this file does not import; for type checkers it is true
if TYPE_CHECKING:
    from .common import App, FastHTML, serve, show, stop


def __getattr__(name: str) -> object:
    "The public `name`, from its module; kept, so that this runs once a name."
    if name not in _FACE: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    value = globals()[name] = getattr(import_module(_FACE[name]), name)
    return value


def __dir__() -> list[str]: return sorted({*globals(), *_FACE})
