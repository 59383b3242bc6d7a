"""What nbws's pages ask on their sockets, which apps do not see: is it alive? And how a socket says that it ends."""
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from live import BOUND, ended, live
from processes import asgi_server
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from tornado.web import Application
from tornado.websocket import WebSocketHandler
from websockets.sync.client import connect

from nbws import App
from nbws.server.conn import RELAYED

ALIVE, PING, PONG = 'nbws.alive', 'nbws ping', 'nbws pong'
APP = '''
from nbws import App
app = App()
@app.ws('/')
async def said(ws, msg: str):
    if msg == 'offered': return ','.join(ws.request.subprotocols)
    if msg == 'bye': return ws.close(4001, 'as agreed')
    return msg
@app.ws('/own', subprotocols=['chat'])
async def own(ws, msg: str): return msg
'''


def talk(ws: Any) -> None:
    ws.send(PING)
    assert ws.recv(BOUND) == PONG
    ws.send('{"msg": "offered"}')
    ws.send('{"msg": "hi"}') # Of what was offered nothing is left: an empty answer is none
    assert ws.recv(BOUND) == 'hi'
    ws.send('{"msg": "bye"}')
    assert ws.recv(BOUND) == 'nbws close 4001 as agreed'


@pytest.mark.parametrize('server', ['nbws', 'uvicorn', 'hypercorn', 'granian'])
def test_under_every_server(server: str, tmp_path: Path) -> None:
    (tmp_path/'alive.py').write_text(APP)
    with asgi_server(server, 'alive:app', tmp_path) as process:
        url = f'ws://127.0.0.1:{process.port}'
        with connect(url, subprotocols=[ALIVE], proxy=None) as ws:
            assert ws.subprotocol == ALIVE
            talk(ws)
        with connect(url + '/own', subprotocols=[ALIVE, 'chat'], proxy=None) as ws:
            assert ws.subprotocol == 'chat'
            ws.send(PING) # Then it is a message like any other
            ws.send('{"msg": "hi"}')
            assert ws.recv(BOUND) == 'hi'


async def starlette_echo(ws: Any) -> None:
    assert ws.scope['subprotocols'] == []
    await ws.accept()
    await ws.send_text(await ws.receive_text())
    await ws.close(4001, 'as agreed')


class TornadoEcho(WebSocketHandler):
    def select_subprotocol(self, offered: list[str]) -> None: assert offered == []
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)
        self.close(4001, 'as agreed')


STARLETTE, TORNADO = Starlette(routes=[WebSocketRoute('/', starlette_echo)]), Application([('/', TornadoEcho)])


@pytest.mark.parametrize('app', [STARLETTE, TORNADO])
def test_foreign_apps_do_not_see_it(app: Any) -> None:
    from nbws.adapters.detect import as_app
    with live(as_app(app)) as c:
        ws = c.ws(subprotocols=[ALIVE])
        assert ws.subprotocol == ALIVE
        ws.send(PING)
        assert ws.recv(BOUND) == PONG
        ws.send('hi')
        assert ws.recv(BOUND) == 'hi'
        assert ws.recv(BOUND) == 'nbws close 4001 as agreed'
        assert ended(ws) == (4001, 'as agreed')


def test_a_busy_handler_answers_and_a_full_inbox_is_told() -> None:
    app, go = App(), asyncio.Event()
    @app.ws('/')
    async def slow(msg: str) -> str:
        await go.wait()
        return msg
    with live(app) as c:
        ws = c.ws(subprotocols=[ALIVE])
        ws.send('{"msg": "0"}')
        ws.send(PING)
        assert ws.recv(BOUND) == PONG
        for n in range(1, 66): ws.send(f'{{"msg": "{n}"}}')
        assert ws.recv(BOUND) == 'nbws pause'
        c.server.loop.call_soon_threadsafe(go.set)
        heard = [ws.recv(BOUND) for _ in range(67)]
    assert heard.count('nbws resume') == 1
    assert [h for h in heard if h != 'nbws resume'] == list(map(str, range(66)))


def test_nobody_else_is_told_anything() -> None:
    "A client that does not ask gets what the app says, and the close frame."
    app = App()
    @app.ws('/')
    async def said(ws: Any, msg: str) -> None: await ws.close(4001, msg)
    with live(app) as c:
        ws = c.ws()
        ws.send('{"msg": "bye"}')
        assert ended(ws) == (4001, 'bye')


@pytest.mark.parametrize('uvloop', [False, True])
def test_messages_stay_under_the_limit_of_jupyter_server_proxy(uvloop: bool, expect_log: Any) -> None:
    "What it would not pass on is told to the developer; the socket stays, and others get it."
    expect_log('jupyter-server-proxy passes', times=2)
    app = App()
    @app.ws('/', conn=app.room('all').join)
    async def said(ws: Any, size: int, to: str = '') -> None:
        text = 'x' * size
        await (app.room('all').send(text) if to else ws.send(text))
        await ws.send('done')
    with live(app, uvloop=uvloop) as c:
        other = c.ws(max_size=None)
        ws = c.ws(max_size=None, additional_headers={'X-ProxyContextPath': '/proxy/1'})
        ws.send(f'{{"size": {RELAYED}}}')
        assert [len(ws.recv(BOUND)) for _ in range(2)] == [RELAYED, 4]
        ws.send(f'{{"size": {RELAYED + 1}}}')
        assert ws.recv(BOUND) == 'done'
        ws.send(f'{{"size": {RELAYED + 1}, "to": "all"}}')
        assert ws.recv(BOUND) == 'done'
        assert len(other.recv(BOUND)) == RELAYED + 1


