"""Our apps under other people's ASGI servers, over real sockets. The other way round: tests/adapters."""
from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import BOUND, Process, asgi_server
from websockets.exceptions import ConnectionClosed, InvalidStatus

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
