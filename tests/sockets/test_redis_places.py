"""Where Redis is: the master that Sentinels name, and what is wrong with an address."""
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis.exceptions
from bound import BOUND, until
from redises import Clustered, RedisProcess, Watched, free_port, redis_server, sentinel
from test_brokers import Ear, soon
from test_redis_broker import XRANGE, epochs, quick, run, run_once, talked, wrong  # noqa: F401

from nbws.sockets import redis_broker
from nbws.sockets.redis_broker import FOR_OTHERS, RedisBroker
from nbws.sockets.redis_places import ClusterRedis, shard_of


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack: yield Watched('valkey', stack)


def test_sentinel_promotes_the_replica_of_a_master_that_is_killed(watched: Watched, expect_log: Any) -> None:
    async def disturb() -> None:
        watched.master.kill()
        await asyncio.to_thread(watched.fails_over)
    expect_log('rooms: the Redis by Sentinel at .* does not answer', 2)
    expect_log('answers again')
    run(talked(watched.url, disturb))


def test_what_an_old_master_has_taken_is_said_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover that somebody has asked for: the old master takes messages until it is told, and throws them away
    then. Both brokers find out by themselves, and not at the same time."""
    monkeypatch.setattr(redis_broker, 'LATELY', 4 * BOUND) # A busy machine takes longer than a Sentinel may
    async def disturb() -> None:
        await asyncio.to_thread(watched.fails_over)
        await soon(lambda: [watched.listen(server) for server in (watched.master, watched.replica)] == [2, 0])
    run(talked(watched.url, disturb, one_order=False))


def test_an_old_master_that_lives_is_listened_to_no_longer(watched: Watched) -> None:
    """It goes on as a master, as behind a network that is cut: nobody ends our connections, and Sentinels name another
    one. Who has listened to the old one must hear what is said at the new one."""
    async def test() -> None:
        brokers = [RedisBroker(watched.url) for _ in range(2)]
        for broker in brokers: await broker.start()
        ears = [await Ear().subscribed(broker) for broker in brokers]
        await brokers[0].publish('tea', 'before', True, 0)
        for ear in ears: await ear.has(1)
        old, new = watched.servers
        new.says(b'REPLICAOF NO ONE\r\n')
        watched.sentinel.says(b'SENTINEL REMOVE chat\r\n')
        watched.sentinel.says(f'SENTINEL MONITOR chat 127.0.0.1 {new.port} 1\r\n'.encode())
        await soon(lambda: [watched.listen(new), watched.listen(old)] == [2, 0])
        await brokers[1].publish('tea', 'after', True, 0)
        for ear in ears: await ear.has(2)
        assert [ear.said for ear in ears] == [['before', 'after']] * 2
        for broker in brokers: await broker.stop()
    run(test())


def has(server: RedisProcess, text: str) -> bool: return text.encode() in server.says(XRANGE)


def test_what_an_old_master_has_taken_last_is_said_again_though_nobody_speaks_or_hears(
        watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    "Nothing else tells that the new one lacks it: who has said it looks, as soon as he knows of that one."
    monkeypatch.setattr(redis_broker, 'LATELY', 4 * BOUND)
    async def test() -> None:
        broker = RedisBroker(watched.url)
        await broker.start()
        await broker.publish('tea', 'before', True, 1)
        server = broker._shards[0].server
        look, old = server.look, watched.master
        async def learns_nothing() -> None: ...
        monkeypatch.setattr(server, 'look', learns_nothing)
        await soon(lambda: has(watched.replica, 'before'))
        await asyncio.to_thread(watched.fails_over)
        await broker.publish('tea', 'late', True, 1)
        assert has(old, 'late')
        assert not has(watched.master, 'late')
        monkeypatch.setattr(server, 'look', look)
        await soon(lambda: has(watched.master, 'late'))
        assert int(watched.master.says(b'TTL {tea}\r\n')[1:]) > FOR_OTHERS # As long as a room with history is kept
        await broker.stop()
    run(test())


def test_a_doubt_while_messages_are_on_their_way_is_not_forgotten(
        watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    "Their answer may be the old master's."
    async def test() -> None:
        broker = RedisBroker(watched.url)
        await broker.start()
        server, publisher, asked = broker._shards[0].server, broker._shards[0]._publisher, []
        run_each = server.run_each
        async def doubted(script: str, calls: Any, keys: int) -> list[Any]:
            asked.append(len(calls))
            answers: list[Any] = await run_each(script, calls, keys)
            if len(asked) == 2: publisher.doubt('tea')
            return answers
        monkeypatch.setattr(server, 'run_each', doubted)
        for n in range(2): await broker.publish('tea', f'{n}', True, 0)
        await soon(lambda: len(asked) == 3)
        await broker.stop()
    run(test())


def test_what_is_asked_of_one_that_is_no_longer_the_master_fails(watched: Watched) -> None:
    async def test() -> None:
        broker = RedisBroker(watched.url)
        await broker.start()
        server = broker._shards[0].server
        client = server.client
        async def moves(*_: Any) -> list[Any]:
            await asyncio.to_thread(watched.fails_over)
            while server.client is client: await server.look() # A Sentinel has two answers, and names it in one first
            return [b'epoch', b'0', []]
        client.evalsha = moves
        with pytest.raises(redis.exceptions.ConnectionError, match='another one is the master'):
            await server.run('return 1', keys=0)
        assert server.client is not client
        assert await server.run('return 1', keys=0) == 1
        assert server.client.connection_pool.connection_kwargs['port'] == watched.master.port
        await broker.stop()
    run(test())


def test_one_sentinel_is_enough(watched: Watched) -> None:
    run_once(watched.url.replace('//', f'//127.0.0.1:{free_port()},'))


def test_password_of_redis_and_of_sentinel(watched: Watched) -> None:
    for server in watched.servers: server.says(b'CONFIG SET requirepass secret masterauth secret\r\n')
    watched.sentinel.says(b'SENTINEL SET chat auth-pass secret\r\n')
    assert 'does not accept the user or password' in wrong(watched.url)
    run_once(watched.url.replace('//', '//:secret@'))
    assert 'secret' not in wrong(watched.url.replace('//', '//:secret@') + '/two')
    with ExitStack() as stack:
        url = f'redis+sentinel://127.0.0.1:{sentinel("valkey", stack, "requirepass other").port}/chat'
        assert 'want another password than the one in ?sentinel_password=' in wrong(url)
        assert 'Those that they know: none' in wrong(f'{url}?sentinel_password=other')


def test_what_is_wrong_with_sentinels_is_said_at_the_start(watched: Watched) -> None:
    here = f'redis+sentinel://127.0.0.1:{watched.sentinel.port}'
    assert 'names no service' in wrong(here)
    assert "'two' is no number" in wrong(f'{here}/chat/two')
    assert "do not know the service 'talk'. Those that they know: chat" in wrong(f'{here}/talk')
    assert 'no Sentinel answers' in wrong(f'redis+sentinel://127.0.0.1:{free_port()}/chat')
    assert 'names a server that is no Sentinel' in wrong(f'redis+sentinel://127.0.0.1:{watched.master.port}/chat')
    told = wrong(f'redis://127.0.0.1:{watched.sentinel.port}')
    assert 'is a Sentinel: its address is written redis+sentinel://' in told
    assert 'is a replica, which takes nothing' in wrong(f'redis://127.0.0.1:{watched.replica.port}')
    for url in 'redis+magic://127.0.0.1', 'redis://[::1':
        assert 'redis+sentinel://host:26379,host:26379/service' in wrong(url)
    watched.replica.kill()
    watched.master.kill()
    until(lambda: b's_down' in watched.sentinel.says(b'SENTINEL MASTER chat\r\n'), 'down')
    assert 'has no master now' in wrong(watched.url)


def test_a_server_that_is_no_sentinel_among_those_that_are(watched: Watched) -> None:
    both = f'127.0.0.1:{watched.master.port},127.0.0.1:{watched.sentinel.port}'
    assert 'names a server that is no Sentinel' in wrong(f'redis+sentinel://{both}/chat')


@pytest.mark.parametrize('url', [
    'redis://me:secret/@127.0.0.1', 'redis://me:secret?@127.0.0.1', 'redis://me:secret#@127.0.0.1', 'redis://me:secret',
    'redis://:a@secret/@127.0.0.1', 'redis://:secret[@127.0.0.1', 'redis://:secret\u2100@127.0.0.1',
    ':secret@127.0.0.1', 'redis:/me:secret@127.0.0.1', 'redis:me:secret@127.0.0.1',
    'redis+cluster://me:secret/@127.0.0.1', 'redis+sentinel:/me:secret@127.0.0.1/chat', 'unix://:secret/@/path',
    'redis://127.0.0.1?password=@secret'])
def test_a_password_in_an_address_that_cannot_be_read_is_not_shown(url: str) -> None:
    for one in url, f'redis://127.0.0.1,{url}', f'{url}, redis://127.0.0.1':
        assert 'secret' not in repr(RedisBroker(one))
        assert 'secret' not in wrong(one)
    assert 'the address of Redis cannot be used: ' in wrong(url)


@pytest.mark.parametrize(('url', 'says'), [
    ('redis://127.0.0.1/x', "'x' is no number of a database"), ('redis://127.0.0.1/0/1', "'0/1' is no number"),
    ('redis://127.0.0.1:1,127.0.0.1:2', 'each its own redis://'), ('redis://127.0.0.1:1,', 'each its own redis://'),
    ('redis+cluster://127.0.0.1?passwd=secret', "that does not exist: 'passwd'")])
def test_what_is_wrong_with_an_address_is_said_at_the_start(url: str, says: str) -> None: assert says in wrong(url)


def test_a_sentinel_that_names_a_replica(watched: Watched) -> None:
    with ExitStack() as stack:
        stale = sentinel('valkey', stack, f'sentinel monitor chat 127.0.0.1 {watched.replica.port} 1')
        told = wrong(f'redis+sentinel://127.0.0.1:{stale.port}/chat')
        assert 'is a replica' in told and 'Sentinels that still name it' in told


def test_an_option_that_does_not_exist(watched: Watched) -> None:
    for url in watched.url, watched.master.url: assert "that does not exist: 'x'" in wrong(f'{url}?x=secret')


@pytest.fixture
def clustered(expect_log: Any) -> Iterator[Clustered]:
    for told in 'does not answer', 'answers again': expect_log.may_come(f'rooms: the Redis Cluster at .* {told}')
    with ExitStack() as stack: yield Clustered('valkey', stack)


@pytest.mark.parametrize('times', [1, 4])
def test_a_slot_moves_while_people_talk(clustered: Clustered, times: int) -> None:
    "Also there and back again, so that everybody has to ask more than once who has it."
    async def disturb() -> None:
        for _ in range(times): await asyncio.to_thread(clustered.move, '{tea}')
    assert epochs(run(talked(clustered.url, disturb))) == 1


def test_nodes_forget_their_scripts(clustered: Clustered) -> None:
    async def disturb() -> None:
        for _ in range(5):
            for node in clustered.nodes: await asyncio.to_thread(node.says, b'SCRIPT FLUSH\r\n')
            await asyncio.sleep(.02)
    assert epochs(run(talked(clustered.url, disturb))) == 1


def test_what_is_said_while_a_slot_is_on_its_way(clustered: Clustered) -> None:
    "Its keys are at the new node, where nobody listens yet: it is heard when the slot has arrived."
    async def test() -> None:
        brokers = [RedisBroker(clustered.url) for _ in range(2)]
        for broker in brokers: await broker.start()
        ears = [await Ear().subscribed(broker) for broker in brokers]
        await brokers[0].publish('tea', 'before', True, 0)
        loop = asyncio.get_running_loop()
        def say() -> None:
            async def said() -> None: await brokers[0].publish('tea', 'between', True, 0)
            asyncio.run_coroutine_threadsafe(said(), loop).result(BOUND)
        await asyncio.to_thread(clustered.move, '{tea}', say)
        for ear in ears: await ear.has(2)
        await brokers[1].publish('tea', 'after', True, 0)
        for ear in ears: await ear.has(3)
        assert [ear.said for ear in ears] == [['before', 'between', 'after']] * 2
        for broker in brokers: await broker.stop()
    run(test())


def test_a_node_is_killed_and_its_replica_takes_over(expect_log: Any) -> None:
    expect_log('rooms: the Redis Cluster at .* does not answer', 2)
    expect_log('answers again')
    with ExitStack() as stack:
        clustered = Clustered('valkey', stack, 3, 3000) # Most of the masters have to agree
        _, owner = clustered.owner('{tea}')
        clustered.replica_of('valkey', stack, owner)
        async def disturb() -> None: owner.kill()
        run(talked(clustered.url, disturb))


def test_what_is_wrong_with_a_cluster_is_said_at_the_start(clustered: Clustered,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(port=free_port()) as alone:
        assert 'is no Cluster' in wrong(f'redis+cluster://127.0.0.1:{alone.port}')
    assert 'is one node of a Cluster' in wrong(f'redis://127.0.0.1:{clustered.nodes[0].port}')
    assert 'has no databases' in wrong(f'{clustered.url}/2')
    assert 'does not answer' in wrong(f'redis+cluster://127.0.0.1:{free_port()}')
    run_once(f'redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{clustered.nodes[0].port}')
    for node in clustered.nodes: clustered.ask(node, 'CONFIG SET requirepass secret')
    assert 'does not accept the user or password' in wrong(clustered.url)
    run_once(clustered.url.replace('//', '//:secret@'))
    monkeypatch.setattr(ClusterRedis, 'oldest', (99, 0)) # Sharded channels came with 7.0
    assert 'rooms need 99.0 or newer there' in wrong(clustered.url.replace('//', '//:secret@'))


def test_of_two_shards_one_is_away(expect_log: Any) -> None:
    "Rooms of the other one go on, also for who has waited for this one; who speaks here waits until it is back."
    async def test(one: RedisProcess, two: RedisProcess) -> None:
        url = f'{one.url}, {two.url}'
        brokers = [RedisBroker(url) for _ in range(2)]
        for broker in brokers: await broker.start()
        rooms = [next(room for room in map(str, range(99)) if shard_of(room, 2) == n) for n in range(2)]
        ears = [[await Ear().subscribed(broker, room) for broker in brokers] for room in rooms]
        for room in rooms: await brokers[0].publish(room, 'before', True, 0)
        for server, room in (one, rooms[0]), (two, rooms[1]):
            assert f'{{{room}}}'.encode() in server.says(b'KEYS *\r\n')
        one.kill()
        await soon(lambda: [ear.reached for ear in ears[0]] == [[False]] * 2)
        waits = brokers[0].publish(rooms[0], 'waits', True, 0)
        for n in range(20): await brokers[n % 2].publish(rooms[1], f'goes on {n}', True, 0)
        assert [broker.waiting for broker in brokers] == [1, 0]
        told = f'2 shards: {one.url}, which does not answer, {two.url}>'
        assert told in repr(brokers[1])
        await asyncio.to_thread(one.start)
        await waits
        for ear in ears[0]: await ear.has(2)
        for ear in ears[1]: await ear.has(21)
        assert [ear.said for ear in ears[0]] == [['before', 'waits']] * 2
        assert [ear.reached for ear in ears[1]] == [[], []]
        await soon(lambda: 'answer' not in repr(brokers[1]))
        for broker in brokers: await broker.stop()
    expect_log('rooms: the Redis at')
    with redis_server() as one, redis_server() as two: run(test(one, two))


def test_a_shard_that_is_not_there_is_said_at_the_start() -> None:
    with redis_server() as server:
        assert f'the Redis at {server.url}x does not answer' in wrong(f'{server.url},{server.url}x')


def test_shards_in_another_order_are_said_at_the_start(expect_log: Any) -> None:
    "Once: after it that is the order. The same one, and others with some of these shards, are nobody's matter."
    with redis_server() as one, redis_server() as two, redis_server() as three:
        for _ in range(2): run_once(f'{one.url},{two.url}')
        run_once(f'{two.url},{one.url},{three.url}')
        expect_log(f'the shards are {two.url}, {one.url} here, and another process has them as {one.url}, {two.url}: '
                   'rooms are divided', times=1)
        for _ in range(2): run_once(f'{two.url},{one.url}')
