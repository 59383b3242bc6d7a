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


# FastHTML's modules, by their names there: `from nbws.svg import *` is `from nbws.fasthtml.svg import *`
_MODULES = {
    **{name: f'nbws.fasthtml.{name}' for name in ('authmw', 'components', 'js', 'pico', 'svg', 'toaster', 'xtend')},
    **dict.fromkeys(('all', 'basics', 'fastapp', 'ft', 'live_reload', 'starlette'), 'nbws.common'),
    'oauth': 'fasthtml.oauth',  # Its own: it works with our apps where python-fasthtml is installed
}


class _Modules:
    "Finds them; Python asks last, and only for what has no file here."
    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name.partition('.')[0] != __name__ or name.partition('.')[2] not in _MODULES: return None
        from importlib.util import spec_from_loader
        return spec_from_loader(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: object) -> object:
        from importlib import import_module
        module = import_module(_MODULES[spec.name.partition('.')[2]])  # type: ignore[attr-defined]
        self.spec = module.__spec__
        return module

    def exec_module(self, module: object) -> None: module.__spec__ = self.spec  # type: ignore[attr-defined]


def _find_modules() -> None:
    import sys
    if any(type(finder).__name__ == "_Modules" for finder in sys.meta_path): return
    sys.meta_path.append(_Modules())  # type: ignore[arg-type]


_find_modules()


def __getattr__(name: str) -> object:
    "The public `name`, from its module; kept, so that this runs once a name. Others are those of `nbws.common`."
    from importlib import import_module
    if name in _MODULES: return import_module(f'{__name__}.{name}')
    if name not in _FACE:
        if name.startswith('_') or name not in import_module('nbws.common').__all__:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(_FACE.get(name, 'nbws.common')), name)
    return value


def __dir__() -> list[str]: return sorted({*globals(), *_FACE})
