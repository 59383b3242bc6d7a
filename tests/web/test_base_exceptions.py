"""What Python keeps apart from `Exception`, raised by anything of the user's: its own call fails, and the server lives.

Each kind is raised before and after an await, in a thread, by every sort of callback, in each spelling and by other
people's applications. Right is: 500 (or 1011, or a broken answer), the next message and the next visitor are served,
and the developer is told."""
from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPException, IncompleteRead
from typing import Any

import pytest
import tornado.web
import tornado.websocket
from bound import BOUND
from logs import ExpectLog
from raw import get, serving
from test_failures import CANCELLED
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from nbws import App
from nbws.adapters.detect import as_app
from nbws.core.errors import StartError
from nbws.core.response import Response
from nbws.server.listener import Server
from nbws.testing import Client
from nbws.tremolo import Tremolo


class Own(BaseException):
    "As libraries have them, to pass `except Exception`."


def group() -> BaseException:
    "As a TaskGroup raises it, from Python 3.11 on."
    kind: Any = getattr(builtins, 'BaseExceptionGroup', None)
    return kind('of one', [Own('inside')]) if kind else Own('of one')


ERRORS = {'own': Own('raised'), 'exit': SystemExit('raised'), 'generator': GeneratorExit('raised'), 'group': group(),
          'interrupt': KeyboardInterrupt('raised'), 'cancelled': asyncio.CancelledError('raised')}
SAID = r'raised|of one|CancelledError'
HOW = ['own', 'exit', 'generator', 'group', 'interrupt', CANCELLED]
WHEN = ['before', 'after']


async def fails(how: str, when: str = 'before') -> None:
    "Raise one of `ERRORS`, before or after an await."
    if how == 'fine': return
    if when == 'after': await asyncio.sleep(0.001)
    raise ERRORS[how].with_traceback(None)


def make() -> App:
    "An app whose handlers of every kind fail as their path or message says."
    app = App(exception_handlers={ZeroDivisionError: failing})

    @app.get('/async/{when}/{how}')
    async def answer(how: str, when: str) -> str:
        await fails(how, when)
        return 'fine'

    @app.get('/sync/{how}')
    def sync(how: str) -> None: raise ERRORS[how].with_traceback(None)

    @app.get('/handled/{how}')
    async def handled(how: str) -> None: raise ZeroDivisionError(how)

    @app.get('/before/{how}', before=[before])
    async def guarded(how: str) -> str: return how

    @app.get('/gen/{how}')
    def generates(how: str) -> Iterator[str]:
        yield 'begun'
        raise ERRORS[how].with_traceback(None)

    @app.get('/agen/{when}/{how}')
    async def streams(how: str, when: str) -> AsyncIterator[str]:
        yield 'begun'
        await fails(how, when)

    @app.get('/body/{how}')
    def body(how: str) -> Response:
        def chunks() -> Iterator[str]:
            yield 'begun'
            raise ERRORS[how].with_traceback(None)
        return Response(chunks())

    @app.get('/background/{when}/{how}')
    async def background(how: str, when: str) -> Response:
        async def later() -> None: await fails(how, when)
        return Response('fine', background=later)

    @app.ws('/push/{when}')
    async def push(how: str, when: str) -> str:
        await fails(how, when)
        return 'fine'

    @app.ws('/thread')
    def thread(how: str) -> str:
        if how != 'fine': raise ERRORS[how].with_traceback(None)
        return 'fine'

    @app.ws('/yields')
    async def yields(how: str) -> AsyncIterator[str]:
        if how != 'fine': await fails(how, 'after')
        yield 'fine'

    @app.ws('/pull/{when}/{how}')
    async def pull(websocket: Any, how: str, when: str) -> None:
        await websocket.accept()
        await websocket.receive()
        await fails(how, when)

    async def conn(how: str = 'fine') -> None: await fails(how, 'after')
    def disconn(how: str = 'fine') -> None:
        if how != 'fine': raise ERRORS[how].with_traceback(None)
    @app.ws('/conn', conn=conn)
    async def with_conn(msg: str) -> str: return msg
    @app.ws('/disconn', disconn=disconn)
    async def with_disconn(msg: str) -> str: return msg
    return app


async def before(how: str) -> None: await fails(how, 'after')
async def failing(request: Any, error: Exception) -> None: await fails(str(error), 'after')


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(make()) as server: yield server


def lives(server: Server) -> None:
    "Another visitor is answered."
    assert get(server, '/async/before/fine') == (200, b'fine')


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('path', ['/async/before/', '/async/after/', '/sync/', '/before/', '/handled/'])
def test_an_answer(server: Server, expect_log: ExpectLog, path: str, how: str) -> None:
    expect_log(SAID, times=1)
    if path == '/handled/': expect_log('ZeroDivisionError', times=1)
    assert get(server, path + how)[0] == 500
    lives(server)


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('path', ['/gen/', '/agen/before/', '/agen/after/', '/body/'])
def test_a_stream_breaks_off(server: Server, expect_log: ExpectLog, path: str, how: str) -> None:
    expect_log(SAID, times=1)
    with pytest.raises((IncompleteRead, ConnectionResetError)): get(server, path + how)
    lives(server)


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('when', WHEN)
def test_what_runs_behind_an_answer(server: Server, expect_log: ExpectLog, when: str, how: str) -> None:
    expect_log(SAID, times=1)
    assert get(server, f'/background/{when}/{how}') == (200, b'fine')
    lives(server)


@pytest.mark.parametrize('debug', [True, False])
@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('path', ['/push/before', '/push/after', '/thread', '/yields'])
def test_a_message(server: Server, expect_log: ExpectLog, path: str, how: str, debug: bool) -> None:
    "In development the next message runs, also one that waited; in production the socket is closed with 1011."
    server.app.debug = debug
    expect_log(SAID, times=1)
    with connect(f'ws://127.0.0.1:{server.port}{path}', compression=None) as ws:
        def both() -> str | bytes: # The close may come before the second message is on its way
            for message in how, 'fine': ws.send(f'{{"how": "{message}"}}')
            return ws.recv(BOUND)
        if debug: assert both() == 'fine'
        else:
            with pytest.raises(ConnectionClosedError, match='1011'): both()
    lives(server)


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('when', WHEN)
def test_a_handler_that_pulls(server: Server, expect_log: ExpectLog, when: str, how: str) -> None:
    expect_log(SAID, times=1)
    with connect(f'ws://127.0.0.1:{server.port}/pull/{when}/{how}', compression=None) as ws:
        ws.send('go on')
        with pytest.raises(ConnectionClosedError, match='1011'): ws.recv(BOUND)
    lives(server)


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('path', ['/conn', '/disconn'])
def test_conn_and_disconn(server: Server, expect_log: ExpectLog, path: str, how: str) -> None:
    expect_log(SAID, times=1)
    server.app.debug = True
    with connect(f'ws://127.0.0.1:{server.port}{path}?how={how}', compression=None) as ws:
        ws.send('{"msg": "fine"}')
        assert ws.recv(BOUND) == 'fine'
    lives(server)


def test_a_handler_that_ends_its_own_task(server: Server) -> None:
    "What waits behind its message runs, in order."
    seen: list[str] = []
    @server.app.ws('/own')
    async def own(msg: str) -> None:
        seen.append(msg)
        if msg != 'first': return
        await asyncio.sleep(0.05) # The others come meanwhile
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(BOUND)
    with connect(f'ws://127.0.0.1:{server.port}/own', compression=None) as ws:
        for msg in 'first', 'second', 'third': ws.send(f'{{"msg": "{msg}"}}')
        ws.ping().wait(BOUND)
        ws.close()
    lives(server)
    for _ in range(500):
        if len(seen) == 3: break
        lives(server)
    assert seen == ['first', 'second', 'third']


@pytest.mark.parametrize('how', ['own', 'exit', 'interrupt', 'group', 'generator'])
@pytest.mark.parametrize('when', WHEN)
def test_a_lifespan(expect_log: ExpectLog, when: str, how: str) -> None:
    "A start that fails is the starter's error; an end that fails keeps no other hook from running."
    ran: list[str] = []
    async def start() -> None: await fails(how, when)
    with pytest.raises(StartError, match='failed to start up'): Server(App(on_startup=start)).start()
    expect_log(SAID, times=1)
    with serving(App(on_shutdown=[start, lambda: ran.append('the other')])): pass
    assert ran == ['the other']


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('when', WHEN)
def test_the_test_client(expect_log: ExpectLog, when: str, how: str) -> None:
    expect_log(SAID, times=3)
    with Client(make()) as client:
        assert client.get(f'/async/{when}/{how}').status_code == 500
        assert client.get(f'/sync/{how}').status_code == 500
        with client.ws(f'/push/{when}') as ws:
            ws.send_json({'how': how})
            with pytest.raises(Exception, match='1011'): ws.receive()
        assert client.get('/async/before/fine').text == 'fine'


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('when', WHEN)
def test_tremolos_spelling(expect_log: ExpectLog, when: str, how: str) -> None:
    app = Tremolo()

    @app.route('/async')
    async def home(**_: Any) -> None: await fails(how, when)

    @app.route('/fine')
    async def fine(**_: Any) -> str: return 'fine'

    @app.route('/sync')
    def sync(**_: Any) -> None: raise ERRORS[how].with_traceback(None)

    @app.route('/stream')
    async def stream(**_: Any) -> AsyncIterator[bytes]:
        yield b'begun'
        await fails(how, when)

    expect_log(SAID, times=3)
    with serving(app) as server:
        for path in '/sync', '/async': assert get(server, path)[0] == 500
        with pytest.raises((IncompleteRead, ConnectionResetError)): get(server, '/stream')
        assert get(server, '/fine') == (200, b'fine')


def wsgi(environ: Any, start: Any) -> Any:
    how = environ['PATH_INFO'].rpartition('/')[2]
    if 'before' in environ['PATH_INFO'] and how != 'fine': raise ERRORS[how].with_traceback(None)
    start('200 OK', [])
    if how == 'fine': return [b'fine']
    def chunks() -> Iterator[bytes]:
        yield b'begun'
        raise ERRORS[how].with_traceback(None)
    return chunks()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope['type'] == 'lifespan': return
    how = scope['path'].rpartition('/')[2]
    if scope['type'] == 'websocket':
        await send({'type': 'websocket.accept'})
        for _ in range(2): await receive() # To connect, and a message
        await fails(how, 'after')
    await fails(how, 'before' if 'before' in scope['path'] else 'after')
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'fine'})


class Page(tornado.web.RequestHandler):
    async def get(self, when: str, how: str) -> None:
        await fails(how, when)
        self.write('fine')


class Socket(tornado.websocket.WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None: await fails(str(message), 'after')

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None: logging.getLogger('tornado').error('raised')


OTHERS = {'wsgi': wsgi, 'asgi': asgi,
          'tornado': tornado.web.Application([(r'/(before|after)/(.+)', Page), ('/ws', Socket)])}


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('when', WHEN)
@pytest.mark.parametrize('kind', OTHERS)
def test_other_peoples_applications(expect_log: ExpectLog, kind: str, when: str, how: str) -> None:
    expect_log(SAID, times=None)
    if kind == 'tornado': expect_log('500 GET')
    with serving(as_app(OTHERS[kind])) as server:
        if (kind, when) == ('wsgi', 'after'):
            with pytest.raises((HTTPException, ConnectionResetError)): get(server, f'/{when}/{how}')
        else: assert get(server, f'/{when}/{how}')[0] == 500
        assert get(server, f'/{when}/fine') == (200, b'fine')


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('kind', ['asgi', 'tornado'])
def test_other_peoples_sockets(expect_log: ExpectLog, kind: str, how: str) -> None:
    expect_log(SAID, times=None)
    with serving(as_app(OTHERS[kind])) as server:
        with connect(f'ws://127.0.0.1:{server.port}/ws/{how}'[:None if kind == 'asgi' else -len(how) - 1],
                     compression=None) as ws:
            ws.send(how)
            with pytest.raises(ConnectionClosedError, match='1011'): ws.recv(BOUND)
        assert get(server, '/before/fine') == (200, b'fine')
