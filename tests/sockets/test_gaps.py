"Who has been away for too long hears of it; who does not read comes again; what is to be seen of rooms and brokers."
from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from bound import BOUND, until
from live import Live, live
from redises import redis_server

from nbws import App
from nbws.core.errors import NbwsError
from nbws.core.protocols import Broker
from nbws.core.request import Request
from nbws.sockets.brokers import MemoryBroker
from nbws.sockets.redis_broker import RedisBroker
from nbws.sockets.rooms import Room, figures
from nbws.sockets.websocket import WebSocket

GAP = '\x1egap'


def chat(broker: Broker | None = None, history: int = 5, number: int = 1, **options: Any) -> Any:
    app: Any = App()
    app.broker, app.origin = broker, app.origin._replace(number=number)
    app.all = app.room('all', history=history, **options)
    app.ws('/', conn=app.all.join)(lambda: None)
    return app


def hear(served: Live, since: str, last: str) -> list[str]:
    "What a page gets that has seen this, up to a text."
    heard = ['']
    ws = served.ws(f'/?nbws-since={since}')
    while heard[-1].partition('\x1e')[0] != last: heard.append(str(ws.recv(BOUND)))
    ws.close()
    return heard[1:]


def texts(heard: list[str]) -> list[str]: return [t if t == GAP else t.partition('\x1e')[0] for t in heard]


def test_what_is_kept_is_no_gap() -> None:
    app = chat()
    with live(app) as served:
        for n in range(20): app.all.send(str(n))
        epoch = app.all.epoch
        assert texts(hear(served, '', '19')) == [str(n) for n in range(15, 20)]
        assert texts(hear(served, f'{epoch}:15', '19')) == [str(n) for n in range(15, 20)]
        assert texts(hear(served, f'{epoch}:18', '19')) == ['18', '19']
        assert texts(hear(served, f'{epoch}:14', '19')) == [GAP, *(str(n) for n in range(15, 20))]
        assert texts(hear(served, '0123abcd:3', '19')) == [str(n) for n in range(15, 20)] # Another room's
        app.all.keep(0)
        app.all.keep(5)
        app.all.send('new')
        assert texts(hear(served, f'{epoch}:18', 'new')) == [GAP, 'new']


def test_in_a_room_that_processes_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.sockets.rooms.WINDOW', 10)
    monkeypatch.setattr('nbws.sockets.brokers.KEPT', 10)
    broker = MemoryBroker()
    app = chat(broker)
    with live(app) as served:
        ws = served.ws('/?nbws-since=')
        epoch = str(ws.recv(BOUND))[1:9]
        ws.close()
        for n in range(50): app.all.send(str(n))
        for where in served, None:
            if where is None: # Another process, which knows what the broker keeps
                with live(chat(broker)) as other: found = texts(hear(other, f'{epoch}:7', '49'))
            else: found = texts(hear(where, f'{epoch}:7', '49'))
            assert found[0] == GAP
            assert found[1:] == [str(n) for n in range(40, 50)]
            assert GAP not in texts(hear(served, f'{epoch}:40', '49'))


def test_an_epoch_that_nobody_knows_any_more() -> None:
    "Redis was emptied, and this process is new."
    with live(chat(MemoryBroker())) as served:
        app: Any = served.app
        app.all.send('new')
        assert texts(hear(served, '0123abcd:3', 'new')) == [GAP, 'new']
        other = app.room('other', history=3)
        other.send('x')
        assert GAP not in texts(hear(served, f'{app.all.epoch}:0', 'new'))


class FullConn:
    "A transport whose client does not read."
    buffered = 10**6
    closed: tuple[int, str] | None = None
    def send(self, data: Any) -> bool: return True
    def close(self, code: int = 1000, reason: str = '') -> None: self.closed = code, reason


def test_one_that_does_not_read_comes_again() -> None:
    "Also where the room would drop: a message would be missing behind a later one's position."
    async def run() -> None:
        room = Room('all', history=3, overflow='drop')
        sockets = [WebSocket(Request(upgrade=True), App(), SimpleNamespace(overflow='wait')) for _ in range(2)]
        resumes, plain = sockets
        resumes.handshake.since = {}
        for ws in sockets:
            ws.conn = FullConn()
            ws.outbox.attach(ws.conn)
            room.join(ws)
        for _ in range(60): room.send('x' * 30_000)
        assert [ws.conn.closed and ws.conn.closed[0] for ws in sockets] == [1013, None]
        assert (resumes.dropped, plain.dropped > 10) == (0, True)
        assert figures(room)[:3] == ('all', 2, 2)
        assert figures(room)[-1] == plain.dropped
        for _ in range(60): room.send('x' * 30_000, keep=False) # It has no position
    asyncio.run(run())


def test_what_is_to_be_seen(broker: Broker) -> None:
    with live(chat(broker)) as served:
        app: Any = served.app
        ws = served.ws('/')
        app.all.send('hi')
        assert ws.recv(BOUND) == 'hi'
        for word in ('<th>members here</th>', '<th>everywhere</th>', '<td>all</td>', '<td>1</td>'):
            assert word in app.rooms._repr_html_()
        text = served.wait(app.room_broker.diagnosis(app.rooms))
        assert text.startswith(f'Rooms are shared by {broker!r}. What is said there is heard after ')
        assert text.endswith('Other processes that serve this app: 0.')


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    expect_log('does not answer .*: what is said waits', 1)
    expect_log('answers again', 1)
    with live(chat()) as alone:
        app: Any = alone.app
        assert 'alone: neither' in alone.wait(app.room_broker.diagnosis(app.rooms))
    with redis_server() as redis, live(chat(RedisBroker(redis.url))) as served:
        app = served.app
        redis.kill()
        app.all.send('waits')
        until(lambda: app.broker.waiting)
        text = served.wait(app.room_broker.diagnosis(app.rooms))
        assert f'the Redis at {redis.url} does not answer' in text
        assert 'Is it running' in text
        redis.start()
        until(lambda: not app.broker.waiting)
        assert 'is heard after' in served.wait(app.room_broker.diagnosis(app.rooms))


def test_pages_hear_that_others_are_not_reached(expect_log: Any) -> None:
    expect_log('does not answer .*: what is said waits', 1)
    expect_log('answers again', 1)
    with redis_server() as redis, live(chat(RedisBroker(redis.url))) as served:
        app: Any = served.app
        app.other = app.room('other')
        app.ws('/both', conn=lambda ws: [app.all.join(ws), app.other.join(ws)])(lambda: app.other.leave(app.one))
        page, plain = served.ws('/?nbws-since='), served.ws('/')
        app.all.send('one')
        assert [str(page.recv(BOUND))[:4], str(page.recv(BOUND))[:3], plain.recv(BOUND)][1:] == ['one', 'one']
        redis.kill()
        assert page.recv(BOUND) == '\x1eaway'
        late, both = served.ws('/?nbws-since='), served.ws('/both?nbws-since=')
        while late.recv(BOUND) != '\x1eaway': pass
        until(lambda: len(app.other) == 1)
        app.one = next(iter(app.other))
        for _ in range(2): assert '\x1eaway' in [both.recv(BOUND), both.recv(BOUND)]
        served.wait(on_loop(app.all.leave, app.one))
        assert both.recv(BOUND) == '\x1eaway' # From the other room it is still cut off
        served.wait(on_loop(app.other.leave, app.one))
        assert both.recv(BOUND) == '\x1eback'
        app.all.send('two')
        redis.start()
        for ws in page, late:
            found = [str(ws.recv(BOUND)).partition('\x1e') for _ in range(2)]
            assert ('', '\x1e', 'back') in found
            assert 'two' in [text for text, _, _ in found]
        assert plain.recv(BOUND) == 'two'


async def on_loop(function: Any, *args: Any) -> None: function(*args)


def test_who_speaks_hears_that_nothing_more_can_wait(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    "In a handler, a thread and a cell, awaited or not; the sockets stay, and what was taken is sent."
    monkeypatch.setattr('nbws.sockets.redis_broker.WAITING', 20)
    expect_log('rooms: the Redis at', 2)
    expect_log(r'(?s)/plain.*20 messages wait for Redis, which does not answer', 1)
    word, heard = 'messages wait for Redis, which does not answer', []
    with redis_server() as redis, live(chat(RedisBroker(redis.url))) as served:
        app: Any = served.app
        @app.ws('/plain')
        def plain(msg: str): app.all.send(msg)
        @app.ws('/awaited')
        async def awaited(msg: str):
            try: await app.all.send(msg)
            except NbwsError as e: return str(e)
        @app.ws('/thread')
        async def thread(msg: str):
            try: await asyncio.to_thread(app.all.send, msg)
            except NbwsError as e: return str(e)
        ear = served.ws('/')
        redis.kill()
        with pytest.raises(NbwsError, match=word): # As in a cell
            for n in range(100):
                app.all.send(str(n))
                heard.append(str(n))
        for path in '/awaited', '/thread':
            ws = served.ws(path)
            ws.send('{"msg": "x"}')
            assert word in str(ws.recv(BOUND))
        ws = served.ws('/plain')
        ws.send('{"msg": "x"}')
        assert ws.ping().wait(BOUND) # It is still open
        redis.start()
        assert [ear.recv(BOUND) for _ in heard] == heard


def test_rooms_that_visitors_name(broker: Broker) -> None:
    "Half a surrogate pair, as JSON's text may have it, is in no UTF-8: such a room is one, too, and others go on."
    app = chat(broker)
    @app.ws('/named')
    async def named(room: str, ws: Any) -> str:
        await app.room(json.loads(f'"{room}"')).join(ws)
        return 'here'
    @app.ws('/say')
    def say(room: str): app.room(json.loads(f'"{room}"')).send('hello')
    with live(app) as served:
        odd = ['\\ud800', '\\u0000', 'a}b{c', '\\u001e1:2', ' ', '*', '\\ud83d\\ude00']
        for name in odd:
            ws, other = served.ws('/named'), served.ws('/say')
            ws.send(json.dumps({'room': name}))
            assert ws.recv(BOUND) == 'here'
            other.send(json.dumps({'room': name}))
            assert ws.recv(BOUND) == 'hello'
            ws.close()
            until(lambda: not any(len(room) for room in app.rooms.values()))
        ear = served.ws('/')
        app.all.send('on')
        assert ear.recv(BOUND) == 'on'
        with pytest.raises(NbwsError, match='1000 characters'): app.room('x' * 1001)


def test_a_redis_that_hangs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.web.room_broker.ANSWER', .2)
    with redis_server() as redis, live(chat(RedisBroker(redis.url))) as served:
        app: Any = served.app
        redis.pause()
        try: assert 'does not answer within' in served.wait(app.room_broker.diagnosis(app.rooms))
        finally: redis.resume()
        served.wait(asyncio.sleep(0))
