"""nbws beside its peers, in one run: `python -m tests.bench`, `make bench`. Linux, with gcc; not a part of `make test`.

Each figure is the median of interleaved rounds, so that what else the machine does hits all alike; only ratios within
one run count. What counts most on a busy machine is the CPU time that a server's processes take for an answer. Servers
are on one core, the load on another. The load is a client in C (`load.c`), and is checked twice: its CPU use is in the
table (100% would mean that the client is the limit), and so is an echo server in C, the most that it can measure."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import mean, median, quantiles
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil

from .parts import import_parts, start_parts

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PEERS = ('python-fasthtml', 'tremolo', 'starlette', 'uvicorn[standard]', 'hypercorn', 'granian', 'aiohttp',
         'websockets', 'picows', 'tornado', 'gradio', 'panel', 'marimo', 'matplotlib', 'ipython')
NOT_EVERYWHERE = 'socketify' # Needs cffi, and the system's libuv when it runs
MESSAGE = '{"msg": "hello, this is a message of some words"}'
# On asyncio's loop or on uvloop, whichever takes less CPU in the first round of a figure. The others choose themselves:
# nbws, granian, uvicorn and what runs on it take uvloop; socketify has libuv of its own.
TWO_LOOPS = ('aiohttp', 'picows', 'websockets', 'tornado', 'hypercorn', 'tremolo')
ASGI = 'uvicorn', 'hypercorn', 'granian ASGI', 'granian RSGI' # Servers without a framework: echo and page
PEERS_OF_ECHO = ('fasthtml', 'starlette', *ASGI, 'aiohttp', 'picows', 'websockets', 'tornado', 'tremolo', 'socketify')
OURS = 'nbws', 'before' # This checkout, and the one that --before names
SERVERS = (*OURS, *PEERS_OF_ECHO)
ROOMS = set(SERVERS) - {*ASGI, 'tremolo'} # Tremolo stalls in a fan-out
HTTP = set(SERVERS) - {'picows', 'websockets'}
BOTH = {*OURS, 'fasthtml'}
WORKERS = {*OURS, *ASGI}
SHARE = 0.7 # Of a server's own maximum: where its latency is measured
ON_THE_WAY = 1000 # Messages in one socket: enough that a stall keeps none back, and less than a kernel's buffer


class Figure(NamedTuple):
    "A row of what `load.c` is to do, and with which servers."
    mode: str
    path: str
    clients: int
    window: int
    who: set[str]
    late: str = '' # Its mode for latency, where that is measured


FIGURES = {
    'echo, 1 client': Figure('echo', '/echo', 1, 1, {*SERVERS, 'C'}),
    'echo, 64 clients': Figure('echo', '/echo', 64, 1, {*SERVERS, 'C'}, 'open'),
    'sync handler, 64 clients': Figure('echo', '/echo_sync', 64, 1, BOTH),
    'fan-out to 10': Figure('fanout', '/fanout', 10, 2, ROOMS),
    'fan-out to 500': Figure('fanout', '/fanout', 500, 2, ROOMS),
    'fan-out to 500, a dict of sends': Figure('fanout', '/dict', 500, 2, BOTH),
    '64 who all talk to all': Figure('talk', '/fanout', 64, 1, ROOMS),
    'HTTP, 64 clients': Figure('http', '/', 64, 1, HTTP, 'openhttp'),
    'HTTP, sync handler': Figure('http', '/sync', 64, 1, BOTH),
}
# At least this many times as good as the peer, by rate or by CPU time
TARGETS = [('echo, 1 client', 'aiohttp', 'rate', 1.2), ('echo, 64 clients', 'before', 'CPU', 2),
           ('echo, 64 clients', 'aiohttp', 'CPU', 1.4), ('echo, 64 clients', 'picows', 'CPU', 0.7),
           ('HTTP, 64 clients', 'before', 'CPU', 2), ('HTTP, 64 clients', 'aiohttp', 'CPU', 1.7),
           ('HTTP, 64 clients', 'starlette', 'CPU', 1.7), ('fan-out to 500', 'before', 'CPU', 1),
           ('fan-out to 500', 'picows', 'CPU', 1.2), ('64 who all talk to all', 'before', 'CPU', 1),
           ('64 who all talk to all', 'picows', 'CPU', 1.2)]

CORES = sorted(os.sched_getaffinity(0)) # The first ones are for servers, the last for the load

Result = dict[str, Any] # What `load.c` says
Rounds = dict[int, Result] # By the number of the round


@dataclass
class Bench:
    "What every part of a run needs."
    binary: Path # `load.c`, compiled
    before: Path | None # Another checkout of nbws
    names: list[str]
    rounds: int
    seconds: float
    pythons: dict[str, str]

    def python(self, name: str) -> str: return self.pythons['nbws' if name in OURS else name]

    def env(self, name: str) -> dict[str, str]:
        checkout = self.before if name == 'before' else ROOT
        env = {**os.environ, 'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_OFFLINE': '1'}
        env.pop('PYTHONDONTWRITEBYTECODE', None) # Or a checkout that has run nothing yet is compiled at each start
        return {**env, 'PYTHONPATH': str(checkout)} if name in OURS else env

    def command(self, script: str, name: str, *arguments: object) -> list[str]:
        return [self.python(name), str(HERE / script), name.replace('before', 'nbws'), *map(str, arguments)]

    @contextmanager
    def server(self, name: str, workers: int = 1) -> Iterator[tuple[int, list[int]]]:
        "A server's port, and the ids of its processes."
        port = free_port()
        command = self.command('servers.py', name, port) if name != 'C' else [str(self.binary), 'serve', str(port)]
        if workers > 1: command.append(str(workers))
        with running(command, self.env(name), len(CORES) > workers and CORES[:workers]) as process:
            until_listening(process, port, 60)
            if process.poll() is not None: raise OSError(f'{command} has ended')
            settle(process.pid, 2 if workers == 1 else 5)
            yield port, [p.pid for p in family(process.pid)]

    def load(self, *arguments: object) -> Result | None:
        "A run of the client; None where the server failed."
        command = ['taskset', '-c', str(CORES[-1]), str(self.binary), *map(str, arguments)]
        try: ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired: return None
        return json.loads(ran.stdout) if ran.returncode == 0 else None


# ---------------------------------------------------------------- processes


def peers_venv(packages: Sequence[str], perhaps: str = '') -> Path:
    """The peers' venv, which is made when it is missing, and gets what it has not yet; `perhaps` where that works.
    `NBWS_BENCH_PEERS` names another one, which stays as it is."""
    named = os.environ.get('NBWS_BENCH_PEERS')
    venv = Path(named or ROOT / '.venv-bench')
    def pip(*arguments: str, check: bool = True) -> str:
        return subprocess.run([venv / 'bin/pip', *arguments], check=check, stdout=subprocess.PIPE, text=True).stdout
    if not named:
        if not (venv / 'bin/python').exists(): subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
        lines = [line.lower().replace('_', '-') for line in pip('list', '--format=freeze').splitlines()]
        has = {*lines, *(line.partition('==')[0] for line in lines)}
        if missing := [p for p in dict.fromkeys(packages) if p.partition('[')[0] not in has]:
            print(f'installing into {venv.name}: {", ".join(missing)}', file=sys.stderr)
            pip('install', '-q', *missing)
        if perhaps and perhaps not in has: pip('install', '-q', perhaps, check=False)
    return venv


def pythons() -> dict[str, str]:
    "Our Python and the peers'."
    venv = peers_venv(PEERS, NOT_EVERYWHERE)
    return defaultdict(lambda: str(venv / 'bin/python'), nbws=sys.executable)


def free_port() -> int:
    "Below those that clients get."
    for port in range(18_000 + os.getpid() % 5000, 32_000):
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)): return port
    raise OSError('no port')


def until_listening(process: subprocess.Popen[bytes], port: int, seconds: float) -> None:
    "Wait until somebody listens at a port, the process has ended, or the time is over."
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as s:
            if not s.connect_ex(('127.0.0.1', port)): return
        time.sleep(0.02)


def family(pid: int) -> list[psutil.Process]:
    "A process and those that it has started."
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def settle(pid: int, quiet: int, seconds: float = 30) -> None:
    """Wait until a server's processes have done what they do at their start: a worker may begin after its port is open,
    and one behind the other. That is when they had next to no CPU time so many times in a row."""
    def used() -> float: return sum(sum(p.cpu_times()[:2]) for p in family(pid) if p.is_running())
    deadline, had, calm = time.monotonic() + seconds, used(), 0
    while time.monotonic() < deadline and calm < quiet:
        time.sleep(0.4)
        now = used()
        calm, had = calm + 1 if now - had < 0.03 else 0, now


@contextmanager
def running(command: list[str], env: dict[str, str], cores: list[int] | bool = False, **options: Any,
            ) -> Iterator[subprocess.Popen[Any]]:
    "A process, on these cores; it is ended with all that it has started."
    if cores: os.sched_setaffinity(0, cores) # Handed down
    pipes = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL, **options}
    try: process = subprocess.Popen(command, cwd=HERE, env=env, **pipes)
    finally: os.sched_setaffinity(0, CORES)
    try: yield process
    finally:
        started = family(process.pid) if process.poll() is None else []
        process.terminate()
        _, alive = psutil.wait_procs(started, timeout=3)
        for each in alive:
            with suppress(psutil.NoSuchProcess): each.kill()
        with process: pass # Closes the pipes


# ---------------------------------------------------------------- what is measured


def cpu_each(result: Result) -> float:
    "Microseconds of CPU time that the server's processes have taken for an answer; of a fan-out: for a delivery."
    return sum(result['server']) / result['count'] * 1e6


def measure(bench: Bench, figure: Figure, name: str, workers: int = 1) -> Result | None:
    "A round of a figure with one server: its maximum, and the round trips at a share of that."
    text = '' if figure.mode == 'http' else MESSAGE
    with bench.server(name, workers) as (port, pids):
        def run(mode: str, window: int, rate: float) -> Result | None:
            return bench.load(mode, port, figure.path, figure.clients, bench.seconds, window, rate, text, *pids)
        found = run(figure.mode, figure.window, 0)
        if not found or not figure.late: return found
        late = run(figure.late, 1 if figure.mode == 'http' else ON_THE_WAY, SHARE * found['rate'])
        return {**found, 'late p50': late['p50'] if late else None, 'late p99': late['p99'] if late else None}


def better_loops(first: dict[str, Result]) -> list[str]:
    "Of each server the one that took less CPU time: `aiohttp` or `aiohttp, uvloop`."
    found = {}
    for name in sorted(first, key=lambda n: -cpu_each(first[n])): found[name.partition(',')[0]] = name
    return [name for name in first if name in found.values()]


def measure_all(bench: Bench, figure: Figure, names: Iterable[str], workers: int = 1) -> dict[str, Rounds]:
    "By server, in interleaved rounds; each on the loop that is the better one in the first of them."
    turns = [n for name in names for n in ((name, f'{name}, uvloop') if name in TWO_LOOPS else (name,))]
    found: dict[str, Rounds] = defaultdict(dict)
    for turn in range(bench.rounds):
        for name in turns:
            try: result = measure(bench, figure, name, workers)
            except OSError: result = None # It does not start
            if result: found[name][turn] = result
            else: print(f'\n{name} has failed, and is not in this round', flush=True)
        if not turn: turns = better_loops({n: rounds[0] for n, rounds in found.items()})
    return {name: found[name] for name in turns}


def middle(rounds: Rounds, what: str) -> float:
    "The median; not a number where a round has none: its server gave no answers at that pace."
    found = [r[what] for r in rounds.values()]
    return float('nan') if None in found else median(found)


def ratios(ours: Rounds, theirs: Rounds, by: str) -> list[float]:
    """Quartiles of how many times as good we are, by `rate` or `CPU`, as ratios within a round: what slows the machine
    for a while slows both."""
    def one(turn: int) -> float:
        if by == 'rate': return float(ours[turn]['rate'] / theirs[turn]['rate'])
        return cpu_each(theirs[turn]) / cpu_each(ours[turn])
    found = [one(turn) for turn in ours.keys() & theirs.keys()]
    return quantiles(found, n=4, method='inclusive') if len(found) > 1 else found * 3


def busiest(rounds: Rounds, workers: int) -> str:
    "How the CPU time was spread over the workers, in percent: the mean of the rounds, the busiest first."
    def shares(result: Result) -> list[float]:
        most = sorted(result['server'], reverse=True)[:workers] # The others only look after these
        return [100 * each / sum(most) for each in most]
    return ' : '.join(f'{mean(column):.0f}' for column in zip(*map(shares, rounds.values()), strict=True))


def resident(pids: list[int]) -> int:
    "KiB that processes have in memory."
    return int(sum(psutil.Process(pid).memory_info().rss for pid in pids) // 1024)


@contextmanager
def held(bench: Bench, port: int, clients: int) -> Iterator[bool]:
    "Open sockets that say nothing; whether they could be opened."
    command = [str(bench.binary), 'idle', str(port), '/echo', str(clients)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try: yield bool(holder.stdout and holder.stdout.readline())
    finally: holder.communicate()


def idle_memory(bench: Bench, name: str, clients: int) -> float | None:
    "KiB per open socket that says nothing; None where the server failed."
    with suppress(OSError), bench.server(name) as (port, pids):
        bench.load('echo', port, '/echo', 8, 0.2, 1, 0, MESSAGE) # What the first ones cost is not theirs
        had = resident(pids)
        with held(bench, port, clients) as opened: return (resident(pids) - had) / clients if opened else None
    return None


def idle_parts(bench: Bench, name: str, clients: int) -> dict[str, float]:
    "The same by the file that Python has allocated it for, in KiB; what C libraries take themselves is not in it."
    port = free_port()
    command = [bench.python(name), str(HERE / 'parts.py'), str(port)]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with running(command, bench.env(name), **pipes) as process:
        def ask() -> Counter[str]:
            process.stdin.write('\n')
            process.stdin.flush()
            return Counter(json.loads(process.stdout.readline()))
        until_listening(process, port, 60)
        bench.load('echo', port, '/echo', 8, 0.2, 1, 0, MESSAGE)
        had = ask()
        with held(bench, port, clients): has = ask()
    return {file: (size - had[file]) / clients / 1024 for file, size in has.items()}


def import_time(bench: Bench, name: str, module: str) -> float:
    "Milliseconds of CPU time above the interpreter's start."
    def run(code: str) -> float:
        had = getrusage(RUSAGE_CHILDREN)
        subprocess.run([bench.python(name), '-c', code], check=True, env=bench.env(name))
        has = getrusage(RUSAGE_CHILDREN)
        return (has.ru_utime + has.ru_stime - had.ru_utime - had.ru_stime) * 1e3
    return run(f'import {module}') - run('pass')


def first_page(bench: Bench, name: str) -> dict[str, float]:
    "Milliseconds from the interpreter's start to the first page, all imports included, by the parts that are known."
    port = free_port()
    command = bench.command('start.py', name, port)
    with tempfile.TemporaryFile('w+') as out:
        begun = time.monotonic()
        with running(command, bench.env(name), stdin=subprocess.PIPE, stdout=out) as process:
            while process.poll() is None and time.monotonic() - begun < 60:
                try:
                    with urlopen(f'http://127.0.0.1:{port}/', timeout=10) as answer: answer.read()
                except OSError: time.sleep(0.005)
                else: break
            else: return {}
            ended = time.monotonic()
            process.stdin.close() # It ends when `serve()` has returned
            with suppress(subprocess.TimeoutExpired): process.wait(3)
        out.seek(0)
        said = [line for line in out if line.startswith(('imports ', 'app ', 'serve() '))]
    return start_parts(said, begun, ended)


def swap_time() -> float:
    "Microseconds from a decorator to a table with the new handler in it, in an app of 20 routes."
    from nbws.app import App
    app = App()
    for i in range(20): app.get(f'/{i}')(lambda: 'hi')
    def again() -> float:
        begun = time.perf_counter()
        @app.get('/0')
        def handler() -> str: return 'hello'
        return (time.perf_counter() - begun) * 1e6
    return median(again() for _ in range(200))


def busy_kernel(bench: Bench, name: str) -> dict[str, float]:
    "Round trips beside a busy main thread in ms, and what the server costs that thread in percent."
    port, fanout = free_port(), '/fanout' if name in OURS else '/dict'
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryFile('w+') as out:
        with running(bench.command('kernel.py', name, port), bench.env(name), stdout=out) as process:
            until_listening(process, port, 60)
            if process.poll() is not None: raise OSError('its kernel has ended')
            spans = []
            for _ in range(3 * bench.rounds): # Many: the machine's own speed changes by more
                for what, path, clients, window, every in (('echo', '/echo', 1, 1, 25), ('fanout', fanout, 50, 1, 25),
                                                           ('echo', '/echo', 64, 1, 0)):
                    time.sleep(0.7) # Alone: what the main thread makes of it
                    result = bench.load(what, port, path, clients, 1.5, window, every, MESSAGE)
                    if not result: continue
                    kind = what if every else 'flood'
                    spans.append((kind, result['begin'], result['end']))
                    for p in ('p50', 'p99') if every else (): found[f'{kind} {p}'].append(result[p])
            time.sleep(0.7)
        out.seek(0)
        slices = [tuple(map(float, line.split())) for line in out if line.count(' ') == 2]
    speeds = [(at, n / (after - at), (had - cpu) / (after - at)) for (at, n, cpu), (after, _, had) in pairwise(slices)]
    for kind, begin, end in spans:
        during = [s for at, *s in speeds if begin <= at <= end]
        around = [s for at, *s in speeds if begin - 0.4 < at < begin - 0.1 or end + 0.1 < at < end + 0.4]
        if not during or not around: continue
        for i, what in enumerate(('slower', 'time lost')):
            found[f'{kind} {what}'].append(100 - 100 * mean(s[i] for s in during) / mean(s[i] for s in around))
    return {k: median(v) for k, v in found.items()}


# ---------------------------------------------------------------- what is told


def table(head: list[str], rows: list[list[str]]) -> str:
    return '\n'.join(f'| {" | ".join(r)} |' for r in [head, ['---'] * len(head), *rows])


def table_of_parts(title: str, found: dict[str, dict[str, float]], least: float) -> str:
    """By part and build, the largest first, and all of them together. Left out are parts that are smaller than `least`;
    of two builds, those that have changed by less."""
    builds = list(found)
    def row(part: str, each: list[float]) -> list[str]:
        return [part, *(f'{x:.2f}' for x in each), *([f'{each[0] - each[1]:+.2f}'] if each[1:] else [])]
    names = {part for parts in found.values() for part in parts}
    by_part = {part: [parts.get(part, 0) for parts in found.values()] for part in names}
    rows = [row(part, each) for part, each in sorted(by_part.items(), key=lambda e: -e[1][0])
            if abs(each[0] - (each[1] if each[1:] else 0)) >= least]
    rows.append(row('all', [sum(parts.values()) for parts in found.values()]))
    return table([title, *builds, *(['difference'] if builds[1:] else [])], rows)


def chart(rates: dict[str, dict[str, Rounds]]) -> str:
    "Bars, in SVG."
    bars, y = [], 10
    shown = 'echo, 64 clients', 'fan-out to 500', '64 who all talk to all', 'HTTP, 64 clients'
    for run in [r for r in shown if 'nbws' in rates.get(r, {})]:
        bars.append(f'<text x="10" y="{y + 14}" font-weight="bold">{run}</text>')
        found = {n.partition(',')[0]: middle(rounds, 'rate') for n, rounds in rates[run].items() if n != 'C'}
        for name, rate in sorted(found.items(), key=lambda e: -e[1]):
            y += 20
            width, colour = rate / max(found.values()) * 400, '#2563eb' if name == 'nbws' else '#b8c0cc'
            bars.append(f'<text x="120" y="{y + 14}" text-anchor="end">{name}</text>'
                        f'<rect x="128" y="{y + 3}" height="14" width="{width:.0f}" fill="{colour}"/>'
                        f'<text x="{134 + width:.0f}" y="{y + 14}">{rate / 1000:.1f}k</text>')
        y += 36
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{y}" font-family="sans-serif" font-size="12">'
            f'<title>A second, on one core each</title><rect width="600" height="{y}" fill="#fff"/>'
            f'{"".join(bars)}</svg>\n')


def figure_table(title: str, found: dict[str, Rounds], workers: int = 1) -> str:
    "A row for each server: what it does, what that costs it, and how many times as good nbws is."
    late = any('late p50' in result for rounds in found.values() for result in rounds.values())
    waits = [f'ms at {SHARE:.0%}: median', '99 %'] if late else []
    spread = ['CPU of the workers, %'] if workers > 1 else []
    head = [title, 'thousands a second', 'CPU, µs each', 'nbws to it, by rate', 'by CPU', 'quartiles', *waits, *spread,
            "load's CPU, %"]
    def row(name: str, rounds: Rounds) -> list[str]:
        each = median(cpu_each(r) for r in rounds.values())
        compared = ['', '', '']
        if name != 'nbws' and (by_cpu := ratios(found.get('nbws', {}), rounds, 'CPU')):
            by_rate = ratios(found['nbws'], rounds, 'rate')[1]
            compared = [f'{by_rate:.2f} x', f'{by_cpu[1]:.2f} x', f'{by_cpu[0]:.2f} to {by_cpu[2]:.2f}']
        waits = [f'{middle(rounds, p):.2f}' for p in ('late p50', 'late p99')] if late else []
        shares = [busiest(rounds, workers)] if workers > 1 else []
        rate = f'{middle(rounds, "rate") / 1000:.1f}'
        return [name.replace(',', ' on'), rate, f'{each:.1f}', *compared, *waits, *shares,
                f'{max(r["cpu"] for r in rounds.values()):.0f}']
    return table(head, [row(*each) for each in found.items()])


def tell_throughput(bench: Bench, o: argparse.Namespace) -> None:
    print(f'''
The rate of answers (in a fan-out: of deliveries), the CPU time of the server's processes for each, and how many times
as good nbws is: above 1 it is better. Ms are round trips at {SHARE:.0%} of what the same server does at most; each
begins when its message is due by the clock, so that a stall counts. C is an echo server in C, the most that can be
measured.''')
    rates = {}
    for run, figure in FIGURES.items():
        rates[run] = measure_all(bench, figure, [n for n in (*bench.names, 'C') if n in figure.who])
        print('\n' + figure_table(run, rates[run]), flush=True)
    rows = []
    for run, peer, by, least in TARGETS:
        named = {n.partition(',')[0]: rounds for n, rounds in rates[run].items()}
        if not {'nbws', peer} <= named.keys() or not (found := ratios(named['nbws'], named[peer], by)): continue
        low, ratio, high = found
        rows.append([run, peer, by, f'{least} x', f'{ratio:.2f} x', f'{low:.2f} to {high:.2f}',
                     'yes' if ratio >= least else '**no**'])
    print('\n' + table(['target', 'peer', 'by', 'at least', 'is', 'quartiles', 'reached'], rows), flush=True)
    if o.svg: o.svg.write_text(chart(rates))


def tell_workers(bench: Bench, o: argparse.Namespace) -> None:
    where = 'two cores' if len(CORES) > 2 else 'two cores, one of which has the load, too: here the CPU time counts'
    print(f'\nTwo workers on {where}. "CPU of the workers" is how it was spread over them, the busier one first.')
    for run in ('echo, 64 clients', 'HTTP, 64 clients'):
        found = measure_all(bench, FIGURES[run], [n for n in bench.names if n in WORKERS], workers=2)
        print('\n' + figure_table(run + ', two workers', found, workers=2), flush=True)


def tell_memory(bench: Bench, o: argparse.Namespace) -> None:
    rows = []
    for n in (2000, 10_000) if o.full else (2000,):
        names = [n + ', uvloop' if n in TWO_LOOPS else n for n in bench.names]
        found = {name: idle_memory(bench, name, n) for name in names}
        rows += [[f'{name}, {n:,} sockets', 'failed' if kib is None else f'{kib:.1f}'] for name, kib in found.items()]
    print('\nKiB per idle socket (at most 3.5, and a quarter of aiohttp\'s, of 10,000)\n')
    print(table(['', 'KiB'], rows), flush=True)
    print('\nWhat of that Python has allocated, by the file that asked for it\n')
    ours = [n for n in bench.names if n in OURS]
    print(table_of_parts('KiB', {n: idle_parts(bench, n, 2000) for n in ours}, 0.02), flush=True)


def tell_kernel(bench: Bench, o: argparse.Namespace) -> None:
    found = {}
    for n in bench.names:
        try:
            if n in BOTH: found[n] = busy_kernel(bench, n)
        except OSError as e: print(f'\n{n} is left out beside a busy main thread: {e}', flush=True)
    ours = found['nbws']
    others = [n for n in found if n != 'nbws']
    rows = [[k, *(f'{found[n].get(k, float("nan")):.2f}' for n in found),
             *(f'{ours[k] / found[n][k]:.2f} x' if found[n].get(k) else '' for n in others)] for k in sorted(ours)]
    print('\nBeside a busy main thread: round trips in ms, and what the server costs that thread in percent: how much '
          'slower it is, and the CPU time that it\ndoes not have, the steadier figure. Echo and fan-out to 50: '
          '40 messages a second; flood: 64 clients without a pause. FastHTML by JupyUvi. Targets: p99 at\nmost that of '
          'before; a flood\'s time lost at most 3.\n')
    print(table(['', *found, *(f'nbws to {n}' for n in others)], rows), flush=True)


def tell_start(bench: Bench, o: argparse.Namespace) -> None:
    ours = [n for n in bench.names if n in OURS]
    modules = [*((n, m) for m in ('nbws', 'nbws.common') for n in ours), ('fasthtml', 'fasthtml.common'),
               ('aiohttp', 'aiohttp.web')]
    times, imports, starts = defaultdict(list), defaultdict(list), defaultdict(list)
    for _ in range(5):
        for n, m in modules: times[f'import {m}, {n}'].append(import_time(bench, n, m))
        for n in ours: imports[n].append(import_parts(bench.python(n), 'nbws.common', bench.env(n)))
        for n in (*ours, 'fasthtml', 'gradio'):
            if found := first_page(bench, n): starts[n].append(found)
    print('\n' + table(['', 'ms of CPU time'], [[what, f'{median(each):.0f}'] for what, each in times.items()]))
    print('\nBelow: the round that took least, as what else the machine does only adds to it\n')
    def least(rounds: list[dict[str, float]]) -> dict[str, float]: return min(rounds, key=lambda p: sum(p.values()))
    print(table_of_parts('`import nbws.common`, ms', {n: least(imports[n]) for n in ours}, 1), '\n')
    parts = {n: least(found) for n, found in starts.items()}
    print(table_of_parts('to the first page, ms', {n: parts[n] for n in ours if n in parts}, 0), '\n')
    whole = {n: sum(each.values()) for n, each in parts.items()}
    rows = [[f'all of it, {n}, ms', f'{took:.0f} ({took / whole["nbws"]:.2f} x)'] for n, took in whole.items()]
    print(table(['', ''], [*rows, ['hot swap of a handler, µs', f'{swap_time():.0f}']]), flush=True)


TELL = {'throughput': tell_throughput, 'workers': tell_workers, 'memory': tell_memory, 'kernel': tell_kernel,
        'start': tell_start}


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.bench', description=__doc__)
    options.add_argument('--rounds', type=int, default=3, help='interleaved runs of each figure')
    options.add_argument('--seconds', type=float, default=1.0, help='of a run')
    options.add_argument('--only', choices=TELL, help='a part of it')
    options.add_argument('--servers', default=';'.join(SERVERS), help='divided by semicolons')
    options.add_argument('--before', type=Path, help='another checkout of nbws, beside this one')
    options.add_argument('--full', action='store_true', help='memory at 10,000 sockets, too')
    options.add_argument('--svg', type=Path, help='write the plot here')
    o = options.parse_args()
    if not sys.platform.startswith('linux') or not shutil.which('gcc'): sys.exit('the benchmark needs Linux and gcc')
    names = [n for n in o.servers.split(';') if n != 'before' or o.before]
    if unknown := set(names) - set(SERVERS): options.error(f'no such servers: {unknown}')
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / 'load'
        subprocess.run(['gcc', '-O2', '-o', binary, HERE / 'load.c'], check=True)
        before = o.before and o.before.resolve()
        bench = Bench(binary, before, names, o.rounds, o.seconds, pythons())
        for part in [o.only] if o.only else TELL: TELL[part](bench, o)


if __name__ == '__main__': main()
