"""What many nodes and one Redis send for a million members: counted, not timed.

    python -m tests.simulation [--nodes 20] [--members 1000000] [--rooms 1000] [--seconds 20] [--shards 1]

Rooms, brokers and what processes tell each other are the real ones, one of each for every node, on a loop whose clock
moves only when nothing is left to do. Redis is a stand-in which does what its scripts do and counts the bytes that
pass, as RESP has them (`test_simulation.py` compares them with a real server's); members are counters. Every member is
in one ordinary room, and all are in a hot one. The rooms' members are spread over all nodes.
"""
from __future__ import annotations

import argparse
import asyncio
import selectors
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from nbws.core.messages import Payload
from nbws.sockets.redis_broker import LOOK, PUBLISH, RedisBroker, RedisShard
from nbws.sockets.redis_places import RedisServer
from nbws.sockets.rooms import Rooms

TEXT = '<li id="m42"><b>Ada</b> ' + 'says what people say in a chat, ' * 6 + '</li>'
PREFIX = 'nbws:web:chat app' # Of the rooms' names at Redis
PAUSE = 10.0 # Seconds between two messages of an ordinary room


class Selector(selectors.DefaultSelector):
    "Waits for nothing: the clock moves on instead."
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, 'nothing is left to wait for'
            self.now += timeout
        return found


class Loop(asyncio.SelectorEventLoop):
    "A loop with a clock of its own."
    def __init__(self) -> None:
        self.selector = Selector()
        super().__init__(self.selector)

    def time(self) -> float: return self.selector.now


async def soon(condition: Any) -> None:
    "Wait until it holds."
    end = asyncio.get_running_loop().time() + 120
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(.01)


# Redis

def raw(thing: Any) -> bytes: return thing if isinstance(thing, bytes) else str(thing).encode()


def size(thing: Any) -> int:
    "Bytes of an answer in RESP."
    if isinstance(thing, int): return len(str(thing)) + 3
    if isinstance(thing, (list, tuple)): return len(str(len(thing))) + 3 + sum(map(size, thing))
    return len(str(len(raw(thing)))) + 5 + len(raw(thing))


CHAIN = b'0' * 12 # It counts as long as any other one: nothing is ever lost here


@dataclass
class Topic:
    "A room at Redis."
    epoch: bytes = b''
    offset: int = 0
    kept: deque[tuple[int, bytes, bytes, bytes]] = field(default_factory=deque) # By the offset of the last of each


class CountedRedis:
    "What Redis does for rooms, and what passes."
    def __init__(self) -> None:
        self.topics: dict[bytes, Topic] = defaultdict(Topic)
        self.channels: dict[bytes, dict[Connection, None]] = defaultdict(dict)
        self.commands: Counter[str] = Counter()
        self.said: Counter[bytes] = Counter() # Copies of messages, by channel
        self.into: Counter[bytes] = Counter() # Bytes of them that come, by channel
        self.out: Counter[bytes] = Counter() # And that go
        self.received = self.sent = 0

    @property
    def copies(self) -> int: return self.said.total()

    def do(self, name: str, *arguments: Any, to: Connection | None = None) -> Any:
        "A command and its answer; both are counted."
        self.commands[name] += 1
        self.received += (length := size([name, *map(raw, arguments)]))
        if arguments[1:2] == (3,): self.into[raw(arguments[2])] += length
        answer = getattr(self, name.lower())(*map(raw, arguments), **({'to': to} if to else {}))
        self.sent += size(answer)
        return answer

    def evalsha(self, script: bytes, count: bytes, *rest: bytes) -> Any:
        return self._look(*rest) if count == b'2' else self._publish(*rest)

    def _publish(self, meta: bytes, stream: bytes, senders: bytes, command: bytes, fresh: bytes, most: bytes,
                 seconds: bytes, producer: bytes, known: bytes, upto: bytes, first: bytes, final: bytes, count: bytes,
                 kept: bytes, heads: bytes, said: bytes) -> bytes:
        topic = self.topics[meta]
        topic.epoch = topic.epoch or fresh
        before = topic.offset
        if int(kept): # None is said twice here, and what is kept comes with nothing that is not
            topic.offset += int(kept)
            topic.kept.append((topic.offset, producer, heads, said))
            while topic.kept[0][0] <= topic.offset - int(most): topic.kept.popleft()
        message = [b'message', meta, b':'.join([topic.epoch, raw(before), producer, CHAIN, heads, said])]
        for connection in self.channels[meta]: connection.push(message)
        self.said[meta] += len(self.channels[meta])
        self.out[meta] += (length := len(self.channels[meta]) * size(message))
        self.sent += length
        return topic.epoch # Nothing is ever lost here

    def _look(self, meta: bytes, stream: bytes, fresh: bytes, known: bytes, since: bytes, chain: bytes, least: bytes,
              most: bytes, seconds: bytes) -> Any:
        topic = self.topics[meta]
        topic.epoch = topic.epoch or fresh
        all_of_it, left, found, count = topic.epoch == known, int(most), [], 0
        for n, (offset, producer, heads, said) in enumerate(reversed(topic.kept)):
            if all_of_it and offset <= int(since): break
            if not n % 20 and not all_of_it and left < 0 and count >= int(least): break
            found.append([b'%d-0' % offset, [b's', producer, b'h', heads, b'd', said, b'c', CHAIN]])
            left, count = left - len(said), count + heads.count(b',') + 1
        return [topic.epoch, raw(topic.offset), found, CHAIN]

    def subscribe(self, channel: bytes, to: Connection) -> Any:
        self.channels[channel][to] = None
        to.push([b'subscribe', channel, 1])
        return [b'subscribe', channel, 1]

    def unsubscribe(self, channel: bytes, to: Connection) -> Any:
        self.channels[channel].pop(to, None)
        return [b'unsubscribe', channel, 0]

    def ping(self, to: Connection) -> Any:
        to.push([b'pong', b''])
        return [b'pong', b'']

    def delete(self, *keys: bytes) -> int: return len([self.topics.pop(key) for key in keys if key in self.topics])

    def hsetnx(self, key: bytes, field: bytes, value: bytes) -> int: return 1 # Nobody names the shards otherwise
    def expire(self, key: bytes, seconds: bytes) -> int: return 1

    @property
    def stored(self) -> tuple[int, int]:
        "Messages that are kept, and their bytes."
        kept = [entry for topic in self.topics.values() for entry in topic.kept]
        return sum(heads.count(b',') + 1 for _, _, heads, _ in kept), sum(len(said) for *_, said in kept)


class Connection:
    "A connection that listens."
    is_connected = True

    def __init__(self, redis: CountedRedis) -> None:
        self.redis, self.answers = redis, asyncio.Queue[Any]()

    def push(self, message: Any) -> None: self.answers.put_nowait(message)
    async def send_command(self, name: str, *arguments: Any, check_health: bool = True) -> None:
        self.redis.do(name, *arguments, to=self)
    async def read_response(self) -> Any: return await self.answers.get()
    async def disconnect(self, nowait: bool = False) -> None: ...


class CountedServer(RedisServer):
    "One node's way to Redis."
    def __init__(self, redis: CountedRedis) -> None:
        super().__init__('redis://counted')
        self.redis = redis

    def open(self) -> None:
        async def delete(*keys: Any) -> Any: return self.redis.do('DELETE', *keys)
        async def hsetnx(*arguments: Any) -> Any: return self.redis.do('HSETNX', *arguments)
        async def expire(*arguments: Any) -> Any: return self.redis.do('EXPIRE', *arguments)
        async def aclose() -> None: ...
        self.client = SimpleNamespace(delete=delete, hsetnx=hsetnx, expire=expire, aclose=aclose)

    async def check(self) -> None: ...
    async def listening(self, node: str) -> Any: return Connection(self.redis)
    async def run(self, script: str, *arguments: Any, keys: int) -> Any:
        assert script in (PUBLISH, LOOK)
        return self.redis.do('EVALSHA', '0' * 40, keys, *arguments)
    async def run_each(self, script: str, calls: Sequence[Sequence[Any]], keys: int) -> list[Any]:
        return [await self.run(script, *call, keys=keys) for call in calls]


# Nodes

class Members:
    "So many sockets of one node in one room, which do what one does."
    code, changing, dropped = 0, False, 0

    def __init__(self, node: Node, count: int) -> None:
        self.node, self.count, self.rooms = node, count, ()
        self.thread, self.loop = threading.get_ident(), asyncio.get_running_loop()
        self.conn = SimpleNamespace(group=node, out=self)
        self.handshake = SimpleNamespace(since={}, begun_session=None)
        self.outbox = SimpleNamespace(push=self.push)
    rooms: tuple[Any, ...]

    def push(self, payload: Payload, overflow: Any = None) -> None: self.node.send([payload], [self])
    def call_soon(self, function: Any, *arguments: Any) -> None: self.loop.call_soon(function, *arguments)


class Node:
    "A process: its rooms, and what it sends to its members."
    changes = 0

    def __init__(self, redises: Iterable[CountedRedis]) -> None:
        self.rooms, self.broker = Rooms(), RedisBroker('redis://counted')
        self.broker._shards = [RedisShard(CountedServer(redis)) for redis in redises]
        self.deliveries = self.sent = 0
        self.members: dict[str, Members] = {}

    def send(self, messages: Sequence[str | bytes | Payload], transports: Sequence[Any], skip: Any = None) -> None:
        "As a `BroadcastGroup`."
        sizes = [len(raw(m.data if isinstance(m, Payload) else m)) for m in messages]
        for members in transports:
            self.deliveries += members.count * len(sizes)
            for size in sizes: self.sent += members.count * (size + (2 if size < 126 else 4 if size < 2**16 else 10))

    async def start(self) -> None:
        await self.broker.start()
        self.rooms.share(self.broker, PREFIX)
        await self.rooms.peers.start(self.broker, f'{PREFIX}\x1f')

    async def join(self, name: str, count: int) -> None:
        self.members[name] = members = Members(self, count)
        await self.rooms.call(name, None, None, True).join(members) # type: ignore[arg-type]


@dataclass
class Counted:
    "What has passed between two moments."
    seconds: float
    received: int # By Redis, in bytes
    sent: int
    copies: int # Of messages, to nodes
    commands: int
    deliveries: int # To members, by all nodes
    bytes: int # The same in bytes
    rooms: int # Copies of what was said in rooms, without what processes tell each other
    into: int # Its bytes, to Redis
    out: int # And from there
    busiest: float # The part of Redis' bytes that the busiest shard sends


class Simulation:
    "Nodes, their members, and Redis."
    def __init__(self, nodes: int, members: int, rooms: int, shards: int = 1) -> None:
        self.redises = [CountedRedis() for _ in range(shards)]
        self.nodes = [Node(self.redises) for _ in range(nodes)]
        self.members, self.names = members, [f'room {n}' for n in range(rooms)]

    def totals(self) -> list[float]:
        now, redises = asyncio.get_running_loop().time(), self.redises
        def of_rooms(name: str) -> int:
            return sum(n for r in redises for channel, n in getattr(r, name).items() if b'\x1f' not in channel)
        return [now, *(sum(getattr(r, name) for r in redises) for name in ('received', 'sent', 'copies')),
                sum(r.commands.total() for r in redises), sum(n.deliveries for n in self.nodes),
                sum(n.sent for n in self.nodes), *map(of_rooms, ('said', 'into', 'out')), *(r.sent for r in redises)]

    def since(self, before: list[float]) -> Counted:
        differences: list[Any] = [b - a for a, b in zip(before, self.totals(), strict=True)]
        sent = differences[10:] # By each Redis
        return Counted(*differences[:10], max(sent) / max(sum(sent), 1))

    async def begin(self) -> Counted:
        "All nodes start, and all members come."
        before = self.totals()
        for node in self.nodes: await node.start()
        for name, size in [*((name, self.members // len(self.names)) for name in self.names), ('hot', self.members)]:
            here, more = divmod(size, len(self.nodes))
            for n, node in enumerate(self.nodes):
                if count := here + (n < more): await node.join(name, count)
        await asyncio.sleep(20) # They know each other
        return self.since(before)

    async def quiet(self, seconds: float) -> Counted:
        before = self.totals()
        await asyncio.sleep(seconds)
        return self.since(before)

    async def talk(self, seconds: float, pause: float) -> Counted:
        "In each ordinary room somebody says something each `pause` seconds, now at this node, now at that one."
        before, said = self.totals(), 0
        for _ in range(int(seconds / pause)):
            for name in self.names:
                node = self.nodes[said % len(self.nodes)]
                node.rooms[name].send(TEXT)
                said += 1
                if not said % 50: await asyncio.sleep(0)
            await asyncio.sleep(pause)
        return self.since(before)

    async def hot(self, count: int) -> Counted:
        "One after the other in the hot room."
        before = self.totals()
        for n in range(count): await self.nodes[n % len(self.nodes)].rooms['hot'].send(TEXT)
        await asyncio.sleep(0)
        return self.since(before)

    async def return_at_once(self) -> Counted:
        "All sockets of all nodes are cut, and come back with what they have seen."
        before = self.totals()
        for node in self.nodes:
            for name, members in node.members.items():
                room = node.rooms[name]
                members.handshake.since = {room.epoch: room.history.offset}
                room.leave(members) # type: ignore[arg-type]
            for name, members in node.members.items(): await node.rooms[name].join(members) # type: ignore[arg-type]
        return self.since(before)

    async def end(self) -> None:
        for node in self.nodes:
            node.rooms.peers.stop(node.broker)
            await node.broker.stop()


def figure(number: float, unit: str = '') -> str:
    "For a person: three digits, k and M."
    for limit, word in ((1e9, ' G'), (1e6, ' M'), (1e4, ' k')):
        if number >= limit: return f'{number / limit * (10 if limit == 1e4 else 1):.3g}{word}{unit}'
    return f'{number:.3g} {unit}'.rstrip() if number < 1000 else f'{number:.0f} {unit}'.rstrip()


Row = tuple[str, ...]


async def counted(nodes: int, members: int, rooms: int, seconds: float, shards: int = 1) -> list[Row]:
    "The table."
    simulation = Simulation(nodes, members, rooms, shards)
    begin = await simulation.begin()
    quiet = await simulation.quiet(seconds)
    talk = await simulation.talk(PAUSE * max(1, seconds // PAUSE), PAUSE)
    hot = await simulation.hot(100)
    back = await simulation.return_at_once()
    await simulation.end()
    said = rooms * max(1, seconds // PAUSE)
    return [
        ('processes; members', f'{nodes}; {figure(members)}'),
        ('rooms; members of each, beside the hot one', f'{rooms}; {figure(members // rooms)}'),
        ('all come: what Redis sends, once', figure(begin.sent, 'B')),
        ('nobody says anything: Redis sends, a second', f'{figure(quiet.copies / quiet.seconds)} messages, '
                                                        f'{figure(quiet.sent / quiet.seconds, "B")}'),
        ('a message in a room: Redis receives; sends',
         f'{figure(talk.into / said, "B")}; {figure(talk.rooms / said)} copies, {figure(talk.out / said, "B")}'),
        (f'each room says something every {PAUSE:g} s: Redis sends, a second',
         f'{figure(talk.copies / talk.seconds)} messages, {figure(talk.sent / talk.seconds, "B")}'),
        ('the same: a process hears; delivers, a second', f'{figure(talk.copies / talk.seconds / nodes)}; '
                                                          f'{figure(talk.deliveries / talk.seconds / nodes)}'),
        ('a message to all: Redis sends', f'{figure(hot.rooms / 100)} copies, {figure(hot.out / 100, "B")}'),
        ('the same: a process delivers', f'{figure(hot.deliveries / 100 / nodes)}, '
                                         f'{figure(hot.bytes / 100 / nodes, "B")}'),
        ('all sockets are cut and come back at once: commands to Redis', figure(back.commands)),
        ('while rooms talk, the part of the busiest Redis server', f'{talk.busiest:.0%}'),
    ]


async def kept(messages: int) -> Row:
    "What Redis keeps of a room in which so much was said."
    simulation = Simulation(1, 1, 1)
    await simulation.begin()
    before = simulation.redises[0].stored
    await simulation.hot(messages)
    after = simulation.redises[0].stored
    await simulation.end()
    return (f'Redis keeps of a room that has said {messages}',
            f'{after[0] - before[0]} messages, {figure(after[1] - before[1], "B")}')


def run(what: Any) -> Any:
    "On a loop whose clock is its own."
    loop = Loop()
    async def rest() -> None:
        "What a test has left, because it failed."
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left: task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    try: return loop.run_until_complete(what)
    finally:
        loop.run_until_complete(rest())
        loop.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, usual in (('nodes', 20), ('members', 1_000_000), ('rooms', 1000), ('seconds', 20), ('shards', 1)):
        parser.add_argument(f'--{name}', type=int, default=usual)
    o = parser.parse_args()
    rows = [*run(counted(o.nodes, o.members, o.rooms, o.seconds, o.shards)), run(kept(2600))]
    for what, found in rows: print(f'| {what} | {found} |')


if __name__ == '__main__': main()
