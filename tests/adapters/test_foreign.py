"""Other people's applications on our server, over real sockets: ASGI, WSGI and tornado."""
from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from logs import ExpectLog
from processes import BOUND, get, ws
from raw import Raw, until
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nbws.adapters.detect import as_app
from nbws.app import App
from nbws.core.errors import NbwsError
from nbws.notebook.served import ServedApp
from nbws.server.limits import Limits
from nbws.server.listener import Server

def fasthtml_app() -> Any:
    from fasthtml.common import Div, FastHTML, Form, Input
    app = FastHTML(exts='ws')
    @app.get('/')
    def home() -> Any: return Div(Form(Input(id='msg'), ws_send=True), hx_ext='ws', ws_connect='/ws')
    @app.ws('/ws')
    async def ws(msg: str, send) -> Any: await send(Div('Hello ' + msg, id='notifications'))
    return app


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    events: list[str] = []
    async def life(app: Any) -> Any:
        events.append('up')
        yield {'from': 'lifespan'}
    async def home(request: Any) -> Any:
        return PlainTextResponse(f'{request.state._state["from"]} {events} {len(await request.body())}')
    async def stream(request: Any) -> Any: return StreamingResponse(str(i) for i in range(5))
    async def echo(websocket: Any) -> None:
        await websocket.accept(subprotocol='chat')
        async for text in websocket.iter_text():
            if text == 'fail': raise ValueError('as told')
            await websocket.send_text(text[::-1])
    from contextlib import asynccontextmanager
    routes = [Route('/', home, methods=['GET', 'POST']), Route('/stream', stream), WebSocketRoute('/ws', echo)]
    return Starlette(routes=routes, lifespan=asynccontextmanager(life))


def fastapi_app(version: int = 1) -> Any:
    app = FastAPI()
    @app.get('/')
    def home(n: int = 0) -> Any: return {'n': n, 'version': version}
    @app.websocket('/ws')
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        while True: await websocket.send_json({'you': await websocket.receive_json()})
    return app


def flask_app() -> Any:
    from flask import Flask, request, stream_with_context
    app = Flask('flask_app')
    @app.route('/')
    def home() -> str: return f'Hello {request.args.get("name", "you")}'
    @app.route('/form', methods=['POST'])
    def form() -> str: return request.form['a'] * 2
    @app.route('/stream')
    def stream() -> Any:
        def chunks() -> Any:
            for i in range(3): yield f'{i} {request.path} '
        return stream_with_context(chunks())
    return app


Serve = Callable[[Any], Server]


@pytest.fixture
def serving(nbws_server: Callable[..., Server]) -> Serve: return lambda app: nbws_server(app)


def test_fasthtml(serving: Serve) -> None:
    server = serving(fasthtml_app())
    assert 'ws-connect="/ws"' in get(server.port, '/')[1]
    with ws(server.port, '/ws') as socket:
        socket.send('{"msg": "Ada", "HEADERS": {}}')
        assert socket.recv(BOUND).strip() == '<div id="notifications">Hello Ada</div>'


def test_starlette(serving: Serve, expect_log: ExpectLog) -> None:
    server = serving(starlette_app())
    assert get(server.port, '/')[1] == "lifespan ['up'] 0"
    assert get(server.port, '/stream')[1] == '01234'
    expect_log('as told', times=1)
    with ws(server.port, '/ws', subprotocols=['chat']) as socket:
        socket.send('abc')
        assert socket.recv(BOUND) == 'cba'
        socket.send('fail')
        with pytest.raises(ConnectionClosed) as closed: socket.recv(BOUND)
        assert closed.value.rcvd.code == 1011
    with pytest.raises(InvalidStatus) as refused: ws(server.port, '/no').close()
    assert refused.value.response.status_code == 403


def test_a_lifespan_that_asks_for_more_ends_with_the_server(serving: Serve) -> None:
    "Behind the shutdown nothing comes: an application that loops without a return is cancelled, and never spins."
    told: list[str] = []
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope['type'] == 'lifespan':
            kind = (await receive())['type']
            told.append(kind)
            await send({'type': kind + '.complete'})
        await answer(scope, receive, send)
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await send({'type': 'http.response.body', 'body': b'0123456789'})
    server = serving(app)
    assert get(server.port, '/')[1] == '0123456789'
    server.stop()
    assert told == ['lifespan.startup', 'lifespan.shutdown']


def test_fastapi(serving: Serve) -> None:
    server = serving(fastapi_app())
    assert json.loads(get(server.port, '/?n=3')[1]) == {'n': 3, 'version': 1}
    assert get(server.port, '/?n=x')[0] == 422
    assert '/openapi.json' in get(server.port, '/docs')[1]
    with ws(server.port, '/ws') as socket:
        socket.send('[1]')
        assert json.loads(socket.recv(BOUND)) == {'you': [1]}


def test_flask(serving: Serve) -> None:
    import urllib.request
    server = serving(flask_app())
    assert get(server.port, '/?name=Ada') == (200, 'Hello Ada')
    assert get(server.port, '/no')[0] == 404
    assert get(server.port, '/stream')[1] == '0 /stream 1 /stream 2 /stream '
    with urllib.request.urlopen(server.url + '/form', b'a=xy', timeout=BOUND) as answer: assert answer.read() == b'xyxy'


def tornado_app() -> Any:
    class Home(RequestHandler):
        def get(self) -> None:
            self.set_secure_cookie('seen', 'yes')
            self.write(f'Hello {self.get_argument("name", "you")} at {self.request.remote_ip}')
    class Stream(RequestHandler):
        async def get(self) -> None:
            for i in range(3):
                self.write(str(i))
                await self.flush()
                await asyncio.sleep(0)
    @stream_request_body
    class Upload(RequestHandler):
        def prepare(self) -> None: self.size = 0
        def data_received(self, chunk: bytes) -> None: self.size += len(chunk)
        def post(self) -> None: self.write(str(self.size))
    class Echo(WebSocketHandler):
        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            return 'chat' if 'chat' in subprotocols else None
        async def on_message(self, message: Any) -> None:
            if message == 'close': self.close(4002, 'as you wish')
            else: await self.write_message(message[::-1], binary=isinstance(message, bytes))
    return Application([('/', Home), ('/stream', Stream), ('/upload', Upload), ('/ws', Echo)], cookie_secret='a test',
                       log_function=lambda handler: None)


def test_tornado(serving: Serve) -> None:
    import urllib.request
    server = serving(tornado_app())
    assert get(server.port, '/?name=Ada') == (200, 'Hello Ada at 127.0.0.1')
    assert get(server.port, '/stream')[1] == '012'
    assert get(server.port, '/no')[0] == 404
    with urllib.request.urlopen(server.url + '/upload', b'x' * 200_000, timeout=BOUND) as answer:
        assert answer.read() == b'200000'
    with ws(server.port, '/ws', subprotocols=['soap', 'chat']) as socket:
        assert socket.subprotocol == 'chat'
        for message, answer in ('abc', 'cba'), (b'abc', b'cba'), ('x' * 100_000, 'x' * 100_000):
            socket.send(message)
            assert socket.recv(BOUND) == answer
        socket.send('close')
        with pytest.raises(ConnectionClosed) as closed: socket.recv(BOUND)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, 'as you wish')
    with pytest.raises(InvalidStatus) as refused: ws(server.port, '/stream').close()
    assert refused.value.response.status_code == 200


def test_mounts(serving: Serve) -> None:
    app = App()
    @app.get('/')
    def home() -> str: return 'ours'
    app.mount('/flask', flask_app())
    app.mount('/api', fastapi_app())
    server = serving(app)
    assert get(server.port, '/')[1] == 'ours'
    assert get(server.port, '/flask/?name=Ada')[1] == 'Hello Ada'
    with ws(server.port, '/api/ws') as socket:
        socket.send('1')
        assert json.loads(socket.recv(BOUND)) == {'you': 1}
    assert get(server.port, '/api/openapi.json')[0] == 200
    app.mount('/api', fastapi_app(2)) # While it is served
    assert json.loads(get(server.port, '/api/')[1])['version'] == 2


def test_ours_below_theirs(serving: Serve) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    ours = App(on_startup=lambda: events.append('up'))
    events: list[str] = []
    @ours.get('/page')
    def page(request: Any) -> str: return f'{request.root_path} {events}'
    @ours.ws('/ws')
    def echo(msg: str) -> str: return msg
    server = serving(Starlette(routes=[Mount('/ours', ours)]))
    assert get(server.port, '/ours/page')[1] == "/ours ['up']"
    with ws(server.port, '/ours/ws') as socket:
        socket.send('{"msg": "x"}')
        assert socket.recv(BOUND) == 'x'


# ---------------------------------------------------------------- in a notebook's place: swap, and leave nothing

def test_a_site_swaps_foreign_apps() -> None:
    server = Server(as_app(fastapi_app(1))).start()
    try:
        site = ServedApp(server.app.app, server, 'app', 'cell')
        with ws(server.port, '/ws') as socket:
            socket.send('1')
            socket.recv(BOUND)
            site.replace_app(fastapi_app(2))
            with pytest.raises(ConnectionClosed) as closed: socket.recv(BOUND)
            assert closed.value.rcvd.code == 1012
        assert json.loads(get(server.port, '/')[1])['version'] == 2
        site.replace_app(flask_app())
        assert get(server.port, '/')[1] == 'Hello you'
        ours = App()
        @ours.get('/')
        def home() -> str: return 'ours'
        site.replace_app(ours)
        assert get(server.port, '/')[1] == 'ours'
        with pytest.raises(NbwsError, match='no way to serve'): site.replace_app(3)
        assert site.app is ours
        site.replace_app(fastapi_app(3))
        assert json.loads(get(server.port, '/')[1])['version'] == 3
    finally: server.stop()


# ---------------------------------------------------------------- applications that misbehave

async def start(send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'10')]})


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'

async def body_first(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await send({'type': 'http.response.body', 'body': b''})

async def twice(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await start(send)
    await start(send)

async def text(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await start(send)
    await send({'type': 'http.response.body', 'body': 'text'})

async def bad_headers(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await send({'type': 'http.response.start', 'status': 200, 'headers': [('a', 'b')]})


@pytest.mark.parametrize(('app', 'told'), [
    (nothing, 'returned without an answer'), (body_first, 'before http.response.start'),
    (twice, 'in the middle of an answer'), (text, "'body' is bytes"), (bad_headers, 'pairs of bytes')])
def test_violations_are_told(app: Any, told: str, serving: Serve, expect_log: ExpectLog) -> None:
    expect_log(told, times=1)
    assert get(serving(app).port, '/')[0] == 500


async def silent_socket(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await receive()
    if scope['path'] == '/refuse': return
    await send({'type': 'websocket.accept'})
    if scope['path'] == '/bad': await send({'type': 'websocket.send'})


def test_sockets_that_misbehave(serving: Serve, expect_log: ExpectLog) -> None:
    server = serving(silent_socket)
    expect_log('returned without answering the handshake', times=1)
    with pytest.raises(InvalidStatus) as refused: ws(server.port, '/refuse').close()
    assert refused.value.response.status_code == 500
    expect_log("needs 'text' or 'bytes'", times=1)
    for path, code in ('/bad', 1011), ('/returns', 1000):
        with ws(server.port, path) as socket, pytest.raises(ConnectionClosed) as closed: socket.recv(BOUND)
        assert closed.value.rcvd.code == code


@pytest.mark.parametrize('make', [starlette_app, flask_app])
def test_a_body_over_its_limit_is_413(make: Any, nbws_server: Callable[..., Server]) -> None:
    "In chunks, so that its length shows only while the application reads."
    server = nbws_server(make(), limits=Limits(max_body=1000))
    path = '/' if make is starlette_app else '/form'
    with socket.create_connection(('127.0.0.1', server.port), BOUND) as s:
        s.sendall(f'POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n'.encode() +
                  b'content-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n')
        s.sendall(b'190\r\n' + b'x' * 400 + b'\r\n')
        for _ in range(2): s.sendall(b'190\r\n' + b'x' * 400 + b'\r\n')
        assert s.recv(100).startswith(b'HTTP/1.1 413')


def test_a_slow_reader_stops_the_application(serving: Serve) -> None:
    sent, ended = [], threading.Event()
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        assert scope['type'] != 'lifespan'
        try:
            await send({'type': 'http.response.start', 'status': 200, 'headers': []})
            while True:
                await send({'type': 'http.response.body', 'body': b'x' * 65536, 'more_body': True})
                sent.append(1)
        finally: ended.set()
    server = serving(endless)
    with socket.create_connection(('127.0.0.1', server.port), BOUND) as s:
        s.sendall(b'GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
        s.recv(10)
        async def count() -> int:
            "What was sent once that no longer grows."
            n = -1
            while n != len(sent):
                n = len(sent)
                await asyncio.sleep(0.05)
            return n
        assert asyncio.run(asyncio.wait_for(count(), BOUND)) < 300 # 20 MB: kernels buffer a lot on loopback
    assert ended.wait(BOUND)


# ---------------------------------------------------------------- a client that leaves

GET = b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc'


def test_asgi_applications_hear_that_the_client_has_left(serving: Serve) -> None:
    begun, ended, messages = threading.Event(), threading.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] == 'lifespan': return
        messages.append((await receive())['type'])
        begun.set()
        while messages[-1] != 'http.disconnect': messages.append((await receive())['type'])
        ended.set()
    server = serving(app)
    for asked in GET, POST:
        begun.clear()
        ended.clear()
        messages.clear()
        with Raw(server) as raw:
            raw.send(asked)
            assert begun.wait(BOUND)
        assert ended.wait(BOUND)
        assert set(messages[:-1]) == {'http.request'}
    until(lambda: not server.connections)


def test_tornado_applications_hear_that_the_client_has_left(serving: Serve) -> None:
    begun, left, finished = threading.Event(), threading.Event(), threading.Event()

    class Waits(RequestHandler):
        async def get(self) -> None:
            begun.set()
            while not left.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110

        def on_finish(self) -> None: finished.set()
        def on_connection_close(self) -> None: left.set()
    server = serving(Application([('/', Waits)]))
    with Raw(server) as raw:
        raw.send(GET)
        assert begun.wait(BOUND)
    assert left.wait(BOUND)
    assert finished.wait(BOUND)
    until(lambda: not server.connections)
