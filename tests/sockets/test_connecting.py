"""When a client hears that it is connected, its `conn` has run: under every server, sync or not."""
from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from live import BOUND, ended, live
from processes import asgi_server
from raw import Raw, handshake

from nbws import App
from nbws.core.response import PlainTextResponse
from nbws.sockets.outbox import HIGH_WATER
from nbws.testing import Client

APP = '''
import asyncio, time
from nbws import App
app = App()
people = app.room('people')

def late(ws):
    time.sleep(.3)
    people.join(ws)
async def later(ws):
    await asyncio.sleep(.3)
    people.join(ws)
async def yields(ws):
    yield 'hello'
    await asyncio.sleep(.3)
    people.join(ws)
async def said(ws, msg: str): people.send(msg)
app.ws('/sync', conn=late)(said)
app.ws('/async', conn=later)(said)
app.ws('/yields', conn=yields)(said)
app.ws('/joins', conn=people.join)(said)
@app.get('/say')
async def say(): people.send('news')
'''


@pytest.mark.parametrize('server', ['nbws', 'uvicorn', 'hypercorn', 'granian'])
def test_its_conn_has_run(server: str, tmp_path: Path) -> None:
    (tmp_path/'people.py').write_text(APP)
    with asgi_server(server, 'people:app', tmp_path) as process:
        for path in '/sync', '/async', '/yields', '/joins':
            with process.ws(path) as ws:
                assert process.get('/say')[0] == 200
                assert ws.recv(BOUND) == ('hello' if path == '/yields' else 'news')


def test_in_memory() -> None:
    app, ran = App(), []
    @app.ws('/', conn=lambda: ran.append('conn'))
    async def said(msg: str) -> str:
        ran.append(msg)
        return msg
    with Client(app) as client, client.ws('/') as ws:
        assert ran == ['conn']
        ws.send_json({'msg': 'hi'})
        assert ws.receive() == 'hi'
    assert ran == ['conn', 'hi']


def test_what_conn_says_comes_first() -> None:
    "In order, before what others say to the newcomer, and however much it is."
    app = App()
    async def greet(ws: Any) -> Any:
        await ws.send('1')
        assert ws.open
        app.room('all').join(ws)
        app.room('all').send('2')
        await ws.send('3' * (3 * HIGH_WATER)) # It waits for the client, which is told by now
        await ws.send('4' * (30 * HIGH_WATER))
        return '5'
    @app.ws('/', conn=greet)
    async def said(msg: str) -> str: return msg
    with live(app) as c:
        ws = c.ws(max_size=None)
        ws.send('{"msg": "6"}')
        assert [ws.recv(BOUND)[0] for _ in range(6)] == ['1', '2', '3', '4', '5', '6']


def test_conn_may_refuse() -> None:
    app, left = App(), []
    @app.ws('/', conn=lambda ws: (ws.send('not you'), ws.close(4401, 'log in')), disconn=lambda: left.append(1))
    async def said(msg: str) -> str: return msg
    with live(app) as c:
        ws = c.ws()
        assert ws.recv(BOUND) == 'not you'
        assert ended(ws) == (4401, 'log in')
        c.wait(asyncio.sleep(0))
    assert left == [1]


def test_an_error_in_conn(expect_log: Any) -> None:
    expect_log('ZeroDivisionError', times=1)
    app = App()
    @app.ws('/', conn=lambda: 1 / 0)
    async def said(msg: str) -> str: return msg
    with live(app) as c: assert ended(c.ws())[0] == 1011


def test_a_conn_that_goes_on_for_ever() -> None:
    "Whoever it speaks to hears it."
    app = App()
    async def clock() -> Any:
        for n in range(10**6):
            yield str(n)
            await asyncio.sleep(.01)
    @app.ws('/', conn=clock)
    async def said(msg: str) -> str: return msg
    with live(app) as c:
        ws = c.ws()
        assert [ws.recv(BOUND) for _ in range(300)] == list(map(str, range(300)))


@pytest.mark.parametrize('how', ['client', 'middleware'])
def test_a_handshake_that_comes_to_nothing(how: str) -> None:
    "Nobody stays behind: not in the app, not in a room."
    app, begun, go, left = App(), threading.Event(), threading.Event(), threading.Event()
    def slow(ws: Any) -> None:
        app.room('all').join(ws)
        begun.set()
        assert go.wait(BOUND)
    @app.ws('/', conn=slow, disconn=left.set)
    async def said(msg: str) -> str: return msg
    if how == 'middleware':
        @app.middleware
        async def guard(request: Any, call_next: Any) -> Any:
            answer = await call_next(request)
            return PlainTextResponse('no', 403) if answer.status_code == 101 else answer
    with live(app) as c:
        with Raw(c.server) as client:
            client.send(handshake())
            if how == 'client': assert begun.wait(BOUND)
            else: assert b'101' not in client.sock.recv(12)
        go.set()
        if how == 'client': assert left.wait(BOUND)
        assert not app.sockets
        assert not len(app.room('all'))


def test_a_session_that_conn_writes() -> None:
    "The handshake's answer carries it."
    app = App(secret_key='x')
    def greet(session: Any) -> None: session['seen'] = 'yes'
    @app.ws('/', conn=greet)
    async def said(msg: str) -> str: return msg
    @app.get('/seen')
    async def seen(session: Any) -> str: return session.get('seen', 'no')
    with Client(app) as client:
        with client.ws('/'): pass
        assert client.get('/seen').text == 'yes'
