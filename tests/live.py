"""An app on our server, with the clients that people use: httpx and websockets."""
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from bound import BOUND
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from nbws.server.listener import Server
from nbws.web.succession import adopt


def on(server: Server, coroutine: Any) -> Any:
    "Run a coroutine on the server's loop."
    return asyncio.run_coroutine_threadsafe(coroutine, server.loop).result(BOUND)


async def replace(server: Server, new: Any) -> None:
    "What `serve` does in a notebook, when the cell that makes the app is run again. On the server's loop."
    old: Any = server.app
    await new.startup()
    server.app = new
    adopt(new, old)
    await old.shutdown()


class Live:
    "A served app and its clients."
    def __init__(self, server: Server, sockets: ExitStack) -> None:
        self.server, self.sockets, self.app = server, sockets, server.app
        self.http = sockets.enter_context(httpx.Client(base_url=server.url, timeout=BOUND, trust_env=False))

    def get(self, path: str = '/', **options: Any) -> httpx.Response: return self.http.get(path, **options)
    def post(self, path: str = '/', **options: Any) -> httpx.Response: return self.http.post(path, **options)

    def ws(self, path: str = '/', **options: Any) -> ClientConnection:
        options = {'open_timeout': BOUND, 'close_timeout': BOUND, 'compression': None, 'proxy': None, **options}
        return self.sockets.enter_context(connect(self.server.url.replace('http', 'ws') + path, **options))

    def wait(self, coroutine: Any) -> Any:
        "Run a coroutine on the server's loop."
        return on(self.server, coroutine)


@contextmanager
def live(app: Any, **options: Any) -> Iterator[Live]:
    server = Server(app, port=0, **options).start(BOUND)
    try:
        with ExitStack() as sockets: yield Live(server, sockets)
    finally: server.stop(2)


def ended(ws: ClientConnection) -> tuple[int, str]:
    "The close frame that comes."
    with pytest.raises(ConnectionClosed) as e:
        while True: ws.recv(BOUND)
    return (e.value.rcvd.code, e.value.rcvd.reason) if e.value.rcvd else (1006, '')
