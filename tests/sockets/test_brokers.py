"""What every broker owes to rooms (nbws.core.protocols.Broker). Another broker: a few lines in `BROKERS`."""
from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from bound import BOUND
from redises import Clustered, Make, redis_server

from nbws.core.protocols import Broker, Published
from nbws.sockets.brokers import MemoryBroker
from nbws.sockets.redis_broker import RedisBroker


def memory(stack: ExitStack) -> Make:
    broker = MemoryBroker()
    return lambda: broker


def by_server(name: str) -> Callable[[ExitStack], Make]:
    def make(stack: ExitStack) -> Make:
        server = stack.enter_context(redis_server(name))
        return lambda: RedisBroker(server.url)
    return make


def by_shards(stack: ExitStack) -> Make:
    urls = ','.join(stack.enter_context(redis_server()).url for _ in range(2))
    return lambda: RedisBroker(urls)


def by_cluster(stack: ExitStack) -> Make:
    clustered = Clustered('valkey', stack)
    return lambda: RedisBroker(clustered.url)


BROKERS = {'memory': memory, 'valkey': by_server('valkey'), 'redis': by_server('redis'), 'shards': by_shards,
           'cluster': by_cluster}


@pytest.fixture(params=BROKERS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    with ExitStack() as stack: yield BROKERS[request.param](stack)


class Ear:
    "A subscriber that remembers: messages with their positions, and what came back with them."
    def __init__(self) -> None:
        self.begins: list[tuple[str, int, list[Published]]] = []
        self.heard: list[tuple[Published, Any]] = []
        self.reached: list[bool] = []
        self.thread = 0

    def begin(self, epoch: str, offset: int, kept: Any) -> None: self.begins.append((epoch, offset, list(kept)))
    def deliver(self, messages: Any, origins: Any) -> None: self.heard += zip(messages, origins, strict=True)
    def reaches(self, others: bool) -> None: self.reached.append(others)

    @property
    def said(self) -> list[Any]: return [message.data for message, _ in self.heard]

    async def has(self, count: int) -> None:
        "Wait until so many messages were heard."
        await soon(lambda: len(self.heard) >= count)

    async def subscribed(self, broker: Broker, room: str = 'tea', history: int = 0) -> Ear:
        broker.subscribe(room, self, history)
        await soon(lambda: bool(self.begins))
        return self


async def soon(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + BOUND
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(.005)


def with_brokers(make: Make, test: Callable[..., Awaitable[None]], count: int = 2) -> None:
    "Run a test with so many brokers that are started."
    async def run() -> None:
        brokers = [make() for _ in range(count)]
        for broker in brokers: await broker.start()
        try: await test(*brokers)
        finally:
            for broker in brokers: await broker.stop()
    asyncio.run(asyncio.wait_for(run(), 2 * BOUND))


def test_one_order_for_all(make: Make) -> None:
    "Of two processes that speak at the same time, each hears itself and the other in the same order."
    async def test(one: Broker, two: Broker) -> None:
        ears = [await Ear().subscribed(one), await Ear().subscribed(two)]
        for n in range(200):
            one.publish('tea', f'one {n}', True, 0)
            two.publish('tea', f'two {n}', True, 0)
            if not n % 10: await asyncio.sleep(0)
        for ear in ears: await ear.has(400)
        assert ears[0].said == ears[1].said
        assert [s for s in ears[0].said if s.startswith('two')] == [f'two {n}' for n in range(200)]
        for ear in ears: assert [message.offset for message, _ in ear.heard] == list(range(1, 401))
        assert len({message.epoch for message, _ in ears[0].heard}) == 1
    with_brokers(make, test)


def test_what_was_given_comes_back_to_who_gave_it(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        ears = [await Ear().subscribed(one), await Ear().subscribed(two)]
        mine = object()
        one.publish('tea', 'mine', True, 0, mine)
        one.publish('tea', 'plain', True, 0)
        for ear in ears: await ear.has(2)
        assert ears[0].heard[0][1] is mine
        assert ears[0].heard[1][1] is None
        if one is not two: assert [origin for _, origin in ears[1].heard] == [None, None]
    with_brokers(make, test)


def test_who_comes_later_begins_with_what_is_kept(make: Make) -> None:
    "There is neither a hole nor a double between what it begins with and what it hears."
    async def test(one: Broker, two: Broker) -> None:
        stop, said = False, 0
        async def talk() -> None:
            nonlocal said
            while not stop:
                one.publish('tea', str(said := said + 1), True, 0)
                await asyncio.sleep(.001)
        talking = asyncio.ensure_future(talk())
        await soon(lambda: said > 20)
        ears = [await Ear().subscribed(two) for _ in range(3)]
        await soon(lambda: said > 100)
        stop = True
        await talking
        await one.publish('tea', 'end', True, 0)
        expected = [*map(str, range(1, said + 1)), 'end']
        for ear in ears:
            await soon(lambda ear=ear: 'end' in ear.said)
            [(epoch, offset, kept)] = ear.begins
            assert [m.data for m in kept] + ear.said == expected
            assert offset == len(kept) == kept[-1].offset
            assert {epoch} == {m.epoch for m in kept} | {m.epoch for m, _ in ear.heard}
    with_brokers(make, test)


def test_what_is_awaited_has_its_place(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        for n in range(5): await one.publish('tea', str(n), True, 0)
        ear = await Ear().subscribed(two)
        assert [m.data for m in ear.begins[0][2]] == list('01234')
    with_brokers(make, test)


def test_the_newest_position_is_known(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        ear = await Ear().subscribed(one)
        for n in range(3): await two.publish('tea', str(n), n < 2, 0)
        assert await one.newest('tea') == (ear.begins[0][0], 2)
        await ear.has(3)
        assert await two.newest('tea') == ear.heard[-1][0][1:3]
    with_brokers(make, test)


def test_what_is_not_kept_is_heard_in_order_and_then_gone(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        ear = await Ear().subscribed(two)
        for n in range(30): one.publish('tea', str(n), n % 3 == 0, 0)
        await ear.has(30)
        assert ear.said == [str(n) for n in range(30)]
        assert [m.offset for m, _ in ear.heard] == [n // 3 + 1 for n in range(30)]
        late = await Ear().subscribed(one)
        assert [m.data for m in late.begins[0][2]] == [str(n) for n in range(0, 30, 3)]
    with_brokers(make, test)


def test_what_is_said_arrives_as_it_was(make: Make) -> None:
    things = ['', ':', 'a:1:b.2:t:c', 'é😀\0\n', b'', b'\xff:\0\r\n', 'x' * 100_000, b'y' * 100_000]
    async def test(one: Broker, two: Broker) -> None:
        ears = [await Ear().subscribed(one), await Ear().subscribed(two)]
        for thing in things: one.publish('tea', thing, True, 0)
        for ear in ears:
            await ear.has(len(things))
            assert ear.said == things
            assert [type(s) for s in ear.said] == [type(t) for t in things]
        late = await Ear().subscribed(one)
        assert [m.data for m in late.begins[0][2]] == things
    with_brokers(make, test)


def test_rooms_are_apart_and_left(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        tea, milk, both = await Ear().subscribed(one), await Ear().subscribed(one, 'milk'), Ear()
        await both.subscribed(two)
        two.publish('milk', 'm', True, 0)
        two.publish('tea', 't', True, 0)
        for ear in (tea, milk, both): await ear.has(1)
        assert (tea.said, milk.said, both.said) == (['t'], ['m'], ['t'])
        one.unsubscribe('tea', tea)
        one.unsubscribe('tea', tea)
        one.unsubscribe('nobody was there', tea)
        two.publish('tea', 'more', True, 0)
        two.publish('milk', 'more', True, 0)
        for ear in (milk, both): await ear.has(2)
        again = await Ear().subscribed(one)
        assert [m.data for m in again.begins[0][2]] in (['t', 'more'], [])
    with_brokers(make, test)


def test_others_hear_on_when_one_leaves(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    "One who was never there, who waits for its begin, or was the last one before somebody else came."
    monkeypatch.setattr('nbws.sockets.redis_broker.LINGER', 0)
    async def test(one: Broker, two: Broker) -> None:
        ear, brief = await Ear().subscribed(one), Ear()
        one.unsubscribe('tea', Ear())
        one.subscribe('tea', brief, 0)
        one.unsubscribe('tea', brief)
        await Ear().subscribed(one, 'milk') # By now all of that was done
        await two.publish('tea', 'on', True, 0)
        await ear.has(1)
    with_brokers(make, test)


def test_who_has_left_hears_nothing_when_another_one_comes(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        before = await Ear().subscribed(one)
        one.unsubscribe('tea', before)
        ear = await Ear().subscribed(one)
        await two.publish('tea', 'on', True, 0)
        await ear.has(1)
        assert before.said == []
        one.subscribe('tea', before, 0)
        await soon(lambda: len(before.begins) > 1)
        await two.publish('tea', 'more', True, 0)
        for each in before, ear: await soon(lambda each=each: 'more' in each.said)
        assert before.said == ['more']
    with_brokers(make, test)


def test_a_subscriber_that_comes_back_misses_nothing(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        ear = await Ear().subscribed(one)
        for n in range(20):
            one.unsubscribe('tea', ear)
            two.publish('tea', str(n), True, 0)
            if n % 2: await asyncio.sleep(.01)
            one.subscribe('tea', ear, 0)
        await two.publish('tea', 'end', True, 0)
        found: dict[int, Any] = {}
        def heard() -> bool:
            for message in [m for *_, kept in ear.begins for m in kept] + [m for m, _ in ear.heard]:
                found[message.offset] = message.data
            return len(found) == 21
        await soon(heard)
        assert [found[n] for n in sorted(found)] == [*map(str, range(20)), 'end']
    with_brokers(make, test)


def test_threads_speak_in_their_order(make: Make) -> None:
    async def test(one: Broker, two: Broker) -> None:
        ears = [await Ear().subscribed(one), await Ear().subscribed(two)]
        def talk(name: int) -> None:
            for n in range(100): (one, two)[name % 2].publish('tea', f'{name} {n}', True, 0)
        threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        for ear in ears: await ear.has(400)
        for thread in threads: thread.join()
        assert ears[0].said == ears[1].said
        for name in range(4):
            assert [s for s in ears[0].said if s.startswith(f'{name} ')] == [f'{name} {n}' for n in range(100)]
    with_brokers(make, test)


def test_what_is_said_before_the_start_is_said_then(make: Make) -> None:
    async def test(other: Broker) -> None:
        ear, broker, early = await Ear().subscribed(other), make(), Ear()
        broker.subscribe('tea', early, 0)
        broker.publish('tea', 'early', True, 0)
        await broker.start()
        try:
            await ear.has(1)
            await soon(lambda: len(early.begins[0][2]) + len(early.heard) == 1)
        finally: await broker.stop()
    with_brokers(make, test, count=1)


def test_as_many_stops_as_starts(make: Make) -> None:
    "Several apps of a process begin and end it."
    async def test(one: Broker, two: Broker) -> None:
        await one.start()
        await one.stop()
        ear = await Ear().subscribed(one)
        await two.publish('tea', 'still here', True, 0)
        await ear.has(1)
    with_brokers(make, test)


def test_a_broker_goes_on_after_a_pause_and_on_another_loop(make: Make) -> None:
    broker, ear = make(), Ear()
    async def first() -> None:
        await broker.start()
        await ear.subscribed(broker)
        await broker.publish('tea', 'one', True, 0)
        await ear.has(1)
        await broker.stop()
    async def second() -> None:
        broker.publish('tea', 'two', True, 0)
        await broker.start()
        await broker.publish('tea', 'three', True, 0)
        await ear.has(3)
        await broker.stop()
    for part in first, second: asyncio.run(asyncio.wait_for(part(), BOUND))
    assert ear.said == ['one', 'two', 'three']
