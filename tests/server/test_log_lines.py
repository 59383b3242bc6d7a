"""No visitor writes a line of the log: what a path, a field or a message says is in one line, and moves no cursor."""
from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from bound import BOUND
from logs import ExpectLog
from raw import serving
from tornado.web import Application

from nbws import App
from nbws.web.tracebacks import error_text
from nbws.cli import Bounded
from nbws.adapters.detect import as_app
from nbws.core.errors import BindError, printable
from nbws.core.request import Request
from nbws.testing import Client

FORGED = 'ERROR nbws: the vault is open'
PATH = '/a%0d%0a' + FORGED.replace(' ', '%20') + '%1b%5b2J%c2%9b2J%e2%80%ae%00'
TEXT = f'a\r\n{FORGED}\x1b[2J\x9b2J\u202e\u2028{FORGED}\x85{FORGED}'


@pytest.fixture
def lines() -> Iterator[Any]:
    "What stands in the log as a terminal shows it, in lines."
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter('%(levelname)s %(name)s: %(message)s'))
    log = logging.getLogger('nbws')
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue().splitlines()  # At everything that any terminal may take for an end of a line
    log.removeHandler(handler)
    log.setLevel(level)


def clean(lines: list[str]) -> None:
    assert lines
    assert not [line for line in lines if line.startswith(FORGED) or not line.isprintable()], lines


def test_printable() -> None:
    assert printable('a é 語 🙂 \\') == 'a é 語 🙂 \\'
    assert printable('a\r\n\x1b[0m\x9b\u202e\ud83d\0') == r'a\r\n\x1b[0m\x9b\u202e\ud83d\x00'


def fails() -> Any:
    app = App()
    @app.get('/{name:path}')
    def fails(name: str) -> str: raise ValueError(f'no {name}')
    return app


def refuses() -> Any:
    app = App()
    @app.get('/{name:path}')
    def refuses(name: int) -> str: return str(name)
    return app


def middleware() -> Any:
    app = App()
    @app.middleware
    async def fails(request: Request, call_next: Any) -> Any: raise ValueError(request.path)
    return app


class Raises:
    sockets: set[Any] = set()
    async def http(self, request: Request) -> Any: raise KeyError('x')


def asgi() -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] == 'http': raise ValueError(scope['path'])
    return as_app(app)


def wsgi() -> Any:
    def app(environ: Any, start_response: Any) -> Any: raise ValueError(environ['PATH_INFO'].encode('latin-1').decode())
    return as_app(app)


def tornado() -> Any:
    app = as_app(Application())
    app.app.find_handler = lambda asked: None  # type: ignore[attr-defined]
    return app


@pytest.mark.parametrize('make', [fails, refuses, middleware, Raises, asgi, wsgi, tornado])
def test_a_path(expect_log: ExpectLog, lines: Any, make: Any) -> None:
    expect_log('.')
    with serving(make()) as server: assert httpx.get(server.url + PATH, timeout=BOUND).status_code in (404, 500)
    clean(lines())


def test_a_slow_answer(expect_log: ExpectLog, lines: Any) -> None:
    expect_log('took longer')
    app = App()
    @app.get('/{name:path}')
    async def slow(name: str) -> None:
        import asyncio
        await asyncio.sleep(BOUND)
    with serving(Bounded(app, .05)) as server: assert httpx.get(server.url + PATH, timeout=BOUND).status_code == 503
    clean(lines())


class Point:
    x: int
    def __init__(self, **values: Any) -> None: raise ValueError(f'no {values}' + ''.join(values))


def test_messages_and_fields(expect_log: ExpectLog, lines: Any) -> None:
    expect_log('/ws')
    app = App()
    @app.ws('/ws')
    async def ws(n: int, p: Point) -> str: return str(n)
    with Client(app) as c, c.ws('/ws') as socket:
        for message in {'n': TEXT}, {TEXT: 1, 'n': 1}, {'n': [TEXT]}, {'x': TEXT, 'n': 1}: socket.send_json(message)
        socket.send(TEXT)
        assert c.get('/').status == 404
    clean(lines())
    clean(repr(app.log).split('\n'))


def test_errors_and_reprs() -> None:
    for error in ValueError(TEXT), KeyError(TEXT), BindError(TEXT), RuntimeError(f'a\nb\n{TEXT}'):
        try: raise error
        except Exception as e: clean(error_text(e).splitlines())
    clean([repr(Request('GET', '/a\n' + FORGED + '\x1b'))])
