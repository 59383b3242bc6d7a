"""A room that two server processes share by a Valkey, beside its peers, in one run: `python -m tests.bench.rooms`.

200 members, half of them at each server. The load (`load.c`) speaks WebSocket to all, with Socket.IO's frames where
these are due; a message is over when all have heard it. Two measures:
- a flood: at each server one member keeps 32 messages on the way. Deliveries for a second of CPU time of all servers,
  and how many of a thousand were not the next one of who speaks: its handlers had overtaken each other;
- a calm one: 20 messages a second by the clock, and the time from when each was due until each member has it: at the
  server of who speaks, and at the other one.
What Redis takes stands beside. The nbws of one process has the same room without a broker, and both who speak in one.
Figures are medians of interleaved rounds; only ratios within one run count.

Then 1,000 pages lose their connections, miss 20 messages, and come back at once: the commands that Redis got for that.
`--before CHECKOUT` measures the room of one process by another nbws, too. Linux with gcc and node."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from websockets.asyncio.client import ClientConnection, connect

from ..chats.commands import Chat, ours, peers, versions
from .__main__ import CORES, HERE, ROOT, Bench, Result, family, free_port, running, settle, table, until_listening

sys.path.insert(0, str(ROOT / 'tests')) # As pytest has it

from redises import RedisProcess, redis_server

MEMBERS, WINDOW, RATE = 200, 32, 20
TEXT = '#00000000 this is a message of some words' # The load counts there
PEERS = 'Socket.IO', 'python-socketio', 'channels'
TARGETS = {'Socket.IO': 12, 'python-socketio': 50} # So many times the deliveries for a second of CPU time
PAGES, MISSED = (10, 1000), 20
ALONE, BEFORE = 'nbws, one process', 'before, one process'

Found = dict[str, dict[int, dict[str, float]]] # By chat and round


class Site:
    "The servers of a chat, and their Redis."
    def __init__(self, redis: RedisProcess, ports: list[int], pids: list[int]) -> None:
        self.redis, self.ports, self.pids = redis, ports, pids

    @property
    def clocks(self) -> list[int]:
        "Processes whose CPU time counts; Redis is the last one."
        assert self.redis.popen
        return [*self.pids, self.redis.popen.pid]


@contextmanager
def served(bench: Bench, chat: Chat, servers: int) -> Iterator[Site]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        ports, processes = [], []
        for _ in range(servers):
            port = free_port()
            command = chat.start(port, str(redis.path))
            cores = len(CORES) > servers and CORES[:servers]
            processes.append(stack.enter_context(running(command, bench.env(chat.name.partition(',')[0]), cores)))
            until_listening(processes[-1], port, 60)
            if processes[-1].poll() is not None: raise OSError(f'{command} has ended')
            ports.append(port)
        for process in processes: settle(process.pid, 2)
        yield Site(redis, ports, [p.pid for process in processes for p in family(process.pid)])


def measure(bench: Bench, chat: Chat) -> dict[str, float]:
    "A round of one chat: the flood, and the calm."
    servers = 1 if chat.name in (ALONE, BEFORE) else 2
    with served(bench, chat, servers) as site:
        def run(window: int, rate: float) -> Result:
            ports, text = ','.join(map(str, site.ports)), chat.says.replace('{}', TEXT)
            command = ('room', ports, chat.path, MEMBERS, bench.seconds, window, rate, text, *site.clocks)
            if found := bench.load(*command): return found
            raise OSError(f'{chat.name} has lost something, or stands')
        flood, calm = run(WINDOW * 2 // servers, 0), run(1, RATE)
    def each(result: Result) -> float: return sum(result['server'][:-1]) / result['count'] * 1e6
    here, far = ('p50', 'p99'), ('far p50', 'far p99')
    return {'rate': flood['rate'], 'each': each(flood), 'calm each': each(calm), 'load': flood['cpu'],
            'disordered': flood['disordered'] / flood['count'] * 1e3,
            'redis each': flood['server'][-1] / flood['count'] * 1e6,
            'whole each': sum(flood['server']) / flood['count'] * 1e6,
            **{name: calm[name] for name in (*here, *(far if servers > 1 else ()))}}


def measure_all(bench: Bench, chats: list[Chat]) -> Found:
    "In interleaved rounds."
    found: Found = defaultdict(dict)
    for turn in range(bench.rounds):
        for chat in chats:
            try: found[chat.name][turn] = measure(bench, chat)
            except OSError as e: print(f'{e}: not in this round', flush=True)
    return found


# ---------------------------------------------------------------- pages that come back


class Visitor:
    "A page that comes back with what it has seen."
    def __init__(self, chat: Chat, port: int) -> None:
        self.chat, self.port, self.heard = chat, port, 0
        self.where: dict[str, str] = {} # Where it stands: offsets by epoch; of Socket.IO its id and offset
        self.ws: ClientConnection | None = None

    async def come(self) -> None:
        since = '.'.join(f'{epoch}:{offset}' for epoch, offset in self.where.items())
        path = self.chat.path + (since if self.chat.path.endswith('=') else '')
        self.ws = await connect(f'ws://127.0.0.1:{self.port}{path}', compression=None, open_timeout=60)

    async def hear(self, count: int) -> None:
        "Until so much was heard; 0: until it knows where it stands."
        assert self.ws
        self.heard = 0
        while self.heard < count or not self.where:
            text = str(await self.ws.recv())
            if self.chat.is_socketio: await self._socketio(text)
            elif found := re.fullmatch('(.*)\x1e([0-9a-f]{8}):([0-9]+)', text, re.S):
                self.where[found[2]] = found[3]
                self.heard += bool(found[1])

    async def _socketio(self, text: str) -> None:
        assert self.ws
        if text.startswith('0'): await self.ws.send(f'40{json.dumps(self.where) if self.where else ""}')
        elif text.startswith('40'): self.where['pid'] = json.loads(text[2:])['pid']
        elif text.startswith('42'):
            self.where['offset'] = json.loads(text[2:])[-1]
            self.heard += 1

    async def say(self) -> None:
        assert self.ws
        await self.ws.send(self.chat.says.replace('{}', TEXT))

    def drop(self) -> None:
        assert self.ws
        self.ws.transport.abort()


def commands(redis: RedisProcess) -> dict[str, int]:
    "What it has done since it was asked to forget that, by name."
    said = redis.says(b'INFO commandstats\r\n').decode()
    asked = {'info', 'config|resetstat'}
    return {name: int(calls) for name, calls in re.findall(r'cmdstat_(\S+?):calls=(\d+)', said) if name not in asked}


async def come_back(site: Site, chat: Chat, count: int) -> tuple[float, dict[str, int]]:
    "Seconds until so many pages have what they have missed, and the commands of Redis meanwhile."
    speaker, *pages = [Visitor(chat, site.ports[n % 2]) for n in range(count + 1)]
    await asyncio.gather(*(v.come() for v in (speaker, *pages)))
    hearing = [asyncio.ensure_future(v.hear(1)) for v in (speaker, *pages)]
    await asyncio.sleep(3) # All are in the room
    await speaker.say()
    await asyncio.wait_for(asyncio.gather(*hearing), 60)
    for page in pages: page.drop()
    await asyncio.sleep(2) # Socket.IO's servers write down who has left
    for _ in range(MISSED): await speaker.say()
    await asyncio.wait_for(speaker.hear(MISSED), 60)
    site.redis.says(b'CONFIG RESETSTAT\r\n')
    begun = time.monotonic()
    async def again(page: Visitor) -> None:
        await page.come()
        await page.hear(MISSED)
    await asyncio.wait_for(asyncio.gather(*map(again, pages)), 120)
    took, done = time.monotonic() - begun, commands(site.redis)
    for visitor in (speaker, *pages): visitor.drop()
    return took, done


# ---------------------------------------------------------------- what is told


def middle(found: Found, name: str, what: str) -> float: return median(r[what] for r in found[name].values())


def times(found: Found, name: str, what: str, other: str, to: str = '') -> float:
    "How many times a figure of `other` is that of `name`, within each round."
    turns = found[name].keys() & found[other].keys()
    return median([found[other][t][to or what] / found[name][t][what] for t in turns] or [float('nan')])


def tell(found: Found) -> None:
    rows = []
    for name in found:
        figures = [1e6 / middle(found, name, 'each'), middle(found, name, 'rate')]
        rows.append([name, *(f'{x:,.0f}' for x in figures), f'{times(found, "nbws", "each", name):.2f} x',
                     f'{middle(found, name, "redis each"):.3f}', f'{middle(found, name, "disordered"):.1f}',
                     f'{middle(found, name, "load"):.0f}'])
    head = ['flood', 'deliveries for a CPU-second', 'a second', 'nbws to it, by CPU', 'CPU of Redis, µs each',
            'of 1,000 out of order', "load's CPU, %"]
    print('\n' + table(head, rows), flush=True)
    rows = []
    for name in found:
        waits = ['p50', 'p99', *(['far p50', 'far p99'] if 'far p50' in next(iter(found[name].values())) else [])]
        rows.append([name, f'{1e6 / middle(found, name, "calm each"):,.0f}',
                     f'{times(found, "nbws", "calm each", name):.2f} x',
                     *(f'{middle(found, name, p):.2f}' for p in waits), *[''] * (4 - len(waits))])
    head = ['calm', 'deliveries for a CPU-second', 'nbws to it, by CPU', 'ms, same server: median', '99 %',
            'the other server: median', '99 %']
    print('\n' + table(head, rows), flush=True)
    tell_targets(found)


def tell_targets(found: Found) -> None:
    rows = []
    def target(what: str, is_: float, least: float = 0, most: float = float('inf')) -> None:
        wanted = f'at least {least:g}' if least else f'at most {most:g}'
        rows.append([what, wanted, f'{is_:.2f}', 'yes' if least <= is_ <= most else '**no**'])
    for peer, least in TARGETS.items():
        if peer in found: target(f'deliveries for a CPU-second: to {peer}', times(found, 'nbws', 'each', peer), least)
    cost = times(found, ALONE, 'each', 'nbws', 'whole each')
    target('CPU of servers and Redis: to one process without', cost, most=2)
    for p in ('p50', 'p99'):
        far = f'far {p}'
        target(f'{p} at the other server: to the same one', times(found, 'nbws', p, 'nbws', far), most=3)
        target(f'{p} at the other server: to one process without', times(found, ALONE, p, 'nbws', far), most=3)
        for peer in PEERS:
            if peer in found: target(f'{p} at the other server: {peer} to it', times(found, 'nbws', far, peer), 1)
    for what in ('each', 'calm each') if BEFORE in found else ():
        name = 'flood' if what == 'each' else 'calm'
        target(f'one process without: to the one before, {name}', times(found, ALONE, what, BEFORE), 0.98)
    print('\n' + table(['target', 'wanted', 'is', 'reached'], rows) + '\n', flush=True)


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.bench.rooms', description=__doc__)
    options.add_argument('--rounds', type=int, default=3, help='interleaved runs of each')
    options.add_argument('--seconds', type=float, default=3.0, help='of a run')
    options.add_argument('--peers', nargs='*', choices=PEERS, default=list(PEERS))
    options.add_argument('--before', type=Path, help='another checkout of nbws: its room of one process')
    options.add_argument('--only', choices=['speed', 'pages'], help='a part of it')
    o = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / 'load'
        subprocess.run(['gcc', '-O2', '-o', binary, HERE / 'load.c'], check=True)
        bench = Bench(binary, o.before and o.before.resolve(), [], o.rounds, o.seconds, {})
        shared, others = ours('--redis', 'unix://{redis}'), peers(o.peers)
        print(f'Python {platform.python_version()}, {versions(o.peers)}', flush=True)
        if o.only != 'pages':
            alone = [ours(name=ALONE), *([ours(name=BEFORE)] if o.before else [])]
            tell(measure_all(bench, [*alone, shared, *others]))
        if o.only == 'speed': return
        rows = []
        for chat in (shared, *(c for c in others if c.name == 'Socket.IO')): # The others do not resume
            for count in PAGES:
                with served(bench, chat, 2) as site: took, done = asyncio.run(come_back(site, chat, count))
                which = ', '.join(f'{name} {calls}' for name, calls in done.items())
                rows.append([f'{chat.name}, {count:,}', f'{took:.1f}', str(sum(done.values())), which])
        print('Of nbws, Redis is told meanwhile how many members each server has now, at most 20 times a second.\n')
        print(table(['pages that come back at once', 'seconds', "Redis' commands", 'which'], rows))


if __name__ == '__main__': main()
