"""A room that two server processes share by a Valkey, beside its peers, in one run: `python -m tests.bench.rooms`.

200 members, half of them at each server. The load (`load.c`) speaks WebSocket to all, and Socket.IO's frames to whom
these are due; a message is over when all have heard it. Two measures:
- a flood: at each server one member keeps 16 messages on the way. Deliveries for each second of CPU time of all servers,
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
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from ..chats.commands import Chat, ours, peers, versions
from .__main__ import CORES, HERE, ROOT, Bench, Result, family, free_port, running, settle, table, until_listening

sys.path.insert(0, str(ROOT / 'tests')) # As pytest has it

from redises import RedisProcess, redis_server

MEMBERS, WINDOW, RATE = 200, 64, 20
TEXT = '#00000000 this is a message of some words' # The load counts there
PEERS = 'Socket.IO', 'python-socketio', 'channels'
TARGETS = {'Socket.IO': 12, 'python-socketio': 50} # So many times the deliveries for a second of CPU time
PAGES, MISSED = 1000, 20
ALONE, BEFORE = 'nbws, one process', 'before, one process'


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
            **{name: calm[name] for name in (*here, *(far if servers > 1 else ()))}}


def measure_all(bench: Bench, chats: list[Chat]) -> dict[str, dict[int, dict[str, float]]]:
    "By chat, in interleaved rounds."
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
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


async def come_back(site: Site, chat: Chat) -> tuple[float, dict[str, int]]:
    "Seconds until all have what they have missed, and the commands of Redis meanwhile."
    speaker, *pages = [Visitor(chat, site.ports[n % 2]) for n in range(PAGES + 1)]
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


def tell(found: dict[str, dict[int, dict[str, float]]]) -> None:
    def middle(name: str, what: str) -> float: return median(r.get(what, float('nan')) for r in found[name].values())
    def ratio(name: str, other: str, what: str) -> float:
        "Of `other` to `name`, within each round."
        turns = found[name].keys() & found[other].keys()
        return median([found[other][t][what] / found[name][t][what] for t in turns] or [float('nan')])
    names = [name for name in found if found[name]]
    head = ['', 'deliveries a second', 'each CPU-second of servers', 'nbws to it', 'Redis, µs each', 'calm: CPU-second',
            'nbws to it', 'ms to those here: median', '99 %', 'to those there: median', '99 %', "load's CPU, %",
            'of 1,000 out of order']
    rows = []
    for name in names:
        times = [f'{middle(name, p):.2f}' for p in ('p50', 'p99', 'far p50', 'far p99')]
        compared = [f'{ratio("nbws", name, what):.2f} x' for what in ('each', 'calm each')]
        rows.append([name, f'{middle(name, "rate"):,.0f}', f'{1e6 / middle(name, "each"):,.0f}', compared[0],
                     f'{middle(name, "redis each"):.3f}', f'{1e6 / middle(name, "calm each"):,.0f}', compared[1], *times,
                     f'{middle(name, "load"):.0f}', f'{middle(name, "disordered"):.1f}'])
    print('\n' + table(head, rows) + '\n', flush=True)
    def row(what: str, wanted: str, is_: float, reached: bool) -> list[str]:
        return [what, wanted, f'{is_:.2f}', 'yes' if reached else '**no**']
    rows = []
    for peer, least in TARGETS.items():
        if peer in names:
            r = ratio('nbws', peer, 'each')
            rows.append(row(f'deliveries for a CPU-second, to {peer}', f'at least {least} x', r, r >= least))
    whole = {n: {t: {'cost': r['each'] + r['redis each'] * (n == 'nbws')} for t, r in found[n].items()}
             for n in ('nbws', ALONE) if n in names}
    if len(whole) == 2:
        costs = median(whole['nbws'][t]['cost'] / whole[ALONE][t]['cost'] for t in whole['nbws'].keys() & whole[ALONE])
        rows.append(row('CPU of both servers and Redis, to one process without', 'at most 2 x', costs, costs <= 2))
        for p in ('p50', 'p99'):
            r = median(a[f'far {p}'] / a[p] for a in found['nbws'].values())
            rows.append(row(f'{p} across, to within one', 'at most 3 x', r, r <= 3))
            r = 1 / ratio('nbws', ALONE, p) * middle('nbws', f'far {p}') / middle('nbws', p)
            rows.append(row(f'{p} across, to one process without', 'at most 3 x', r, r <= 3))
    for peer in PEERS:
        if peer in names and 'nbws' in names:
            for p in ('far p50', 'far p99'):
                r = ratio('nbws', peer, p)
                rows.append(row(f'{p} of {peer}, to ours', 'more than 1', r, r > 1))
    if {BEFORE, ALONE} <= set(names):
        for what, text in (('each', 'flood'), ('calm each', 'calm')):
            r = ratio(ALONE, BEFORE, what)
            rows.append(row(f'one process, to before, {text}', 'at least 0.98', r, r >= 0.98))
    print(table(['target', 'wanted', 'is', 'reached'], rows) + '\n', flush=True)


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
            with served(bench, chat, 2) as site: took, done = asyncio.run(come_back(site, chat))
            rows.append([chat.name, f'{took:.1f}', str(sum(done.values())), ', '.join(f'{n} {c}' for n, c in done.items())])
        print(table([f'{PAGES:,} pages come back', 'seconds', "Redis' commands", 'which'], rows))


if __name__ == '__main__': main()
