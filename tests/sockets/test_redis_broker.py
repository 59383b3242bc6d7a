"""Redis that is cut off, killed, emptied, full, or wrong from the start: nothing that was taken is lost or doubled."""
from __future__ import annotations

import asyncio
import random
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import pytest
from bound import BOUND
from redises import RedisProcess, Relay, redis_server
from test_brokers import Ear, soon

from nbws import App
from nbws.core.errors import NbwsError, StartError
from nbws.core.request import Request
from nbws.sockets import redis_broker, redis_places
from nbws.sockets.brokers import KEPT, MemoryBroker
from nbws.sockets.redis_broker import AGAIN, LOOK, PUBLISH, RedisBroker, RedisShard, keys_of
from nbws.sockets.rooms import Rooms
from nbws.sockets.websocket import WebSocket


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with redis_server() as server: yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    "A second in place of four, and so on. A machine that is busy may be silent for longer."
    expect_log.may_come(r'rooms: .* (does not answer \(in time\)|answers again)')
    monkeypatch.setattr(redis_places, 'ANSWER', 1.0)
    monkeypatch.setattr(redis_broker, 'QUIET', .5)
    monkeypatch.setattr(redis_broker, 'DEAD', 1.5)


Disturb = Callable[[], Awaitable[None]]


async def talked(url: str, disturb: Disturb, rounds: int = 40,
                 one_order: bool = True, # For both; that of each who speaks is checked anyway
                 ) -> list[Ear]:
    "Two brokers speak while something happens. Checks that each has heard all of it, once and in one order."
    brokers = [RedisBroker(url) for _ in range(2)]
    for broker in brokers: await broker.start()
    try:
        ears = [await Ear().subscribed(broker) for broker in brokers]
        done, said = False, []
        async def talk(name: int) -> None:
            n = 0
            while not done: # No more than a room keeps for those who are away
                await soon(lambda: len(said) - min(len(ear.heard) for ear in ears) < KEPT // 2)
                said.append(text := f'{name} {n}')
                await brokers[name].publish('tea', text, True, 0)
                n += 1
        async def chatter() -> None: # Without waiting for an answer
            for n in range(rounds):
                said.append(f'many {n}')
                brokers[0].publish('tea', f'many {n}', True, 0)
                await asyncio.sleep(.01)
        talking = [asyncio.ensure_future(t) for t in (talk(0), talk(1), chatter())]
        await soon(lambda: len(said) > 50)
        await disturb()
        before = len(said)
        await soon(lambda: len(said) > before + 50)
        done = True
        await asyncio.gather(*talking)
        with suppress(AssertionError):
            for ear in ears: await soon(lambda ear=ear: len(ear.heard) >= len(said))
        unheard = [set(said) - set(ear.said) for ear in ears]
        lack = [[(n, text) for n, text in enumerate(said) if text in texts][:20] for texts in unheard]
        assert lack == [[], []], (before, len(said), [ear.heard[-3:] for ear in ears], brokers)
    finally:
        for broker in brokers: await broker.stop()
    if one_order: assert ears[0].said == ears[1].said
    for ear in ears:
        assert sorted(ear.said) == sorted(said)
        for name in '0 ', '1 ', 'many ':
            numbers = [int(s.rpartition(' ')[2]) for s in ear.said if s.startswith(name)]
            assert numbers == sorted(numbers)
    return ears


def run(test: Awaitable[Any]) -> Any: return asyncio.run(asyncio.wait_for(test, 4 * BOUND)) # type: ignore[arg-type]


def epochs(ears: list[Ear]) -> int: return len({message.epoch for message, _ in ears[0].heard})


def test_killed_and_empty_when_it_comes_again(server: RedisProcess, expect_log: Any) -> None:
    async def disturb() -> None:
        server.kill()
        await asyncio.sleep(.5)
        await asyncio.to_thread(server.start)
    expect_log('does not answer .*: what is said waits', 2)
    expect_log('answers again', 2)
    ears = run(talked(server.url, disturb))
    assert epochs(ears) == 2 # Nobody takes an old offset for a new one


def test_killed_with_a_file_of_what_was_said(expect_log: Any) -> None:
    with redis_server('valkey', '--appendonly', 'yes', '--appendfsync', 'always') as server:
        async def disturb() -> None:
            server.kill()
            await asyncio.to_thread(server.start)
        expect_log('rooms: the Redis at')
        assert epochs(run(talked(server.url, disturb))) == 1


def test_emptied(server: RedisProcess) -> None:
    async def disturb() -> None:
        for _ in range(3):
            await asyncio.to_thread(server.says, b'FLUSHALL\r\n')
            await asyncio.sleep(.05)
    assert epochs(run(talked(server.url, disturb))) >= 2


@pytest.mark.parametrize('kind', ['pubsub', 'normal'])
def test_connections_are_cut_again_and_again(server: RedisProcess, kind: str, expect_log: Any) -> None:
    "Of those who listen; and of those who speak, whose answers are lost then, though Redis has done what was asked."
    async def disturb() -> None:
        for _ in range(30):
            await asyncio.to_thread(server.says, f'CLIENT KILL TYPE {kind}\r\n'.encode())
            await asyncio.sleep(random.random() * .03)
    if kind == 'pubsub': expect_log('rooms: the Redis at')
    assert epochs(run(talked(server.url, disturb, rounds=150))) == 1


async def put(broker: RedisShard, heads: str, said: str, producer: str = 'me', upto: int = 0, most: int = 2000) -> None:
    "Say something by the script."
    parts = [head.split('.') for head in heads.split(',')]
    counts = parts[0][0], parts[-1][0], len(parts), sum(kind in 'tb' for _, kind, _ in parts)
    about = 'PUBLISH', 'ffffffff', most, 60, producer, '', upto, *counts
    await broker.server.run(PUBLISH, *keys_of('tea'), *about, heads, said, keys=3)


@asynccontextmanager
async def started(server: RedisProcess) -> AsyncIterator[RedisShard]:
    broker = RedisShard(redis_places.redis_servers(server.url)[0])
    await broker.start()
    try: yield broker
    finally: await broker.stop()


def test_what_redis_has_of_a_batch_is_left_out(server: RedisProcess) -> None:
    async def main() -> None:
        async with started(server) as broker:
            ear = await Ear().subscribed(broker)
            await put(broker, '1.t.3,2.T.4', 'one, tw')
            await put(broker, '1.t.3,2.T.4', 'one, tw')
            await put(broker, '1.t.3,2.T.4,3.b.0,4.T.1,5.t.6', 'one, two;: fiv')
            await ear.has(5)
            found = [(message.data, message.offset, message.kept) for message, _ in ear.heard]
            assert found == [('one', 1, True), (', tw', 1, False), (b'', 2, True), ('o', 2, False), (';: fiv', 3, True)]
            late = await Ear().subscribed(broker, history=9) # It gets what is kept, and nothing else
            assert [(m.data, m.offset) for m in late.begins[0][2]] == [('one', 1), (b'', 2), (';: fiv', 3)]
    run(main())


KEYS = b'{tea}', b'{tea}:said', b'{tea}:by'
XRANGE = b'XRANGE {tea}:said - +\r\n'


async def follows(broker: RedisShard, epoch: bytes, since: int, chain: bytes) -> list[bytes] | None:
    "Which entries come behind a position; None where it has another epoch now."
    arguments = token_hex(4), epoch, since, chain, 0, 0, 60
    now, _, found, _ = await broker.server.run(LOOK, *keys_of('tea')[:2], *arguments, keys=2)
    return [name for name, _ in found] if now == epoch else None


def test_a_position_is_at_the_end_of_what_was_said_together(server: RedisProcess) -> None:
    async def main() -> None:
        async with started(server) as broker:
            epoch, chains = b'ffffffff', []
            for heads, said in ('3.t.1,5.T.1,6.t.1,9.t.1', 'abcd'), ('10.t.1', 'e'):
                await put(broker, heads, said)
                chains.append(server.ask(b'HGET', b'{tea}', b'chain'))
            assert await follows(broker, epoch, 3, chains[0]) == [b'4-0']
            assert await follows(broker, epoch, 4, chains[1]) == []
            server.says(b'XTRIM {tea}:said MAXLEN = 1\r\n')
            assert await follows(broker, epoch, 3, chains[0]) == [b'4-0'] # Nothing tells of another way
            assert await follows(broker, epoch, 4, chains[0]) is None # It stands there by another one
    run(main())


def test_a_position_within_what_was_said_together_is_of_another_server(server: RedisProcess) -> None:
    async def main() -> None:
        async with started(server) as broker:
            await put(broker, '1.t.1,2.t.1', 'ab')
            assert await follows(broker, b'ffffffff', 1, b'012345678901') is None
    run(main())


def test_the_same_message_at_the_same_place_after_others(server: RedisProcess) -> None:
    """Two of three say again what an old master has taken and its replica has not; there the third one's comes between.
    Who has heard the last one at the old master has not heard that."""
    async def main() -> None:
        async with started(server) as broker:
            await put(broker, '1.t.6', 'before', 'one')
            for key in KEYS: server.says(b'COPY %s old%s\r\n' % (key, key))
            await put(broker, '1.t.3', 'two', 'two')
            await put(broker, '2.t.3', 'one', 'one')
            epoch, offset, chain = (server.ask(b'HGET', b'{tea}', name) for name in (b'epoch', b'offset', b'chain'))
            assert await follows(broker, epoch, int(offset), chain) == []
            for key in KEYS: server.says(b'RENAME old%s %s\r\n' % (key, key))
            await put(broker, '1.t.5', 'three', 'three')
            await put(broker, '2.t.3', 'one', 'one')
            assert server.ask(b'HGET', b'{tea}', b'offset') == offset
            assert await follows(broker, epoch, int(offset), chain) is None
    run(main())


def test_what_is_said_again_pushes_nothing_out(server: RedisProcess) -> None:
    "Who is not at the new master yet may have heard neither that, nor what somebody has said there before."
    server.says(b'CONFIG SET stream-node-max-entries 1\r\n') # Else up to 100 more are kept
    def kept() -> list[int]: return [int(name) for name in re.findall(rb'(\d+)-0\r\n', server.says(XRANGE))]
    async def many(broker: RedisShard, first: int, producer: str, upto: int = 0) -> None:
        await put(broker, ','.join(f'{n}.t.1' for n in range(first, first + 15)), 'x' * 15, producer, upto, most=20)
    async def main() -> None:
        async with started(server) as broker:
            await put(broker, '1.t.1', 'a')
            for producer in 'one', 'two': await many(broker, 1, producer, AGAIN)
            await put(broker, '2.t.1', 'b', most=20)
            assert kept() == [1, 16, 31, 32]
            await many(broker, 3, 'me')
            assert kept() == [1, 16, 31, 32, 47]
            await many(broker, 18, 'me') # As much again as a room keeps
            assert kept() == [47, 62]
    run(main())


def test_scripts_are_forgotten(server: RedisProcess) -> None:
    async def disturb() -> None:
        for _ in range(10):
            await asyncio.to_thread(server.says, b'SCRIPT FLUSH\r\n')
            await asyncio.sleep(.02)
    assert epochs(run(talked(server.url, disturb))) == 1


def test_a_script_goes_as_text_once(server: RedisProcess) -> None:
    async def main() -> None:
        async with started(server) as broker:
            await broker.publish('tea', 'before', True, 0)
            server.says(b'SCRIPT FLUSH\r\n')
            server.says(b'CONFIG RESETSTAT\r\n')
            for n in range(5): await broker.publish('tea', f'{n}', True, 0)
    run(main())
    stats = server.says(b'INFO commandstats\r\n')
    assert (b'cmdstat_eval:calls=1,' in stats, b'cmdstat_evalsha:calls=5,' in stats) == (True, True)


def test_a_connection_that_redis_has_closed_is_no_trouble(server: RedisProcess) -> None:
    "As one with a `timeout` does: nobody is told that what he says waits."
    async def main() -> None:
        async with started(server) as broker:
            ear = await Ear().subscribed(broker)
            for n in range(3):
                await broker.publish('tea', f'{n}', True, 0)
                await asyncio.to_thread(server.says, b'CLIENT KILL TYPE normal\r\n')
            await ear.has(3)
            assert (ear.said, ear.reached) == (['0', '1', '2'], [])
    run(main())


def test_much_at_once_is_heard_together(server: RedisProcess) -> None:
    async def main() -> None:
        async with started(server) as broker:
            ear = await Ear().subscribed(broker)
            for n in range(1000): said = broker.publish('tea', f'{n}', n % 3 > 0, 0)
            await said
            await ear.has(1000)
            assert ear.said == [str(n) for n in range(1000)]
            late = await Ear().subscribed(broker, history=2000)
            assert [m.data for m in late.begins[0][2]] == [str(n) for n in range(1000) if n % 3]
            assert int(server.ask(b'XLEN', b'{tea}:said')) < 10
    run(main())


def test_stopped_for_a_while(server: RedisProcess, expect_log: Any) -> None:
    "It takes connections and does not answer: what was sent is done later, and once."
    async def disturb() -> None:
        server.pause()
        await asyncio.sleep(3)
        server.resume()
    expect_log('rooms: the Redis at')
    assert epochs(run(talked(server.url, disturb))) == 1


def test_a_link_that_swallows_everything(server: RedisProcess, expect_log: Any) -> None:
    "Nobody says that it is broken: who listens asks, and who speaks waits for an answer, not for ever."
    with closing(Relay(server)) as relay:
        async def disturb() -> None:
            relay.swallow() # New connections work
        expect_log('rooms: the Redis at')
        assert epochs(run(talked(f'unix://{relay.path}', disturb))) == 1


def test_who_has_lost_one_connection_uses_no_other_that_is_as_old(server: RedisProcess, expect_log: Any,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    "What asks for what was missed would wait for an answer that the link has swallowed."
    monkeypatch.setattr(redis_places, 'ANSWER', BOUND)
    expect_log('rooms: the Redis at', 2)
    async def main() -> None:
        with closing(Relay(server)) as relay:
            here, elsewhere = RedisBroker(f'unix://{relay.path}'), RedisBroker(server.url)
            for broker in here, elsewhere: await broker.start()
            ear, reader = await Ear().subscribed(here), here._shards[0]._reader
            lost = reader.lost
            def once(*told: Any) -> None: # It is the answer that is waited for, and nobody asks again
                monkeypatch.setattr(redis_broker, 'DEAD', BOUND)
                lost(*told)
            monkeypatch.setattr(reader, 'lost', once)
            relay.swallow()
            await elsewhere.publish('tea', 'missed', True, 0)
            await asyncio.wait_for(ear.has(1), BOUND / 2)
            for broker in here, elsewhere: await broker.stop()
    run(main())


def test_what_waits_is_bounded(server: RedisProcess, monkeypatch: pytest.MonkeyPatch,
                               expect_log: Any) -> None:
    "Beyond the bound it is the one who speaks that hears of it; what was taken is said when Redis is back."
    monkeypatch.setattr(redis_broker, 'WAITING', 50)
    async def test() -> None:
        broker = RedisBroker(server.url)
        await broker.start()
        ear = await Ear().subscribed(broker)
        server.kill()
        for n in range(50): broker.publish('tea', str(n), True, 0)
        with pytest.raises(NbwsError, match='50 messages wait for Redis, which does not answer'):
            broker.publish('tea', 'too many', True, 0)
        await asyncio.to_thread(server.start)
        await ear.has(50)
        await broker.publish('tea', 'again', True, 0)
        await ear.has(51)
        assert ear.said == [*map(str, range(50)), 'again']
        with pytest.raises(NbwsError, match='too large'): broker.publish('tea', 'x' * (2**20 + 1), True, 0)
        await broker.stop()
    expect_log('rooms: the Redis at')
    run(test())


@pytest.mark.parametrize('how', ['killed', 'stopped', 'takes nothing'])
def test_that_others_are_not_reached_is_told(server: RedisProcess, expect_log: Any, how: str) -> None:
    async def test() -> None:
        broker = RedisBroker(server.url)
        await broker.start()
        ear = await Ear().subscribed(broker)
        if how == 'killed': server.kill()
        elif how == 'stopped': server.pause()
        else: # It was a replica's turn to be asked, or it still loads: who listens hears nothing of that
            await asyncio.to_thread(server.says, b'REPLICAOF 127.0.0.1 1\r\n')
            broker.publish('tea', 'waits', True, 0)
        await soon(lambda: ear.reached == [False])
        late = Ear()
        broker.subscribe('tea', late, 0)
        await soon(lambda: late.reached == [False])
        if how == 'killed': await asyncio.to_thread(server.start)
        elif how == 'stopped': server.resume()
        else: await asyncio.to_thread(server.says, b'REPLICAOF NO ONE\r\n')
        await soon(lambda: [ear.reached, late.reached] == [[False, True]] * 2)
        await broker.publish('tea', 'again', True, 0)
        await broker.stop()
        assert ear.reached == [False, True]
    expect_log('rooms: the Redis at', 0 if how == 'takes nothing' else 2)
    run(test())


def test_a_full_memory_is_told_to_who_waits(expect_log: Any) -> None:
    with redis_server('valkey', '--maxmemory', '4mb') as server:
        async def test() -> None:
            broker = RedisBroker(server.url)
            await broker.start()
            with pytest.raises(NbwsError, match=r'refuses what is said in a room.*maxmemory'):
                for n in range(20): await broker.publish('tea', 'x' * 500_000 + str(n), True, 0)
            await asyncio.to_thread(server.says, b'FLUSHALL\r\n')
            await broker.publish('tea', 'again', True, 0)
            await broker.stop()
        expect_log('refuses what is said in a room')
        run(test())


def wrong(url: str) -> str:
    "What is said at the start."
    async def start() -> None: await RedisBroker(url).start()
    with pytest.raises(StartError) as caught: run(start())
    return str(caught.value.strerror)


def test_what_is_wrong_is_said_at_the_start(server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free: # Nobody listens there
        free.bind(('127.0.0.1', 0))
        url = f'redis://me:secret@127.0.0.1:{free.getsockname()[1]}'
        told = wrong(url)
        assert 'does not answer' in told
        assert 'secret' not in told
    assert 'cannot be used' in wrong('http://127.0.0.1')
    server.says(b'CONFIG SET requirepass secret\r\n')
    assert 'does not accept the user or password' in wrong(server.url)
    assert 'does not accept the user or password' in wrong(server.url + '?password=other')
    run_once(server.url + '?password=secret')
    monkeypatch.setitem(sys.modules, 'redis.asyncio', None)
    assert "pip install 'nbws[share]'" in wrong(server.url)


def test_one_that_lets_no_other_machine_in_is_hinted_at() -> None:
    "`protected-mode`: it says so and closes, and its client sees mostly the end alone."
    def answer() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.close()
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        told = wrong(f'redis://127.0.0.1:{listener.getsockname()[1]}')
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(BOUND)
    assert 'lets nobody in from another machine' in told


def run_once(url: str) -> None:
    async def test() -> None:
        broker = RedisBroker(url)
        await broker.start()
        await broker.stop()
    run(test())


@pytest.mark.parametrize('rights', ['~other:* &* +@all', '~* &other:* +@all', '~* &* +@all -eval -evalsha',
                                    '~* &* +@all -publish', '~* &* +@all -subscribe', '~* &* +@all -xadd'])
def test_missing_rights_are_said_at_the_start(server: RedisProcess, rights: str) -> None:
    server.says(f'ACL SETUSER me on >secret resetkeys resetchannels {rights}\r\n'.encode())
    assert 'does not allow what rooms need' in wrong(f'{server.url}?username=me&password=secret')


def test_the_rights_that_are_named_are_enough(server: RedisProcess) -> None:
    rights = b'~{nbws:* &{nbws:* -@all +@connection +@scripting +@hash +@stream +@pubsub +del +expire +ping'
    server.says(b'ACL SETUSER me on >secret resetkeys resetchannels ' + rights + b'\r\n')
    run_once(f'{server.url}?username=me&password=secret')


def test_one_that_is_too_old(server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_places.RedisServer, 'oldest', (99, 0))
    assert 'rooms need 99.0 or newer' in wrong(server.url)


def test_a_server_that_falls_back_behind_what_it_has_said(server: RedisProcess, expect_log: Any) -> None:
    "As a replica that is promoted before it has heard everything: offsets come a second time, with other messages."
    expect_log('rooms: the Redis at')
    async def disturb() -> None:
        for key in KEYS: server.says(b'COPY %s old%s\r\n' % (key, key))
        await asyncio.sleep(.3) # They go on
        for key in KEYS: server.says(b'RENAME old%s %s\r\n' % (key, key)) # While they speak
        server.says(b'CLIENT KILL TYPE pubsub\r\n')
    with_epochs = run(talked(server.url, disturb))
    assert epochs(with_epochs) == 2


def test_who_resumes_costs_redis_nothing(server: RedisProcess) -> None:
    "A thousand pages whose sockets are cut and open again."
    async def test() -> None:
        broker, rooms = RedisBroker(server.url), Rooms()
        await broker.start()
        rooms.share(broker, 'nbws:me:chat')
        room = rooms.call('tea', 5, None, True)
        pages = [member({}) for _ in range(1000)]
        await asyncio.gather(*(once(room.join(ws)) for ws in pages))
        for n in range(20): await room.send(f'message {n}')
        await soon(lambda: len(pages[-1].conn.sent) == 21)
        before = await asyncio.to_thread(server.says, b'INFO commandstats\r\n')
        epoch = room.epoch
        for ws in pages: room.leave(ws)
        again = [member({epoch: 1 + n % 20}) for n in range(1000)]
        for ws in again: await room.join(ws)
        for n, ws in enumerate(again):
            seen = 1 + n % 20
            expected = [f'message {m}\x1e{epoch}:{m + 1}' for m in range(seen, 20)] or [f'\x1e{epoch}:20']
            assert ws.conn.sent == expected
        assert commands(await asyncio.to_thread(server.says, b'INFO commandstats\r\n')) == commands(before)
        await broker.stop()
    run(test())


def test_a_page_that_has_heard_more_elsewhere() -> None:
    "It comes from a process to which Redis was faster: it hears nothing twice, and its position does not fall back."
    async def test() -> None:
        rooms = Rooms()
        rooms.share(MemoryBroker(), 'nbws:me:chat')
        room = rooms.call('tea', 5, None, True)
        here, page, gone = member({}), member({}), member({})
        await once(room.join(here))
        await room.send('1')
        epoch = room.epoch
        for ws in page, gone:
            ws.handshake.since = {epoch: 3}
            await once(room.join(ws))
        room.leave(gone)
        for text in '2', '3': await room.send(text)
        await room.send('now', keep=False)
        await room.send('4')
        marked = [f'{n}\x1e{epoch}:{n}' for n in range(1, 5)]
        assert page.conn.sent == [f'\x1e{epoch}:3', 'now', marked[3]]
        assert here.conn.sent[1:] == [*marked[:3], 'now', marked[3]]
        assert not room.sharing.ahead # type: ignore[union-attr]
    run(test())


def commands(stats: bytes) -> list[bytes]:
    "How often each was called, but for what the client asks to keep its connection."
    lines = [line.split(b',')[0] for line in stats.splitlines() if line.startswith(b'cmdstat')]
    return sorted(line for line in lines if not line.startswith((b'cmdstat_info', b'cmdstat_ping')))


async def once(awaitable: Awaitable[None]) -> None: await awaitable


class Wire:
    "A transport that keeps what was sent."
    buffered = 0
    def __init__(self) -> None: self.sent: list[Any] = []
    def send(self, payload: Any) -> bool:
        self.sent.append(payload.data)
        return False


def member(since: dict[str, int]) -> Any:
    ws: Any = WebSocket(Request(upgrade=True), App(), SimpleNamespace(overflow='wait')) # type: ignore[arg-type]
    ws.handshake.since, ws.conn = since, Wire()
    ws.outbox.attach(ws.conn)
    return ws


def test_what_is_told_late_opens_no_connection(server: RedisProcess) -> None:
    "A lost connection would connect again, and nobody would close it: findings/redis-connection-connects-again.sh."
    async def late() -> None:
        broker = RedisBroker(server.url)
        await broker.start()
        await Ear().subscribed(broker)
        reader = broker._shards[0]._reader
        reader.tells, [listener] = False, reader.listeners.values()
        lost = listener._connection
        listener._tell('UNSUBSCRIBE', b'{tea}')
        listener._connection, telling = None, tuple(listener._sending)
        await lost.disconnect(nowait=True)
        await asyncio.gather(*telling)
        assert not lost.is_connected
        await broker.stop()
    run(late())


def test_a_server_that_forks_after_it_has_made_its_broker(server: RedisProcess) -> None:
    "What its children say is not taken for the same: they have ids of their own."
    async def test() -> None:
        brokers = [RedisShard(redis_places.redis_servers(server.url)[0]) for _ in range(2)]
        for broker in brokers:
            broker._reader.producer = broker._publisher.producer = 'parent'
            broker._process = 0 # As in a child
            await broker.start()
        ears = [await Ear().subscribed(broker) for broker in brokers]
        for broker, name in zip(brokers, 'ab', strict=True):
            for n in range(5): await broker.publish('tea', f'{name}{n}', True, 0, f'{name}{n}')
        for ear in ears: await ear.has(10)
        for ear, name in zip(ears, 'ab', strict=True):
            assert [origin for _, origin in ear.heard if origin] == [f'{name}{n}' for n in range(5)]
        for broker in brokers: await broker.stop()
    run(test())


def test_who_keeps_a_cancellation_to_himself_ends_too() -> None:
    "As `asyncio.wait_for` does up to Python 3.11, where what it waits for is done at the same moment."
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError): await asyncio.sleep(BOUND)
        await asyncio.sleep(BOUND)
    async def test() -> None:
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        await redis_broker.ended([task])
        assert task.cancelled()
    run(test())
