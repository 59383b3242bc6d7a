"""Handlers that are replaced while sockets are open and messages are on their way: nothing is lost or reordered."""
from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from bound import BOUND, until
from logs import ExpectLog
from nbws.common import App
from nbws.server.listener import Server
from nbws.sockets.workers import Workers
from nbws.web import router
from nbws.web.succession import adopt
from websockets.asyncio.client import ClientConnection, connect

SWAPS, MESSAGES, CLIENTS = 100, 1000, 4


@pytest.fixture
def served() -> Iterator[tuple[App, Server]]:
    app = App()
    with Server(app) as server: yield app, server


def address(server: Server, path: str = '/ws') -> str:
    "Where sockets connect."
    return f'ws://127.0.0.1:{server.port}{path}'


def swap_while(define: Any, done: threading.Event) -> int:
    "Define handlers again and again, as a cell does that is re-run; says how often."
    times = 0
    while times < SWAPS or not done.is_set():
        define(times)
        times += 1
        done.wait(0.001)
        if times > 100 * SWAPS: break
    return times


async def converse(ws: ClientConnection, window: int = 20) -> list[str]:
    "Send numbered messages, at most `window` ahead of their answers; returns the answers."
    answers: list[str] = []
    for i in range(MESSAGES):
        await ws.send(json.dumps({'n': i}))
        while i - len(answers) >= window: answers.append(await ws.recv())
    while len(answers) < MESSAGES: answers.append(await ws.recv())
    return answers


def run_clients(server: Server, define: Any) -> list[list[str]]:
    "Several clients talk while the handlers are swapped in another thread."
    done = threading.Event()
    swapper = threading.Thread(target=swap_while, args=(define, done))

    async def main() -> list[list[str]]:
        sockets = [await connect(address(server)) for _ in range(CLIENTS)]
        swapper.start()
        try:
            return await asyncio.wait_for(asyncio.gather(*(converse(ws) for ws in sockets)), BOUND)
        finally:
            done.set()
            await asyncio.gather(*(ws.close() for ws in sockets))

    try: return asyncio.run(main())
    finally:
        done.set()
        swapper.join(BOUND)


def test_message_handler(served: tuple[App, Server]) -> None:
    app, server = served
    versions = set()

    def define(version: int) -> None:
        @app.ws('/ws')
        async def ws(n: int) -> str:
            if n % 10 == 0: await asyncio.sleep(0)
            versions.add(version)
            return str(n)

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]
    assert len(versions) > 5


def test_sync_handler(served: tuple[App, Server]) -> None:
    app, server = served

    def define(version: int) -> None:
        @app.ws('/ws')
        def ws(n: int) -> str: return str(n)

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]


def test_conn_and_disconn(served: tuple[App, Server]) -> None:
    "Each version keeps its clients in a list of its own, as a cell with `users = {}` does."
    app, server = served
    current: dict[str, list[Any]] = {'users': []}

    def define(version: int) -> None:
        until(lambda: len(current['users']) == len(app.sockets)) # They have come over to the one before
        users: list[Any] = []

        def on_conn(ws: Any) -> None: users.append(ws)

        def on_disconn(ws: Any) -> None: users.remove(ws)

        async def message(ws: Any, n: int) -> str | None: return str(n) if ws in users else 'forgotten'

        app.ws('/ws', conn=on_conn, disconn=on_disconn)(message)
        current['users'] = users

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]
    with Server(App()):  # Any other work: the last sockets leave by the current version
        pass
    server.stop()
    assert current['users'] == []


def test_sockets_that_move_while_the_server_stops_leave(
        served: tuple[App, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    "What a move begins when it has come to its end is waited for, too."
    app, server = served
    moves, go, drain = threading.Event(), threading.Event(), Workers.drain

    async def drained(self: Workers, timeout: float) -> None:
        self.loop.call_soon(go.set) # While it waits
        await drain(self, BOUND)

    monkeypatch.setattr(Workers, 'drain', drained)

    def define(wait: bool) -> list[Any]:
        users: list[Any] = []

        async def conn(ws: Any) -> None:
            if wait: await asyncio.to_thread(go.wait, BOUND)
            users.append(ws)

        async def disconn(ws: Any) -> None:
            await asyncio.sleep(.01)
            users.remove(ws)
            if not wait: moves.set()

        @app.ws('/ws', conn=conn, disconn=disconn)
        async def message(n: int) -> str: return str(n)

        return users

    async def main() -> list[list[Any]]:
        users = [define(False)]
        sockets = [await connect(address(server)) for _ in range(CLIENTS)]
        users.append(await asyncio.to_thread(define, True))
        await asyncio.to_thread(moves.wait, BOUND) # The first one is on its way
        await asyncio.gather(*(ws.close() for ws in sockets))
        return users

    users = asyncio.run(asyncio.wait_for(main(), BOUND))
    server.stop()
    assert users == [[], []]


def test_pull_handler(served: tuple[App, Server]) -> None:
    app, server = served
    ended: list[int] = []

    def define(version: int) -> None:
        @app.ws('/ws')
        async def ws(websocket: Any) -> None:
            await websocket.accept()
            try:
                async for message in websocket: await websocket.send(str(json.loads(message)['n']))
            finally: ended.append(version)

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]
    assert len(set(ended)) > 5


def test_push_becomes_pull_and_back(served: tuple[App, Server]) -> None:
    app, server = served

    def define(version: int) -> None:
        if version % 2:
            @app.ws('/ws')
            async def pull(websocket: Any) -> None:
                await websocket.accept()
                async for message in websocket: await websocket.send(str(json.loads(message)['n']))
        else:
            @app.ws('/ws')
            async def push(n: int) -> str: return str(n)

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]


def test_whole_app_is_replaced(served: tuple[App, Server]) -> None:
    app, server = served

    def fresh(version: int) -> App:
        new = App()

        @new.ws('/ws')
        async def ws(n: int) -> str: return str(n)

        return new

    async def take(new: App) -> None:
        old, server.app = server.app, new
        await new.startup()
        adopt(new, old)
        await old.shutdown()

    def define(version: int) -> None:
        asyncio.run_coroutine_threadsafe(take(fresh(version)), server.loop).result(BOUND)

    define(0)
    for answers in run_clients(server, define): assert answers == [str(i) for i in range(MESSAGES)]
    assert server.app is not app


def test_removed_route_closes_its_sockets(served: tuple[App, Server]) -> None:
    app, server = served

    @app.ws('/ws')
    async def ws(n: int) -> str: return str(n)

    async def main() -> int | None:
        async with connect(address(server)) as ws:
            await ws.send('{"n": 1}')
            assert await ws.recv() == '1'
            app.remove(app.table.routes)
            await asyncio.wait_for(ws.wait_closed(), BOUND)
            return ws.close_code

    assert asyncio.run(main()) == 1012


def test_a_conn_that_does_not_end_holds_no_socket_at_the_old_handlers(
        served: tuple[App, Server], monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog) -> None:
    "Neither its own nor those behind it: sockets move one after the other, and there is a time for all of them."
    expect_log('conn or disconn takes over', times=2)
    monkeypatch.setattr(router, 'MOVING', 0.05)
    app, server = served

    def define(version: int) -> None:
        async def conn(ws: Any) -> None:
            if version: await asyncio.Event().wait()

        @app.ws('/ws', conn=conn)
        async def ws(n: int) -> str: return f'version {version}'

    async def main() -> None:
        sockets = [await connect(address(server)) for _ in range(CLIENTS)]
        for version in 1, 2:
            define(version)
            for ws in sockets:
                answer = ''
                while answer != f'version {version}': # A message may still meet the old one
                    await ws.send('{"n": 1}')
                    answer = str(await ws.recv())
        for ws in sockets: await ws.close()

    define(0)
    asyncio.run(asyncio.wait_for(main(), BOUND))
