"""Rooms with a broker in one process: several apps, apps that take another one's place, a broker that comes late."""
from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from bound import BOUND, until
from raw import serving
from redises import redis_server
from websockets.sync.client import ClientConnection, connect

from nbws import App
from nbws.core.protocols import Broker
from nbws.server.listener import Server
from nbws.sockets.brokers import MemoryBroker
from nbws.sockets.redis_broker import RedisBroker
from nbws.web.succession import adopt


@pytest.fixture(params=['memory', 'redis'])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == 'memory': yield MemoryBroker()
    else:
        with redis_server() as server: yield RedisBroker(server.url)


def chat(broker: Broker | None = None, number: int = 1) -> App:
    app = App()
    app.broker, app.origin = broker, app.origin._replace(number=number) # As each process has it that runs the program

    @app.ws('/', conn=app.room('all', history=5).join)
    def say(msg: str) -> None: app.room('all').send(msg)

    return app


def client(server: Server, query: str = '') -> Any: return connect(f'ws://127.0.0.1:{server.port}/{query}')
def say(ws: ClientConnection, text: str) -> None: ws.send(f'{{"msg": "{text}"}}')
def on(server: Server, coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, server.loop).result(BOUND)


async def replace(server: Server, new: App) -> None:
    "What `serve` does in a notebook, when the cell that makes the app is run again."
    old: Any = server.app
    await new.startup()
    server.app = new
    adopt(new, old)
    await old.shutdown()


def test_apps_of_one_process_share_rooms_and_others_do_not() -> None:
    broker = MemoryBroker()
    with (serving(chat(broker)) as one, serving(chat(broker)) as two, serving(chat(broker, 2)) as other,
          client(one) as a, client(two) as b, client(other) as c):
        say(a, 'hello')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['hello', 'hello']
        say(c, 'alone')
        assert c.recv(BOUND) == 'alone'
        with client(two) as late: assert late.recv(BOUND) == 'hello'


def test_an_app_takes_another_ones_place(broker: Broker) -> None:
    "Members, history and broker go on; nothing is heard twice, and the broker ends with the last app."
    with serving(chat(broker)) as server, client(server) as one:
        old: Any = server.app
        say(one, 'before')
        assert one.recv(BOUND) == 'before'
        new = chat(number=3) # It is not told of the broker
        on(server, replace(server, new))
        assert new.broker is broker
        say(one, 'after')
        assert one.recv(BOUND) == 'after'
        old.room('all').send('by the old one')
        new.room('all').send('by the new one')
        assert [one.recv(BOUND) for _ in range(2)] == ['by the old one', 'by the new one']
        on(server, replace(server, chat(broker, 4)))
        with client(server) as late:
            expected = ['before', 'after', 'by the old one', 'by the new one']
            assert [late.recv(BOUND) for _ in range(4)] == expected
            say(late, 'end')
            assert [ws.recv(BOUND) for ws in (one, late)] == ['end', 'end']


def test_a_broker_that_comes_late(broker: Broker) -> None:
    "Who is in the room stays, and what was said before stays, too."
    with serving(chat()) as server, client(server) as one:
        app: Any = server.app
        say(one, 'before')
        assert one.recv(BOUND) == 'before'
        app.broker = broker
        on(server, app.share_rooms())
        say(one, 'after')
        assert one.recv(BOUND) == 'after'
        with client(server) as late: assert [late.recv(BOUND) for _ in range(2)] == ['before', 'after']


def test_who_resumes_before_the_first_message_misses_nothing(broker: Broker) -> None:
    with serving(chat(broker)) as server:
        with client(server, '?nbws-since=') as one: mark = str(one.recv(BOUND))
        assert mark.startswith('\x1e')
        assert mark.endswith(':0')
        app: Any = server.app
        for n in range(8): app.room('all').send(str(n)) # More than newcomers get
        with client(server, '?nbws-since=' + mark[1:]) as again:
            assert [str(again.recv(BOUND)).partition('\x1e')[0] for _ in range(8)] == list('01234567')


def test_rooms_that_nobody_is_in_are_forgotten(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    "Visitors name them: this process keeps none of them."
    monkeypatch.setattr('nbws.sockets.redis_broker.LINGER', 0)
    app = chat(broker)

    @app.ws('/{name}', conn=lambda ws, name: app.room(name).join(ws))
    def hear(msg: str) -> None: ...

    with serving(app) as server:
        for n in range(5):
            with connect(f'ws://127.0.0.1:{server.port}/room{n}'): assert f'room{n}' in app.rooms
        until(lambda: gc.collect() >= 0 and list(app.rooms) == ['all'])
