"""nbws beside its peers, in one run: `python -m tests.bench`, `make bench`. Linux, with gcc; not a part of `make test`.

Each figure is the median of interleaved runs, so that what else the machine does hits all alike; only ratios within
one run count. Servers are on one core, the load on another. The load is a client in C (`load.c`), and is checked twice:
its CPU use is in the table (100% would mean that the client is the limit), and so is an echo server in C, the most
that it can measure."""

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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any
from urllib.request import urlopen

import psutil

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PEERS = ('python-fasthtml', 'tremolo', 'starlette', 'uvicorn[standard]', 'aiohttp', 'websockets', 'picows', 'tornado',
         'gradio', 'panel', 'marimo', 'matplotlib', 'ipython')
MESSAGE = '{"msg": "hello, this is a message of some words"}'
# FastHTML, Starlette (both on uvicorn) and Tremolo choose uvloop themselves, as nbws does. The others run on both
# loops, and each figure of theirs is the better one's.
TWO_LOOPS = ('aiohttp', 'picows', 'websockets', 'tornado')
SERVERS = ('nbws', 'fasthtml', 'starlette', *(f'{n}{loop}' for n in TWO_LOOPS for loop in ('', ', uvloop')), 'tremolo')
RAW = set(SERVERS) - {'tremolo'} # Tremolo stalls in a fan-out
HTTP = {n for n in SERVERS if not n.startswith(('picows', 'websockets'))}
BOTH = {'nbws', 'fasthtml'}

# What is measured: mode, path, clients, window, and who takes part
RUNS: dict[str, tuple[str, str, int, int, set[str]]] = {
    'echo, 1 client': ('echo', '/echo', 1, 1, set(SERVERS) | {'C'}),
    'echo, 64 clients': ('echo', '/echo', 64, 1, set(SERVERS) | {'C'}),
    'sync handler, 64 clients': ('echo', '/echo_sync', 64, 1, BOTH),
    'fan-out to 10': ('fanout', '/fanout', 10, 2, RAW),
    'fan-out to 500': ('fanout', '/fanout', 500, 2, RAW),
    'fan-out to 500, a dict of sends': ('fanout', '/dict', 500, 2, BOTH),
    '64 who all talk to all': ('talk', '/fanout', 64, 1, RAW),
    'HTTP, 64 clients': ('http', '/', 64, 1, HTTP),
    'HTTP, sync handler': ('http', '/sync', 64, 1, BOTH),
}
# The targets: figure, of whom, at least this many times the peer's
TARGETS = [('echo, 64 clients', 'fasthtml', 6), ('echo, 64 clients', 'aiohttp', 1), ('fan-out to 500', 'fasthtml', 6),
           ('fan-out to 500', 'aiohttp', 1), ('fan-out to 500', 'picows', 0.95), ('HTTP, 64 clients', 'fasthtml', 10),
           ('HTTP, 64 clients', 'aiohttp', 1.2), ('sync handler, 64 clients', 'fasthtml', 5)]

CORES = sorted(os.sched_getaffinity(0)) # The first is for servers, the last for the load

# ---------------------------------------------------------------- processes


def pythons() -> dict[str, str]:
    "Our Python and the peers', in a venv of its own that is made when it is missing; `NBWS_BENCH_PEERS` names another."
    venv = Path(os.environ.get('NBWS_BENCH_PEERS') or ROOT / '.venv-bench')
    if not (venv / 'bin/python').exists():
        print(f'making {venv.name} with the peers: {", ".join(PEERS)}', file=sys.stderr)
        subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
        subprocess.run([venv / 'bin/pip', 'install', '-q', *PEERS], check=True)
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


@contextmanager
def server(command: list[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    "A process that listens on the port that is added to its command."
    port = free_port()
    os.sched_setaffinity(0, {CORES[0]}) # Handed down
    try: process = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally: os.sched_setaffinity(0, CORES)
    try:
        until_listening(process, port, 15)
        if process.poll() is not None: raise OSError(f'{command} has ended')
        yield port, process
    finally:
        process.kill()
        process.wait()


def load(binary: Path, *args: object) -> dict[str, Any] | None:
    "A run of the client; None where the server failed."
    command = ['taskset', '-c', str(CORES[-1]), str(binary), *map(str, args)]
    try: ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired: return None
    return json.loads(ran.stdout) if ran.returncode == 0 else None


# ---------------------------------------------------------------- what is measured


def throughput(binary: Path, python: dict[str, str], names: list[str], rounds: int,
               seconds: float) -> dict[str, dict[str, Any]]:
    "By run and server: the median rate, the rate in each round, and the client's CPU at its highest."
    found: dict[str, dict[str, dict[int, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for run, (mode, path, clients, window, who) in RUNS.items():
        for turn in range(rounds):
            for name in [n for n in (*names, 'C') if n in who]:
                command = [str(binary), 'serve'] if name == 'C' else [python[name], str(HERE / 'servers.py'), name]
                with server(command) as (port, _process):
                    text = MESSAGE if mode != 'http' else ''
                    result = load(binary, mode, port, path, clients, seconds, window, 0, text)
                if result: found[run][name][turn] = result
        print(f'  {run}', file=sys.stderr)
    return {run: {n: {'rate': median(r['rate'] for r in rs.values()), 'rates': {k: r['rate'] for k, r in rs.items()},
                      'cpu': max(r['cpu'] for r in rs.values())} for n, rs in by.items()} for run, by in found.items()}


def best(rates: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    "By run and peer: what it did on the loop that is better for it there."
    def better(by: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, x in sorted(by.items(), key=lambda e: e[1]['rate']): found[name.partition(',')[0]] = x
        return {n: found[n] for n in dict.fromkeys(n.partition(',')[0] for n in by)}
    return {run: better(by) for run, by in rates.items()}


def ratios(ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    "Quartiles of the ratios within a round: what slows the machine for a while slows both."
    pairs = [ours[turn] / theirs[turn] for turn in ours.keys() & theirs.keys()]
    return quantiles(pairs, n=4, method='inclusive') if len(pairs) > 1 else pairs * 3


def resident(pid: int) -> int:
    "KiB that a process and its workers have in memory."
    parent = psutil.Process(pid)
    return int(sum(p.memory_info().rss for p in (parent, *parent.children(recursive=True))) // 1024)


def idle_memory(binary: Path, python: dict[str, str], name: str, clients: int) -> float | None:
    "KiB per open socket that says nothing."
    with server([python[name], str(HERE / 'servers.py'), name]) as (port, process):
        load(binary, 'echo', port, '/echo', 8, 0.2, 1, 0, MESSAGE) # What the first ones cost is not theirs
        before = resident(process.pid)
        command = [str(binary), 'idle', str(port), '/echo', str(clients)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            opened = holder.stdout and holder.stdout.readline()
            return (resident(process.pid) - before) / clients if opened else None
        finally: holder.communicate()


def import_time(python: str, module: str) -> float:
    "Milliseconds above the interpreter's start."
    def run(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([python, '-c', code], check=True, cwd=ROOT)
        return (time.perf_counter() - begun) * 1e3
    return median(run(f'import {module}') - run('pass') for _ in range(5))


def first_page(python: str, name: str) -> float | None:
    "Milliseconds from the interpreter's start to the first page, all imports included; None where it does not start."
    port, begun = free_port(), time.perf_counter()
    offline = {**os.environ, 'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_OFFLINE': '1', 'PYTHONPATH': str(ROOT)}
    command = [python, str(HERE / 'start.py'), name, str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=offline)
    try:
        while process.poll() is None and time.perf_counter() - begun < 60:
            try:
                with urlopen(f'http://127.0.0.1:{port}/', timeout=10) as answer: answer.read()
            except OSError: time.sleep(0.005)
            else: return (time.perf_counter() - begun) * 1e3
        return None
    finally:
        process.kill()
        process.communicate()


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


def busy_kernel(binary: Path, python: dict[str, str], name: str, rounds: int) -> dict[str, float]:
    "Round trips beside a busy main thread in ms, and what the server costs that thread in percent."
    port, fanout = free_port(), '/fanout' if name == 'nbws' else '/dict'
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryFile('w+') as out:
        command = [python[name], str(HERE / 'kernel.py'), name, str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            time.sleep(3)
            spans = []
            for _ in range(3 * rounds): # Many: the machine's own speed changes by more
                for what, path, clients, window, every in (('echo', '/echo', 1, 1, 25), ('fanout', fanout, 50, 1, 25),
                                                           ('echo', '/echo', 64, 1, 0)):
                    time.sleep(0.7) # Alone: what the main thread makes of it
                    result = load(binary, what, port, path, clients, 1.5, window, every, MESSAGE)
                    if not result: continue
                    kind = what if every else 'flood'
                    spans.append((kind, result['begin'], result['end']))
                    for p in ('p50', 'p99') if every else (): found[f'{kind} {p}'].append(result[p])
            time.sleep(0.7)
        finally:
            process.kill()
            process.wait()
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


def chart(rates: dict[str, dict[str, Any]]) -> str:
    "Bars, in SVG."
    bars, y = [], 10
    shown = 'echo, 64 clients', 'fan-out to 500', '64 who all talk to all', 'HTTP, 64 clients'
    for run in [r for r in shown if 'nbws' in rates.get(r, {})]:
        bars.append(f'<text x="10" y="{y + 14}" font-weight="bold">{run}</text>')
        most = max(x['rate'] for n, x in rates[run].items() if n != 'C')
        for name, x in sorted(rates[run].items(), key=lambda e: -e[1]['rate']):
            if name == 'C': continue
            y += 20
            width, colour = x['rate'] / most * 400, '#2563eb' if name == 'nbws' else '#b8c0cc'
            bars.append(f'<text x="120" y="{y + 14}" text-anchor="end">{name}</text>'
                        f'<rect x="128" y="{y + 3}" height="14" width="{width:.0f}" fill="{colour}"/>'
                        f'<text x="{134 + width:.0f}" y="{y + 14}">{x["rate"] / 1000:.1f}k</text>')
        y += 36
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{y}" font-family="sans-serif" font-size="12">'
            f'<title>A second, on one core each</title><rect width="600" height="{y}" fill="#fff"/>'
            f'{"".join(bars)}</svg>\n')


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.bench', description=__doc__)
    options.add_argument('--rounds', type=int, default=3, help='interleaved runs of each figure')
    options.add_argument('--seconds', type=float, default=1.0, help='of a run')
    options.add_argument('--only', choices=('throughput', 'memory', 'kernel', 'rest'), help='a part of it')
    options.add_argument('--servers', default=';'.join(SERVERS), help='divided by semicolons')
    options.add_argument('--full', action='store_true', help='memory at 10,000 sockets, too')
    options.add_argument('--svg', type=Path, help='write the plot here')
    o = options.parse_args()
    if not sys.platform.startswith('linux') or not shutil.which('gcc'): sys.exit('the benchmark needs Linux and gcc')
    python, names = pythons(), o.servers.split(';')
    parts = [o.only] if o.only else ['throughput', 'memory', 'kernel', 'rest']
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / 'load'
        subprocess.run(['gcc', '-O2', '-o', binary, HERE / 'load.c'], check=True)
        for part in parts: globals()[f'tell_{part}'](binary, python, names, o)


def tell_throughput(binary: Path, python: dict[str, str], names: list[str], o: argparse.Namespace) -> None:
    rates = throughput(binary, python, names, o.rounds, o.seconds)
    def cell(run: str, name: str) -> str:
        x = rates[run].get(name)
        return f'{x["rate"] / 1000:.1f} ({x["cpu"]:.0f}%)' if x else ''
    print('\nThousands a second (in brackets: the load client\'s CPU; C is an echo server in C)\n')
    print(table(['', *rates], [[n, *(cell(run, n) for run in rates)] for n in (*names, 'C')]), '\n')
    rates = best(rates)
    print('The same, each peer on its better loop\n')
    peers = dict.fromkeys(n.partition(',')[0] for n in names)
    print(table(['', *rates], [[n, *(cell(run, n) for run in rates)] for n in peers]), '\n')
    rows = []
    for run, peer, at_least in TARGETS:
        if not {'nbws', peer} <= rates.get(run, {}).keys(): continue
        found = ratios(rates[run]['nbws']['rates'], rates[run][peer]['rates'])
        if not found: continue
        low, ratio, high = found
        rows.append([run, peer, f'{at_least} x', f'{ratio:.2f} x', f'{low:.2f} to {high:.2f}',
                     'yes' if ratio >= at_least else '**no**'])
    print(table(['figure', 'peer', 'at least', 'is', 'quartiles', 'reached'], rows), flush=True)
    if o.svg: o.svg.write_text(chart(rates))


def tell_memory(binary: Path, python: dict[str, str], names: list[str], o: argparse.Namespace) -> None:
    rows = []
    for n in (2000, 10_000) if o.full else (2000,):
        found = {name: idle_memory(binary, python, name, n) for name in names}
        rows += [[f'{name}, {n:,} sockets', f'{kib:.1f}'] for name, kib in found.items() if kib is not None]
    print('\nKiB per idle socket (at most 5, and a quarter of FastHTML\'s)\n')
    print(table(['', 'KiB'], rows), flush=True)


def tell_kernel(binary: Path, python: dict[str, str], names: list[str], o: argparse.Namespace) -> None:
    ours, theirs = (busy_kernel(binary, python, n, o.rounds) for n in ('nbws', 'fasthtml'))
    rows = [[k, f'{ours[k]:.2f}', f'{theirs.get(k, 0):.2f}', f'{ours[k] / theirs[k]:.2f} x' if theirs.get(k) else '']
            for k in sorted(ours)]
    print('\nBeside a busy main thread: round trips in ms, and what the server costs that thread in percent: how much '
          'slower it is, and the CPU time that it\ndoes not have, the steadier figure. Echo and fan-out to 50: '
          '40 messages a second; flood: 64 clients without a pause. Targets: p99 1/8\n(0.125) for the echo, 1/16 '
          '(0.0625) for the fan-out; cost at most 3, in a flood 15.\n')
    print(table(['', 'nbws', 'JupyUvi', 'nbws to JupyUvi'], rows), flush=True)


def tell_rest(binary: Path, python: dict[str, str], names: list[str], o: argparse.Namespace) -> None:
    modules = ('nbws', 'nbws'), ('nbws', 'nbws.common'), ('fasthtml', 'fasthtml.common'), ('aiohttp', 'aiohttp.web')
    rows = [[f'import {m}, ms', f'{import_time(python[n], m):.0f}'] for n, m in modules]
    starts = {n: [first_page(python[n], n) for _ in range(5)] for n in ('nbws', 'fasthtml', 'gradio')}
    ours = median(t for t in starts['nbws'] if t)
    for n, times in starts.items():
        if found := [t for t in times if t]:
            ratio = f'{median(found):.0f} ({median(found) / ours:.2f} x)'
            rows.append([f'from nothing to the first page, {n}, ms', ratio])
    rows.append(['hot swap of a handler, µs', f'{swap_time():.0f}'])
    print('\n' + table(['', ''], rows), flush=True)


if __name__ == '__main__': main()
