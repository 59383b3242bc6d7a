"""One application, served, in a process of its own and in the folder in which it wants to run.

Loads the file as a module, finds its app, serves it on a free port of 127.0.0.1, and says where, or why not, in one
line of JSON. The application reaches nothing outside this machine and starts no process. A package that is not
installed is replaced by a stand-in, and the line names it.
"""
from __future__ import annotations

import asyncio
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import platform
import re
import socket
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

HERE = {'127.0.0.1', '::1', 'localhost', '0.0.0.0', '::', '', None}
REFUSED = 'compat: nothing outside this machine, no other process'
KEYS = ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY', 'GROQ_API_KEY', 'GEMINI_API_KEY', 'HF_TOKEN',
        'REPLICATE_API_TOKEN', 'REPLICATE_API_KEY', 'DOMAIN',
        'AUTH_CLIENT_ID', 'AUTH_CLIENT_SECRET', 'GITHUB_TOKEN', 'STRIPE_SECRET_KEY', 'STRIPE_WEBHOOK_SECRET')


# What is imported before, so that it is not for each application.
USUAL = {'tremolo': ['tremolo'],
         'fasthtml': ['fasthtml.common', 'fasthtml.oauth', 'monsterui.all', 'uvicorn', 'pandas',
                      'starlette.testclient'],
         'nbws': ['nbws.common', 'nbws.adapters.detect', 'nbws.server.listener', 'fasthtml.common', 'monsterui.all',
                  'pandas', 'fastlite']}


def guard(event: str, args: tuple[Any, ...]) -> None:
    "An audit hook: what an application may not do here."
    if event in ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'webbrowser.open'):
        raise PermissionError(REFUSED)
    if event in ('socket.connect', 'socket.sendto'):
        address = args[1]
        if isinstance(address, tuple) and address[0] not in HERE: raise PermissionError(REFUSED)
    if event == 'socket.getaddrinfo':
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        if host not in HERE: raise socket.gaierror(REFUSED)


class StandIn(ModuleType):
    "A module that is not installed here: every name in it answers everything."
    __path__: list[str] = []
    __all__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'): raise AttributeError(name)
        value = MagicMock(name=f'{self.__name__}.{name}')
        setattr(self, name, value)
        return value


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    "The last finder: packages that nobody else found. nbws' own and FastHTML's must exist."
    def __init__(self) -> None: self.names: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        top = name.partition('.')[0]
        local = any(Path(folder, top).with_suffix(s).exists() for folder in LOCAL for s in ('', '.py'))
        frameworks = {'nbws', 'fasthtml', 'tremolo', 'fastcore', 'starlette'}
        if top in frameworks | sys.stdlib_module_names or local: return None
        if top != name and top not in self.names: return None # An installed package looks for a part that is optional
        frame: Any = sys._getframe(1)
        while frame and 'importlib' in frame.f_code.co_filename: frame = frame.f_back
        if not frame or not frame.f_code.co_filename.startswith(tuple(LOCAL)): return None # A library's own attempt
        self.names.add(top)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType: return StandIn(spec.name)
    def exec_module(self, module: ModuleType) -> None: return None


LOCAL: list[str] = []


def load(file: Path) -> ModuleType:
    "The application's module, by its file; a file in a package under its full name."
    name, folder = file.stem, file.parent
    while (folder / '__init__.py').exists() and folder.name.isidentifier():
        name, folder = f'{folder.name}.{name}', folder.parent
    LOCAL.insert(0, str(folder))
    sys.path[:0] = LOCAL
    if name != file.stem: return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(f: Any) -> list[list[str]]:
    "Name and annotation of what a handler takes and has no default for; a dataclass as its fields."
    found: list[list[str]] = []
    try: items = inspect.signature(f, eval_str=True).parameters.values()
    except Exception: return found
    for p in items:
        fields = getattr(p.annotation, '__annotations__', None) if isinstance(p.annotation, type) else None
        own = type(p.annotation).__name__ != 'ModelMetaclass' and getattr(p.annotation, '__module__', '') != 'builtins'
        if fields and own: found += [[n, getattr(t, '__name__', str(t))] for n, t in fields.items()]
        else: found.append([p.name, getattr(p.annotation, '__name__', str(p.annotation))])
    return [f for f in found if f[0] not in {'self', 'req', 'request', 'session', 'sess', 'auth', 'htmx', 'app', 'ws',
                                             'send', 'scope', 'args', 'kwargs', 'state', 'body'}]


def handler(endpoint: Any) -> Any:
    "The function that FastHTML's endpoint was made of."
    for cell in getattr(endpoint, '__closure__', None) or ():
        if inspect.isfunction(cell.cell_contents) or inspect.isclass(cell.cell_contents): return cell.cell_contents
    return endpoint


def routes(app: Any, prefix: str = '') -> list[dict[str, Any]]:
    "A Starlette application's routes."
    found: list[dict[str, Any]] = []
    for route in getattr(app, 'routes', []):
        path = prefix + getattr(route, 'path', '')
        kind = next((k.__name__ for k in type(route).__mro__ if k.__name__ in {'Mount', 'WebSocketRoute', 'Route'}), '')
        if kind == 'Mount': found += routes(route, path)
        elif kind == 'WebSocketRoute': found.append({'path': path, 'methods': ['WS'], 'takes': _socket(route.endpoint)})
        elif kind == 'Route':
            found.append({'path': path, 'methods': sorted(route.methods or ['GET']),
                          'takes': parameters(handler(route.endpoint))})
    return found


def tremolo_routes(app: Any) -> list[dict[str, Any]]:
    "The paths of a Tremolo application that are no expressions, or the end of a path."
    found: list[dict[str, Any]] = []
    for routes in app.routes.values():
        for pattern, function, *_ in routes:
            text = getattr(pattern, 'pattern', pattern)
            if not isinstance(text, bytes): continue # Of an error
            plain = text.decode().removesuffix(r'(?:\?.*)?$').removesuffix('(?:/+)?')
            path = '/' + plain.removeprefix('^/+').strip('^$/')
            if re.search(r'[\\()*+?\[]', path): continue
            found.append({'path': path, 'methods': ['GET', 'POST'], 'takes': []})
            takes = inspect.signature(function).parameters
            if 'websocket' in takes: found.append({'path': path, 'methods': ['WS'], 'takes': []})
    return found


def _socket(endpoint: Any) -> list[list[str]]:
    functions = [c.cell_contents for c in getattr(endpoint, '__closure__', None) or ()]
    names = [f for f in functions if inspect.isfunction(f)]
    return parameters(names[-1]) if names else []


def find(module: ModuleType, side: str, name: str) -> tuple[str, Any]:
    "The variable that holds the app, and it."
    if name: return name, getattr(module, name)
    if side == 'tremolo': return 'app', module.app
    from starlette.applications import Starlette
    apps = {n: v for n, v in vars(module).items() if isinstance(v, Starlette)}
    for wanted in ('app', 'main_app', *apps):
        if wanted in apps: return wanted, apps[wanted]
    raise LookupError('the file has no app')


def serve(app: Any, side: str, say: Any) -> None:
    "Serve until the process is killed."
    listener = socket.create_server(('127.0.0.1', 0))
    port = listener.getsockname()[1]
    if side == 'tremolo':
        say(port)
        asyncio.run(app.serve('127.0.0.1', port, sock=listener, log_level='WARNING'))
    elif side == 'fasthtml':
        import uvicorn
        config = uvicorn.Config(app, log_level='warning', lifespan='on', loop='asyncio')
        say(port)
        uvicorn.Server(config).run(sockets=[listener])
    else:
        from nbws.adapters.detect import as_app
        from nbws.server.listener import Server
        listener.close()
        Server(as_app(app), '127.0.0.1', port).run(lambda server: say(port))


def main(side: str, file: str, root: str, name: str, say_to: int) -> None:
    "Serve, until the process is killed; `say_to` is a descriptor."
    out = os.fdopen(say_to, 'w')
    for key in KEYS: os.environ.setdefault(key, 'sk-compat')
    os.environ.setdefault('ESECRET', 'compat')
    stand_ins = StandIns()
    LOCAL[:] = [f for f in (str(Path(file).resolve().parent), root) if not Path(f, 'fasthtml').is_dir()]
    sys.argv = [file]
    sys.meta_path.append(stand_ins)
    platform.uname() # Asks another process, once
    sys.addaudithook(guard)
    try:
        found, app = find(load(Path(file).resolve()), side, name)
        told = {'fasthtml': routes, 'tremolo': tremolo_routes}[side](app) if side != 'nbws' else []
    except BaseException as e:
        traceback.print_exc()
        where = [f for f in traceback.extract_tb(e.__traceback__) if f.filename.startswith(root)]
        line = f' (line {where[-1].lineno} of {Path(where[-1].filename).name})' if where else ''
        failed = f'{type(e).__name__}: {e}'[:400] + line
        out.write(json.dumps({'failed': failed, 'missing': sorted(stand_ins.names)}) + '\n')
        out.flush()
        os._exit(1)

    def say(port: int) -> None:
        out.write(json.dumps({'port': port, 'name': found, 'routes': told, 'missing': sorted(stand_ins.names),
                              'kind': f'{type(app).__module__}.{type(app).__name__}'}) + '\n')
        out.flush()

    serve(app, side, say)

