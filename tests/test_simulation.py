"""The simulation of many nodes, small: what it counts is what a real server counts, and what was expected on paper."""
from __future__ import annotations

import asyncio
from typing import Any

from bound import BOUND
from redises import redis_server
from simulation import TEXT, CountedRedis, Node, Simulation, counted, kept, run, soon

from nbws.sockets.redis_broker import RedisBroker


NET = 'total_net_input_bytes', 'total_net_output_bytes'


async def said(node: Node, redis: Any, count: int) -> None:
    "So many messages, one after the other, from this node."
    await node.start()
    await node.join('tea', 1)
    await soon(lambda: node.rooms['tea'].sharing.begun) # type: ignore[union-attr]
    await asyncio.sleep(.2) # Who is there has been told
    redis()
    for _ in range(count): await node.rooms['tea'].send(TEXT)
    await soon(lambda: node.deliveries >= count)


def test_a_real_server_counts_the_same_bytes() -> None:
    with redis_server() as server:
        async def real() -> dict[str, int]:
            node = Node([])
            node.broker = RedisBroker(server.url)
            await said(node, lambda: server.ask(b'CONFIG', b'RESETSTAT'), 500)
            lines = server.says(b'INFO stats\r\n').decode().split('\r\n')
            node.rooms.peers.stop(node.broker)
            await node.broker.stop()
            return {name: int(n) for name, _, n in (line.partition(':') for line in lines) if name in NET}
        found = asyncio.run(asyncio.wait_for(real(), BOUND))
    redis, before = CountedRedis(), list[int]()
    async def simulated() -> None:
        node = Node([redis])
        await said(node, lambda: before.extend((redis.received, redis.sent)), 500)
    run(simulated())
    received, sent = redis.received - before[0], redis.sent - before[1]
    assert abs(found['total_net_input_bytes'] / received - 1) < .02
    assert abs(found['total_net_output_bytes'] / sent - 1) < .02


def test_a_room_costs_a_copy_for_each_node_that_has_members() -> None:
    async def few() -> None:
        simulation = Simulation(4, 400, 2)
        await simulation.begin()
        assert (await simulation.hot(10)).rooms == 40
        nodes = simulation.nodes
        nodes[0].rooms['room 0'].leave(nodes[0].members.pop('room 0')) # type: ignore[arg-type]
        await asyncio.sleep(40) # It is heard for a while, for those who come back
        before = simulation.totals()
        await nodes[1].rooms['room 0'].send(TEXT)
        await asyncio.sleep(0)
        after = simulation.since(before)
        assert (after.rooms, after.deliveries) == (3, 150)
        back = await simulation.return_at_once()
        assert back.commands == 0
        await simulation.end()
    run(few())


def test_shards_divide_it() -> None:
    async def several() -> None:
        simulation = Simulation(3, 300, 30, shards=3)
        await simulation.begin()
        talk = await simulation.talk(10, 10)
        assert talk.rooms == 90
        assert talk.busiest < .6
        await simulation.end()
    run(several())


def test_the_table() -> None:
    rows = dict(run(counted(3, 300, 3, 10)))
    assert rows['a message to all: Redis sends'].startswith('3 copies')
    assert rows['all sockets are cut and come back at once: commands to Redis'] == '0'
    assert int(run(kept(2600))[1].split()[0]) in range(2000, 2101)
