"""A handler of one message may ask for the next one itself with `ws.receive()`."""
from __future__ import annotations

import threading
from typing import Any

from bound import BOUND, until
from live import live

from nbws.app import App
from nbws.core.messages import WebSocketDisconnect


def test_told_that_the_client_has_left() -> None:
    "One that waits ends by `WebSocketDisconnect`, and `disconn` runs: no task and no socket stays."
    app, told, waits = App(), [], threading.Event()
    async def wait(ws: Any) -> None:
        waits.set()
        try:
            while True: await ws.receive()
        except WebSocketDisconnect as e:
            told.append(int(e.code))
            raise
    async def disconn(ws: Any) -> None: told.append('disconn')
    app.ws('/', disconn=disconn)(wait)
    with live(app) as c:
        ws = c.ws()
        ws.send('{"msg":"first"}')
        assert waits.wait(BOUND)
        ws.send('second')
        ws.close(4000)
        until(lambda: told == [4000, 'disconn'])


def test_a_step_is_no_message() -> None:
    "Its cell runs again with another `disconn` while it waits: it still gets the next message, then the change comes."
    app, said = App(), []
    async def first(ws: Any, msg: str) -> str: return f'{msg} and {await ws.receive()}'
    async def second(msg: str) -> str: return f'new {msg}'
    async def disconn(ws: Any) -> None: said.append('old disconn')
    app.ws('/', disconn=disconn)(first)
    with live(app) as c:
        ws = c.ws()
        ws.send('{"msg":"a"}')
        until(lambda: next(iter(app.sockets)).waiter is not None)
        app.ws('/')(second)
        until(lambda: next(iter(app.sockets)).change is not None)
        ws.send('b')
        assert ws.recv(BOUND) == 'a and b'
        ws.send('{"msg":"c"}')
        assert ws.recv(BOUND) == 'new c'
        assert said == ['old disconn']
