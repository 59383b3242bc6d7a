"""Rooms over real sockets: order, a member that does not read, and one that has just left."""
from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from bound import BOUND
from live import live
from raw import Raw, serving, text, until
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from nbws import App
from nbws.core.protocols import Published
from nbws.sockets.rooms import Room
from nbws.server.listener import Server
from nbws.server.output import OutputGroup
from nbws.testing import Client


@pytest.fixture(params=['asyncio', 'uvloop'])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    "An app with a room that everybody joins."
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    app = App()

    @app.ws('/', conn=app.room('all').join) # Before their clients hear that they are connected
    async def talk(ws: Any, msg: str, times: int = 1) -> None:
        ws.send(f'before {msg}')
        for _ in range(times): app.room('all').send(msg)
        ws.send(f'after {msg}')

    with serving(app, uvloop=request.param == 'uvloop') as server: yield server


def url(server: Server) -> str: return f'ws://127.0.0.1:{server.port}/'


def groups(server: Server) -> set[Any]:
    "The groups that broadcasts go to; None for members that are sent to one by one."
    return {getattr(ws.conn, 'group', None) for ws in server.app.sockets}


@pytest.mark.parametrize('compression', [None, 'deflate'])
def test_order(server: Server, compression: Any) -> None:
    "A handler's own answers stay around what it sends to the room; the room's messages keep their order."
    with connect(url(server), compression=compression) as one, connect(url(server), compression=compression) as two:
        for n in range(300): one.send(f'{{"msg": "{n}"}}')
        for n in range(300): assert [one.recv(BOUND) for _ in range(3)] == [f'before {n}', str(n), f'after {n}']
        assert [two.recv(BOUND) for _ in range(300)] == [str(n) for n in range(300)]
        assert len(groups(server)) == 1
        two.send('{"msg": "back"}')
        assert [two.recv(BOUND) for _ in range(3)] == ['before back', 'back', 'after back']
        assert one.recv(BOUND) == 'back'


def test_all_kinds_of_members(server: Server) -> None:
    "With compression, without, with a window of its own, of another server, without a network: all get the same."
    app, room = server.app, server.app.room('all')
    small = ClientPerMessageDeflateFactory(server_max_window_bits=10)
    with (connect(url(server), compression=None) as plain, connect(url(server)) as packed,
          connect(url(server), compression=None, extensions=[small]) as narrow, serving(app) as other,
          connect(url(other)) as elsewhere, Client(app) as client, client.ws('/') as inside):
        members = plain, packed, narrow, elsewhere
        assert len(groups(server)) == 5 # Those of three kinds here, the other server's, and none
        long = 'a long message, and it can be compressed ' * 100
        for text in 'short', long, 'é' * 300, long[:2000]:
            room.send(text)
            assert [ws.recv(BOUND) for ws in members] == [text] * 4
            assert inside.receive() == text
        for skip in list(room):
            room.send('not you', skip=skip)
            room.send('all')
        for ws in members: assert [ws.recv(BOUND) for _ in range(9)].count('not you') == 4
        assert [inside.receive() for _ in range(9)].count('not you') == 4


@pytest.mark.parametrize('seed', range(8))
def test_whatever_is_said_keeps_its_order(server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    "Rooms, sockets, newcomers and leavers, in turns of the loop of any length: each client gets what a list would get."
    if seed % 2: monkeypatch.setattr('nbws.server.output.FEW', 0) # As in large rooms
    rng, app = random.Random(seed), server.app
    rooms = [app.room(name, history=3) for name in 'ab']
    with ExitStack() as stack:
        kinds = None, 'deflate', None, 'deflate', None
        clients = [stack.enter_context(connect(url(server), compression=kind)) for kind in kinds]
        by_port = {ws.client.port: ws for ws in app.sockets}
        expected: dict[Any, list[str]] = {by_port[c.local_address[1]]: [] for c in clients}

        async def talk() -> None:
            inside: dict[Any, set[Any]] = {room: set() for room in rooms}
            said: dict[Any, list[str]] = {room: [] for room in rooms}
            for n in range(400):
                room, ws = rng.choice(rooms), rng.choice(list(expected))
                text = f'{n} ' * rng.choice([1, 1, 1, 300, 2000])
                what = rng.choice(['all', 'all', 'all', 'but', 'one', 'join', 'leave', 'turn'])
                if what in ('all', 'but'):
                    room.send(text, skip=ws if what == 'but' else None)
                    said[room].append(text)
                    for member in inside[room] - ({ws} if what == 'but' else set()): expected[member].append(text)
                elif what == 'one':
                    ws.send(text)
                    expected[ws].append(text)
                elif what == 'join':
                    room.join(ws)
                    if ws not in inside[room]: expected[ws] += said[room][-3:]
                    inside[room].add(ws)
                elif what == 'leave':
                    room.leave(ws)
                    inside[room].discard(ws)
                else: await asyncio.sleep(0)
            for ws in expected: ws.send('end')
        asyncio.run_coroutine_threadsafe(talk(), server.loop).result(BOUND)
        for client, (_, texts) in zip(clients, expected.items(), strict=True):
            assert list(iter(lambda c=client: c.recv(BOUND), 'end')) == texts


def test_members_that_change_while_it_is_sent_to(server: Server) -> None:
    "Some leave, come back and are reset between messages; one stays, and the group's list is never an old one."
    room = server.app.room('all')
    with connect(url(server), compression=None) as stays:
        for n in range(50):
            with Raw(server) as gone, connect(url(server), compression=None) as leaves:
                gone.open()
                room.send(f'{n} hello')
                assert leaves.recv(BOUND) == f'{n} hello'
                gone.reset()
                room.send(f'{n} bye')
            room.send(f'{n} again')
        for n in range(50):
            for said in 'hello', 'bye', 'again': assert stays.recv(BOUND) == f'{n} {said}'
        until(lambda: len(room) == 1)


@pytest.mark.parametrize('overflow', ['drop', 'close'])
def test_a_member_that_does_not_read(server: Server, overflow: str) -> None:
    "It costs a bounded amount, and the others get everything."
    app = server.app
    room = app.room('all')
    room.overflow = overflow
    with Raw(server, receive_buffer=4096) as deaf, connect(url(server), compression=None) as one:
        deaf.open()
        one.send('{"msg": "ready"}')
        assert [one.recv(BOUND) for _ in range(3)] == ['before ready', 'ready', 'after ready']
        stalled = next(ws for ws in app.sockets if ws.client.port == deaf.sock.getsockname()[1])
        for n in range(200):
            room.send(f'{n:6}' * 10_000)
            assert str(one.recv(BOUND)).startswith(f'{n:6}')
        if overflow == 'drop':
            assert stalled in room
            assert stalled.dropped > 50
            assert stalled.outbox.unsent + stalled.conn.buffered < 1.5 * 2**20
        else: assert not stalled.conn or stalled.conn.state # It was told 1013, behind what it did not read
        assert len(room) == 2


def test_a_member_that_has_just_left(server: Server) -> None:
    "Many messages in one turn of the loop to a client that resets the connection: nothing is logged."
    with connect(url(server), compression=None) as one, Raw(server) as gone:
        gone.open()
        gone.send(text('{"msg": "here"}'))
        assert one.recv(BOUND) == 'here'
        one.send('{"msg": "many", "times": 2000}')
        gone.reset()
        while one.recv(BOUND) != 'after many': pass
        one.send('{"msg": "last"}')
        while one.recv(BOUND) != 'after last': pass
        assert len(server.app.room('all')) == 1


async def later(text: str) -> str: return f'{text} later'
async def returns_later(msg: str) -> Any: return later(msg)
async def sends(ws: Any, msg: str) -> Any: return ws.send(f'{msg} sent')


@pytest.mark.parametrize(('handler', 'answer'), [
    (lambda msg: later(msg), 'hi later'), (returns_later, 'hi later'), (sends, 'hi sent'),
    (lambda ws, msg: ws.send(f'{msg} sent'), 'hi sent')])
def test_what_has_to_be_awaited_may_be_returned(handler: Any, answer: str) -> None:
    "By a lambda, mostly: a coroutine, or what `send` returns, which says nothing."
    app = App()
    room = app.room('all')
    app.ws('/', conn=lambda ws: (room.join(ws), room.send('welcome'))[1])(handler)
    app.post('/say')(lambda msg: room.send(msg))
    async def say(msg: str) -> Any: return room.send(msg)
    app.post('/async')(say)
    with Client(app) as client, client.ws('/') as ws:
        assert ws.receive() == 'welcome'
        for path in '/say', '/async':
            assert client.post(path, data={'msg': path}).text == ''
            assert ws.receive() == path
        for _ in range(2):
            ws.send_json({'msg': 'hi'})
            assert ws.receive() == answer


# Rooms by name

@pytest.mark.parametrize('kind', ['async', 'sync'])
def test_rooms_that_nobody_is_in_are_forgotten(kind: str) -> None:
    "Each name that was ever asked for took 2.2 KiB for good."
    app = App()
    room = app.room('all') # The program has it
    def ask(name: str) -> Any:
        for n in range(100): app.room(f'{name} {n}', history=10)
        return app.room(name, history=10)
    if kind == 'async':
        async def conn(ws: Any, name: str) -> None: ask(name).join(ws)
    else:
        def conn(ws: Any, name: str) -> None: ask(name).join(ws)
    @app.ws('/{name}', conn=conn)
    async def ws(name: str, msg: str) -> None: app.room(name).send(msg)
    app.room('lobby', history=5) # Set up by the program, which has not kept it
    with live(app) as c:
        with c.ws('/ann') as ann, c.ws('/bob') as bob:
            ann.send('{"msg": "hello"}')
            assert ann.recv(BOUND) == 'hello'
            bob.ping().wait(BOUND)
            assert sorted(app.rooms) == ['all', 'ann', 'bob', 'lobby']
        until(lambda: not app.sockets)
        c.wait(asyncio.sleep(0)) # The last `disconn` has run
        assert sorted(app.rooms) == ['all', 'ann', 'lobby'] # Ann's has a history: who comes later hears it
        with c.ws('/ann') as late: assert late.recv(BOUND) == 'hello'
    app.rooms['ann'].keep(0)
    assert sorted(app.rooms) == ['all', 'lobby']
    assert app.room('lobby').history.maxlen == 5
    assert app.room('all') is room


def test_what_is_put_among_the_rooms_stays() -> None:
    app = App()
    app.rooms['mine'] = Room('mine')
    assert app.room('mine') is app.rooms['mine']
    assert app.rooms.pop('mine').name == 'mine'
    assert 'mine' not in app.rooms


# Resuming: a page's script asks with `nbws-since`, and says what it has seen


@pytest.fixture
def chat() -> Iterator[Server]:
    "A room with a history of three."
    app = App()
    room = app.room('kept', history=3)

    @app.ws('/', conn=room.join)
    async def talk(ws: Any, msg: str, keep: bool = True, skip: bool = False, binary: bool = False) -> str:
        room.send(msg.encode() if binary else msg, keep=keep, skip=ws if skip else None)
        return f'{dict(ws.query_params)}'

    with serving(app) as server: yield server


def hear(ws: Any, count: int) -> list[Any]: return [ws.recv(BOUND) for _ in range(count)]


@pytest.mark.parametrize('compression', [None, 'deflate'])
def test_a_position_rides_behind_what_is_kept(chat: Server, compression: Any) -> None:
    "Only to those who ask; the rest get what was sent, in the same room and order. No handler sees the question."
    epoch, query = chat.app.room('kept').epoch, "{'a': '1'}"
    with (connect(f'{url(chat)}?a=1&nbws-since=', compression=compression) as asks,
          connect(f'{url(chat)}?a=1', compression=compression) as plain):
        asks.send('{"msg": "kept"}')
        assert hear(asks, 2) == [f'kept\x1e{epoch}:1', query]
        assert hear(plain, 1) == ['kept']
        plain.send('{"msg": "not kept", "keep": false}')
        assert hear(plain, 2) == ['not kept', query]
        assert hear(asks, 1) == ['not kept']
        asks.send('{"msg": "bytes", "binary": true}')
        assert hear(asks, 3) == [b'bytes', f'\x1e{epoch}:2', query]
        assert hear(plain, 1) == [b'bytes']
        asks.send('{"msg": "mine", "skip": true}') # It has that itself, so it must not come again
        assert hear(asks, 2) == [f'\x1e{epoch}:3', query]
        assert hear(plain, 1) == ['mine']
    kept = {1: ['kept'], 2: [b'bytes'], 3: ['mine']}
    for seen in range(4):
        with connect(f'{url(chat)}?nbws-since=00000000:9.{epoch}:{seen}') as again:
            comes = [said for n in range(seen + 1, 4) for said in kept[n]]
            heard = hear(again, len(comes) + (seen < 2)) # The position of bytes comes by itself
            assert [h if h == b'bytes' else h.partition('\x1e')[0] for h in heard if h[:1] != '\x1e'] == comes
    with connect(url(chat)) as new: assert hear(new, 3) == ['kept', b'bytes', 'mine']


def test_members_that_are_sent_to_one_by_one_resume_too(chat: Server) -> None:
    app, room = chat.app, chat.app.room('kept')
    with Client(app) as client, client.ws('/?nbws-since=') as asks, client.ws('/') as plain:
        asks.send_json({'msg': 'kept'})
        assert [asks.receive(), plain.receive()] == [f'kept\x1e{room.epoch}:1', 'kept']


class Told:
    "A broker that brings what a test tells it."
    subscriber: Any = None
    def subscribe(self, room: str, subscriber: Any, history: int) -> None:
        self.subscriber = subscriber
        subscriber.begin(EPOCH, 0, ())
    def unsubscribe(self, room: str, subscriber: Any) -> None: self.left = True
    left = False


EPOCH = '0123abcd'


def shared(chat: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Told, list[int]]:
    "The room has a broker now; how many messages each group of members is then sent at a time."
    broker, sent = Told(), list[int]()
    chat.app.room('kept').share(broker, 'kept') # type: ignore[arg-type]
    def send(group: Any, messages: Any, *others: Any) -> None:
        sent.append(len(messages))
        at_once(group, messages, *others)
    at_once = OutputGroup.send
    monkeypatch.setattr(OutputGroup, 'send', send)
    return broker, sent


def test_what_a_broker_brings_together_goes_to_a_group_together(chat: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, sent = shared(chat, monkeypatch)
    with connect(f'{url(chat)}?nbws-since=') as asks, connect(url(chat)) as plain:
        assert hear(asks, 1) == [f'\x1e{EPOCH}:0']
        speaker = next(ws for ws in chat.app.sockets if ws.handshake.since is not None)
        said: list[Any] = ['one', b'two', 'three', 'mine', 'five', 'six']
        messages = [Published(data, EPOCH, n + 1 - (n >= 2), n != 2) for n, data in enumerate(said)]
        broker.subscriber.deliver(messages, [None, None, None, speaker, None, None])
        broker.subscriber.deliver(messages[3:], [None] * 3) # They are here already
        assert hear(plain, 6) == said
        marked = ['one', 1], [b'two', 0], ['', 2], ['three', 0], ['', 3], ['five', 4], ['six', 5]
        assert hear(asks, 7) == [f'{data}\x1e{EPOCH}:{at}' if at else data for data, at in marked]
        assert (sorted(sent), chat.app.room('kept').history.offset) == (sorted([3, 4, 1, 1, 2, 2]), 5)


def test_much_that_a_broker_brings_goes_in_pieces(chat: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    "Between them it is seen who does not read."
    broker, sent = shared(chat, monkeypatch)
    with connect(url(chat)) as plain:
        said = [str(n) * 40_000 for n in range(5)]
        messages = [Published(data, EPOCH, n + 1, True) for n, data in enumerate(said)]
        broker.subscriber.deliver(messages, [None] * 5)
        assert hear(plain, 5) == said
        assert sent == [2, 2, 1]


class Coming(Told):
    "The same, and it begins when it is told to."
    def subscribe(self, room: str, subscriber: Any, history: int) -> None: self.subscriber = subscriber


@pytest.mark.parametrize('ends', [False, True])
def test_a_broker_goes_on_where_another_one_was(chat: Server, ends: bool) -> None:
    "What the old one still brings is heard until then, and what it has not brought comes from the new one, once."
    old, new, other, room = Told(), Coming(), Coming(), chat.app.room('kept')
    room.share(old, 'kept') # type: ignore[arg-type]
    with (connect(f'{url(chat)}?nbws-since=') as asks, connect(url(chat)) as plain,
          connect(f'{url(chat)}?nbws-since={EPOCH}:3') as ahead): # It was elsewhere, and heard more there
        assert [hear(ws, 1) for ws in (asks, ahead)] == [[f'\x1e{EPOCH}:{seen}'] for seen in (0, 3)]
        until(lambda: len(room) == 3)
        messages = [Published(str(n), EPOCH, n, True) for n in range(1, 6)]
        speaker = next(ws for ws in chat.app.sockets if ws.handshake.since is None)
        old.subscriber.deliver(messages[:1], [None])
        room.share(new, 'kept') # type: ignore[arg-type]
        if ends: room.part(old)
        old.subscriber.deliver(messages[1:2], [speaker])
        new.subscriber.reaches(False)
        new.subscriber.begin(EPOCH, 4, messages[:4])
        old.subscriber.deliver(messages[2:4], [None] * 2)
        new.subscriber.reaches(True)
        new.subscriber.deliver(messages[4:], [None])
        assert hear(plain, 4) == list('1345')
        heard = ['\x1eaway', '4', '\x1eback', '5']
        for ws, texts in (ahead, heard), (asks, ['1', '2', '\x1eaway', '3', *heard[1:]]):
            assert hear(ws, len(texts)) == [f'{text}\x1e{EPOCH}:{text}' if text.isdigit() else text for text in texts]
        room.share(other, 'kept') # type: ignore[arg-type]
        if ends: room.part(new)
        messages = [Published(text, '89abcdef', n + 1, True) for n, text in enumerate(('past', 'end'))]
        other.subscriber.begin('89abcdef', 1, messages[:1]) # What was said there before is not theirs
        other.subscriber.deliver(messages[1:], [None])
        assert hear(plain, 1) == ['end']
        for ws in asks, ahead: assert hear(ws, 2) == ['\x1e89abcdef:1', 'end\x1e89abcdef:2']


@pytest.mark.parametrize('ends', [False, True])
def test_brokers_that_are_named_one_after_the_other_are_left(chat: Server, ends: bool) -> None:
    "Also one that had not begun when the room went over to the next at once."
    old, new, last, room = Told(), Coming(), Told(), chat.app.room('kept')
    with connect(url(chat)):
        until(lambda: len(room) == 1)
        room.share(old, 'kept') # type: ignore[arg-type]
        room.share(new, 'kept') # type: ignore[arg-type]
        if ends: room.part(old)
        assert not old.left
        room.share(last, 'kept', at_once=True) # type: ignore[arg-type]
        assert [broker.left for broker in (old, new, last)] == [True, True, False]
    until(lambda: last.left)


MANY = f'nbws-since={"00000000:1." * 21}'

@pytest.mark.parametrize('query', ['nbws-since=x', 'nbws-since=0:1', MANY, 'a-nbws-since='])
def test_what_is_no_position_is_the_apps_own(chat: Server, query: str) -> None:
    with connect(f'{url(chat)}?{query}') as ws:
        ws.send('{"msg": "hello"}')
        said, seen = hear(ws, 2)
        assert said == 'hello' and query.partition('=')[0] in seen


def test_one_room_takes_over_another(server: Server) -> None:
    "Whoever holds either has both: members, history, and what is said from now on."
    old, new = server.app.room('all', history=5), Room('all', history=2)
    with connect(url(server)) as one, connect(url(server)) as two:
        one.send('{"msg": "before"}')
        assert hear(two, 1) == ['before']
        new.send('alone')
        new.take_over(old)
        assert len(new) == len(old) == 2
        assert [kept.data for kept in new.history] == [kept.data for kept in old.history] == ['before', 'alone']
        new.send('by the new')
        old.send('by the old')
        assert hear(two, 2) == ['by the new', 'by the old']
    until(lambda: len(new) == 0)
