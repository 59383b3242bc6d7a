"""ASGI both ways, over real sockets: our apps under other people's servers, other people's applications under ours."""
from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from processes import BOUND, Process, asgi_server, get, ws
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nbws.notebook import served as notebook
from nbws.app import App
from nbws.server.limits import Limits
from nbws.adapters.detect import as_app
from nbws.core.errors import NbwsError
from nbws.server.listener import Server

APPS = Path(__file__).resolve().parents[1]/'apps'
SERVERS = ['nbws', 'uvicorn', 'hypercorn', 'granian']


# ---------------------------------------------------------------- the seeds' chats, everywhere

@pytest.mark.parametrize('server', SERVERS)
def test_fasthtml_chat(server: str) -> None:
    with asgi_server(server, 'fasthtml_chat:app', APPS) as process:
        status, page = process.get('/')
        assert status == 200
        for part in 'ws-connect="/ws"', 'hx-ext="ws"', 'name="msg"', 'id="msg-list"': assert part in page
        with process.ws('/ws') as ann, process.ws('/ws') as bob:
            # A first word of each: whoever hears its own is connected
            for name, socket in ('ann', ann), ('bob', bob):
                socket.send(json.dumps({'msg': f'{name} is here', 'HEADERS': {'HX-Request': 'true'}}))
                while f'{name} is here' not in socket.recv(BOUND): pass
            ann.send(json.dumps({'msg': 'hi <b>'}))
            for socket in ann, bob:
                while 'hi' not in (heard := socket.recv(BOUND)): pass
                assert heard.endswith('<li>bob is here</li><li>hi &lt;b&gt;</li></ul>')
        with process.ws('/ws') as carl: # on_disconn ran for both
            carl.send(json.dumps({'msg': 'alone'}))
            assert '<li>alone</li>' in carl.recv(BOUND)
        assert '<li>alone</li>' in process.get('/')[1]
        with pytest.raises(InvalidStatus): process.ws('/nothing').close()
        stopped(process)


@pytest.mark.parametrize('server', SERVERS)
def test_tremolo_chat(server: str) -> None:
    with asgi_server(server, 'tremolo_chat:app', APPS) as process:
        status, page = process.get('/')
        assert status == 200
        assert f"new WebSocket('ws://127.0.0.1:{process.port}/')" in page
        assert page.rstrip().endswith('</html>')
        with process.ws('/') as ann, process.ws('/') as bob:
            for name, socket in ('ann', ann), ('bob', bob):
                socket.send(f'I am {name}')
                assert re.fullmatch(rf'\[\d\d:\d\d:\d\d\] Guest\d+: I am {name}', socket.recv(BOUND))
        stopped(process)


def stopped(process: Process) -> None:
    "SIGTERM ends it without a traceback."
    process.stop(signal.SIGTERM)
    assert 'Traceback' not in process.output, process.output


# ---------------------------------------------------------------- our app under uvicorn: the finer points

FINE = '''
import asyncio
from nbws import App
from nbws.core.errors import HTTPException
events = []
app = App(on_startup=lambda: events.append('up'), on_shutdown=lambda: print('hooks ran: down', flush=True))

@app.get('/')
def home(request): return {'root': request.root_path, 'path': request.path, 'events': events}

@app.get('/endless')
async def endless():
    try:
        while True:
            yield 'x' * 1000
            await asyncio.sleep(0)
    finally: print('the stream has ended', flush=True)

@app.post('/size')
async def size(request):
    n = 0
    async for chunk in request.stream(): n += len(chunk)
    return str(n)

@app.get('/late')
async def late():
    yield 'half'
    await asyncio.sleep(0)
    raise ValueError('late')

@app.ws('/ws', subprotocols=['chat'])
async def ws(msg: str, ws):
    if msg == 'close': ws.close(4001, 'as you wish')
    return msg

@app.get('/sub')
async def refuse(websocket=None):
    if websocket: raise HTTPException(401, 'who are you?')
'''


@pytest.fixture(scope='module')
def fine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp('fine')
    (folder/'fine.py').write_text(FINE)
    with asgi_server('uvicorn', 'fine:app', folder) as process:
        yield process
        stopped_output = process.stop(signal.SIGTERM)
        assert 'hooks ran: down' in process.output, (stopped_output, process.output)


def test_hooks(fine: Process) -> None:
    assert json.loads(fine.get('/')[1]) == {'root': '', 'path': '/', 'events': ['up']}


def test_a_client_that_leaves_ends_the_stream(fine: Process) -> None:
    with socket.create_connection(('127.0.0.1', fine.port), BOUND) as s:
        s.sendall(b'GET /endless HTTP/1.1\r\nhost: x\r\n\r\n')
        assert s.recv(100).startswith(b'HTTP/1.1 200')
    fine.says('the stream has ended')


def test_uploads_stream(fine: Process) -> None:
    with socket.create_connection(('127.0.0.1', fine.port), BOUND) as s:
        s.sendall(b'POST /size HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n')
        for _ in range(20): s.sendall(b'2710\r\n' + b'x' * 10000 + b'\r\n')
        s.sendall(b'0\r\n\r\n')
        assert b''.join(iter(lambda: s.recv(65536), b'')).endswith(b'200000')


def test_a_generator_that_raises_breaks_the_answer_off(fine: Process) -> None:
    with socket.create_connection(('127.0.0.1', fine.port), BOUND) as s:
        s.sendall(b'GET /late HTTP/1.1\r\nhost: x\r\n\r\n')
        answer = b''.join(iter(lambda: s.recv(65536), b''))
    assert b'half' in answer
    assert not answer.endswith(b'0\r\n\r\n')


def test_subprotocol_and_close_code(fine: Process) -> None:
    with fine.ws('/ws', subprotocols=['soap', 'chat']) as socket:
        assert socket.subprotocol == 'chat'
        socket.send('{"msg": "hi"}')
        assert socket.recv(BOUND) == 'hi'
        socket.send('{"msg": "close"}')
        with pytest.raises(ConnectionClosed) as closed:
            while True: socket.recv(BOUND)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, 'as you wish')


def test_a_refusal_keeps_its_status(fine: Process) -> None:
    with pytest.raises(InvalidStatus) as refused: fine.ws('/sub').close()
    assert refused.value.response.status_code == 401
    assert b'who are you?' in refused.value.response.body


# ---------------------------------------------------------------- their applications on our server

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


@pytest.fixture
def serving(nbws_server: Any) -> Any: return lambda app: nbws_server(app)


def test_fasthtml(serving: Any) -> None:
    server = serving(fasthtml_app())
    assert 'ws-connect="/ws"' in get(server.port, '/')[1]
    with ws(server.port, '/ws') as socket:
        socket.send('{"msg": "Ada", "HEADERS": {}}')
        assert socket.recv(BOUND).strip() == '<div id="notifications">Hello Ada</div>'


def test_starlette(serving: Any, expect_log: Any) -> None:
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


def test_fastapi(serving: Any) -> None:
    server = serving(fastapi_app())
    assert json.loads(get(server.port, '/?n=3')[1]) == {'n': 3, 'version': 1}
    assert get(server.port, '/?n=x')[0] == 422
    assert '/openapi.json' in get(server.port, '/docs')[1]
    with ws(server.port, '/ws') as socket:
        socket.send('[1]')
        assert json.loads(socket.recv(BOUND)) == {'you': [1]}


def test_flask(serving: Any) -> None:
    import urllib.request
    server = serving(flask_app())
    assert get(server.port, '/?name=Ada') == (200, 'Hello Ada')
    assert get(server.port, '/no')[0] == 404
    assert get(server.port, '/stream')[1] == '0 /stream 1 /stream 2 /stream '
    with urllib.request.urlopen(server.url + '/form', b'a=xy', timeout=BOUND) as answer: assert answer.read() == b'xyxy'


def tornado_app() -> Any:
    from tornado.web import Application, RequestHandler, stream_request_body
    from tornado.websocket import WebSocketHandler
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


def test_tornado(serving: Any) -> None:
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


def test_mounts(serving: Any) -> None:
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


def test_ours_below_theirs(serving: Any) -> None:
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
        site = notebook.ServedApp(server.app.app, server, 'app', 'cell')
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
def test_violations_are_told(app: Any, told: str, serving: Any, expect_log: Any) -> None:
    expect_log(told, times=1)
    assert get(serving(app).port, '/')[0] == 500


async def silent_socket(scope: Any, receive: Any, send: Any) -> None:
    assert scope['type'] != 'lifespan'
    await receive()
    if scope['path'] == '/refuse': return
    await send({'type': 'websocket.accept'})
    if scope['path'] == '/bad': await send({'type': 'websocket.send'})


def test_sockets_that_misbehave(serving: Any, expect_log: Any) -> None:
    server = serving(silent_socket)
    expect_log('returned without answering the handshake', times=1)
    with pytest.raises(InvalidStatus) as refused: ws(server.port, '/refuse').close()
    assert refused.value.response.status_code == 500
    expect_log("needs 'text' or 'bytes'", times=1)
    for path, code in ('/bad', 1011), ('/returns', 1000):
        with ws(server.port, path) as socket, pytest.raises(ConnectionClosed) as closed: socket.recv(BOUND)
        assert closed.value.rcvd.code == code


@pytest.mark.parametrize('make', [starlette_app, flask_app])
def test_a_body_over_its_limit_is_413(make: Any, nbws_server: Any) -> None:
    "In chunks, so that its length shows only while the application reads."
    server = nbws_server(make(), limits=Limits(max_body=1000))
    path = '/' if make is starlette_app else '/form'
    with socket.create_connection(('127.0.0.1', server.port), BOUND) as s:
        s.sendall(f'POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n'.encode() +
                  b'content-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n')
        s.sendall(b'190\r\n' + b'x' * 400 + b'\r\n')
        for _ in range(2): s.sendall(b'190\r\n' + b'x' * 400 + b'\r\n')
        assert s.recv(100).startswith(b'HTTP/1.1 413')


def test_a_slow_reader_stops_the_application(serving: Any) -> None:
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
