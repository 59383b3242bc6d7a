"""Rooms with a broker in one process: several apps, apps that take another one's place, a broker that comes late."""
from __future__ import annotations

import gc
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from bound import BOUND, until
from live import on, replace
from raw import serving
from redises import Make
from websockets.sync.client import ClientConnection, connect

from nbws import App
from nbws.core.protocols import Broker, Subscriber
from nbws.server.listener import Server
from nbws.sockets.brokers import MemoryBroker


def chat(broker: Broker | None = None, number: int = 1, share: str | None = None) -> App:
    app = App()
    app.broker, app.origin = broker, app.origin._replace(number=number) # As each process has it that runs the program
    if share: app.room('all', share=share, key='one good key, made by chance')

    @app.ws('/', conn=app.room('all', history=5).join)
    def say(msg: str) -> None: app.room('all').send(msg)

    return app


def client(server: Server, query: str = '') -> Any: return connect(f'ws://127.0.0.1:{server.port}/{query}')
def say(ws: ClientConnection, text: str) -> None: ws.send(f'{{"msg": "{text}"}}')


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


class SlowBroker(MemoryBroker):
    "Begins when it is told to."
    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[str, Subscriber, int]] | None = []

    def subscribe(self, room: str, subscriber: Subscriber, history: int) -> None:
        if self.waiting is None: super().subscribe(room, subscriber, history)
        else: self.waiting.append((room, subscriber, history))

    def begin(self) -> None:
        waiting, self.waiting = self.waiting, None
        for call in waiting or (): self.subscribe(*call)


def test_nothing_is_lost_before_a_late_broker_begins() -> None:
    broker = SlowBroker()
    with serving(chat()) as server, client(server) as one, client(server, '?nbws-since=') as marked:
        app: Any = server.app
        say(one, 'before')
        app.broker = broker
        on(server, app.share_rooms())
        say(one, 'in between')
        assert [one.recv(BOUND) for _ in range(2)] == ['before', 'in between']
        with client(server) as late: assert [late.recv(BOUND) for _ in range(2)] == ['before', 'in between']
        broker.begin()
        with serving(chat(broker)) as elsewhere, client(elsewhere) as other:
            say(other, 'together')
            assert [ws.recv(BOUND) for ws in (one, other)] == ['together', 'together']
            seen = [str(marked.recv(BOUND)) for _ in range(4)]
            assert [text.partition('\x1e')[0] for text in seen] == ['before', 'in between', '', 'together']
            say(one, 'end')
            assert [ws.recv(BOUND) for ws in (one, other)] == ['end', 'end']


def test_who_leaves_before_a_late_broker_begins() -> None:
    broker = SlowBroker()
    with serving(chat()) as server:
        app: Any = server.app
        with client(server) as one:
            say(one, 'before')
            assert one.recv(BOUND) == 'before'
            app.broker = broker
            on(server, app.share_rooms())
        until(lambda: app.room('all').sharing is not None)
        broker.begin()
        app.broker = another = MemoryBroker()
        with client(server) as two, serving(chat(another)) as elsewhere, client(elsewhere) as other:
            on(server, app.share_rooms())
            assert two.recv(BOUND) == 'before'
            say(other, 'hello')
            assert [ws.recv(BOUND) for ws in (two, other)] == ['hello', 'hello']


class LateBroker:
    "Another one, where what is to happen in rooms does when it is told to. What processes tell each other goes on."
    def __init__(self, broker: Broker) -> None:
        self.broker: Any = broker
        self.late: list[tuple[str, Subscriber, int]] | None = []

    def __getattr__(self, name: str) -> Any: return getattr(self.broker, name)

    def subscribe(self, room: str, subscriber: Subscriber, history: int) -> None:
        if self.late is None or '\x1f' in room: self.broker.subscribe(room, subscriber, history)
        else: self.late.append((room, subscriber, history))

    def begin(self) -> None:
        late, self.late = self.late, None
        for call in late or (): self.subscribe(*call)


async def share_by(server: Server, broker: Broker) -> None:
    "What `serve(broker=...)` does, again and with another one."
    app: Any = server.app
    app.broker = broker
    await app.share_rooms()


@pytest.mark.parametrize('share', [None, 'team'])
@pytest.mark.parametrize('place', ['of the app', 'of the broker'])
def test_nothing_is_lost_when_a_broker_ends_before_the_next_one_has_begun(
        make: Make, place: str, share: str | None) -> None:
    "What is said then waits; what others say is heard when it has begun."
    late: Any = LateBroker(make())
    with (serving(chat(make(), share=share)) as server, serving(chat(make(), share=share)) as elsewhere,
          client(server) as one, client(server, '?nbws-since=') as marked, client(elsewhere) as other):
        say(one, 'before')
        assert [ws.recv(BOUND) for ws in (one, other)] == ['before'] * 2
        until(lambda: str(marked.recv(BOUND)).startswith('before'))
        on(server, replace(server, chat(late, share=share)) if place == 'of the app' else share_by(server, late))
        say(other, 'meanwhile')
        assert other.recv(BOUND) == 'meanwhile'
        app: Any = server.app
        said = app.room('all').send('after')
        with ThreadPoolExecutor() as pool:
            comes = pool.submit(client, server)
            until(lambda: len(app.room('all')) == 3) # And waits, as what is said does
            late.begin()
            on(server, waited(said))
            assert [one.recv(BOUND) for _ in range(2)] == ['meanwhile', 'after']
            with comes.result(BOUND) as newcomer:
                assert [newcomer.recv(BOUND) for _ in range(3)] == ['before', 'meanwhile', 'after']
                until(lambda: app.room('all').count() == 4)
        assert [str(marked.recv(BOUND)).partition('\x1e')[0] for _ in range(2)] == ['meanwhile', 'after']
        say(one, 'end')
        assert [other.recv(BOUND) for _ in range(2)] == ['after', 'end']
        assert one.recv(BOUND) == 'end'


def test_who_waits_for_a_broker_that_ends_goes_on_with_the_next_one(make: Make) -> None:
    late: Any = LateBroker(make())
    with (serving(chat(late)) as server, serving(chat(make())) as elsewhere, client(elsewhere) as other,
          ThreadPoolExecutor() as pool):
        say(other, 'before')
        assert other.recv(BOUND) == 'before'
        app: Any = server.app
        comes = pool.submit(client, server)
        until(lambda: len(app.room('all')) == 1)
        on(server, share_by(server, make()))
        with comes.result(BOUND) as one:
            assert one.recv(BOUND) == 'before'
            say(other, 'end')
            assert [ws.recv(BOUND) for ws in (one, other)] == ['end'] * 2


async def waited(said: Awaitable[None]) -> None: await said


def test_who_resumes_before_the_first_message_misses_nothing(broker: Broker) -> None:
    with serving(chat(broker)) as server:
        with client(server, '?nbws-since=') as one: mark = str(one.recv(BOUND))
        assert mark.startswith('\x1e')
        assert mark.endswith(':0')
        app: Any = server.app
        for n in range(8): app.room('all').send(str(n)) # More than newcomers get
        with client(server, '?nbws-since=' + mark[1:]) as again:
            heard = (str(again.recv(BOUND)).partition('\x1e')[0] for _ in range(9)) # A mark alone may come first
            assert list(islice(filter(None, heard), 8)) == list('01234567')


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


def test_who_came_hears_what_is_said_then(broker: Broker) -> None:
    "In a room without a history, also where nobody waits for his coming."
    app, done = App(), []
    app.broker = broker

    async def conn(ws: Any) -> None:
        room = app.room(str(ws.query_params['room']))
        room.join(ws)
        for n in range(3): said = room.send(str(n), keep=n != 1)
        await said
        done.append(room.name)

    app.ws('/', conn=conn)(lambda: None)
    with serving(app) as server:
        for name in 'abc':
            with client(server, f'?room={name}') as one: assert [one.recv(BOUND) for _ in range(3)] == list('012')
        until(lambda: done == list('abc'))


def test_what_is_held_for_newcomers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    "Then it is published at once, in order: the broker has a bound, too."
    from nbws.sockets import rooms
    monkeypatch.setattr(rooms, 'HELD_SIZE', 10)
    app, broker = App(), SlowBroker()
    app.broker = broker
    room = app.room('tea', history=5)
    app.ws('/', conn=lambda ws: (room.join(ws), None)[1])(lambda: None)
    with serving(app) as server, client(server) as one:
        until(lambda: len(room))
        for text in 'four', 'more', 'and more': room.send(text)
        with serving(chat(broker)): # It has been handed over, though the room has not begun
            topic = next(t for key, t in broker._topics.items() if key.endswith(':tea'))
            assert [m.data for m in topic.kept] == ['four', 'more', 'and more']
        room.send('five')
        broker.begin()
        assert one.recv(BOUND) == 'four'
        assert rooms.HeldMessage.total == 0
