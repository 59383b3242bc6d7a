"""Abuse, outside CI: what a few hostile visitors cost the server, and everybody else.

    python -m tests.abuse [--only NAME,NAME] [--servers own;wrapped;asgi;bounded;uvicorn;...]

Each abuse runs for some seconds against the same small app: nbws on its own server, there with ASGI middleware around
it (`wrapped`), under uvicorn, under uvicorn with the options that SECURITY.md advises (`bounded`), and in a kernel
behind a real Jupyter server; as aiohttp and Starlette on uvicorn write it; and, for what is not ours, under uvicorn as
an app that keeps nothing and does next to nothing, and against a Jupyter server's own pages. Meanwhile another visitor
asks for a page on a new connection, again and again. The table tells how much memory an abuser took at the highest, how
many descriptors the server had open, and how long the other visitor waited in the worst hundredth. A long wait counts
for each who would have come while it lasted: else one that lasts for seconds is a single visit among the few that there
was time for, and says nothing.

Ends with exit code 1 where nbws costs more than `MEMORY` or `WAIT`. What uvicorn takes under the app that does nothing,
and Jupyter for its own pages, it takes with nbws, too: such a cell is marked, and fails where it is more than twice
that of the same run. All traffic stays on 127.0.0.1; every abuse is bounded in connections and in time.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ..bench.__main__ import pythons

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
sys.path.insert(0, str(ROOT/'tests'))  # As pytest has it

from jupyters import Jupyter, Kernel

MEMORY = 16  # MiB that one abuser may cost
WAIT = 250  # ms that another visitor may wait in the worst hundredth
SECONDS = 5.0  # of an abuse
EVERY = 50.0  # ms between two visits
MIB = 2**20


# ---------------------------------------------------------------- a server, and the way to it


@dataclass
class Target:
    "Where a server is reached, and which processes it is."
    port: int
    processes: list[psutil.Process]
    base: str = ''  # Before each path
    cookie: str = ''  # What Jupyter wants to see
    home: str = '/'  # What another visitor asks for
    held: list[socket.socket] = field(default_factory=list)  # Connections of abusers, to the end of the abuse

    def connect(self) -> socket.socket:
        s = socket.create_connection(('127.0.0.1', self.port), timeout=SECONDS)
        self.held.append(s)
        return s

    def head(self, method: str, path: str, *fields: str) -> bytes:
        login = [f'Cookie: {self.cookie}'] if self.cookie else []
        lines = [f'{method} {self.base}{path} HTTP/1.1', f'Host: 127.0.0.1:{self.port}', *login, *fields, '', '']
        return '\r\n'.join(lines).encode()

    def websocket(self, path: str, deflate: bool = False) -> socket.socket:
        s = self.connect()
        fields = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
                  f'Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}']
        if deflate: fields.append('Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover')
        s.sendall(self.head('GET', path, *fields))
        data = b''
        while b'\r\n\r\n' not in data:
            piece = s.recv(4096)
            if not piece: raise ConnectionError(data.decode('latin-1'))
            data += piece
        if b' 101 ' not in data.split(b'\r\n')[0]: raise ConnectionError(data.decode('latin-1')[:80])
        return s

    def release(self) -> None:
        for s in self.held: s.close()
        self.held.clear()

    def memory(self) -> float: return sum(p.memory_info().rss for p in self.processes) / MIB
    def descriptors(self) -> int: return sum(p.num_fds() for p in self.processes)


def frame(opcode: int, payload: bytes, compressed: bool = False, last: bool = True) -> bytes:
    "A masked frame with the mask 0."
    n = len(payload)
    if n < 126: length = bytes([128 | n])
    else: length = b'\xfe' + struct.pack('>H', n) if n < 65536 else b'\xff' + struct.pack('>Q', n)
    return bytes([last << 7 | opcode | (64 if compressed else 0)]) + length + bytes(4) + payload


def deflated(payload: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


# ---------------------------------------------------------------- abuses: each gets a target, and a deadline


def until_full(s: socket.socket, data: bytes, end: float) -> None:
    "Write again and again, as fast as the other side takes it."
    s.settimeout(0.2)
    at, view = 0, memoryview(data)
    with suppress(OSError):
        while time.monotonic() < end:
            with suppress(TimeoutError): at = (at + s.send(view[at:])) % len(data)


def together(n: int, one: Callable[[], Any]) -> int:
    "So many abusers at a time."
    def quietly() -> None:
        with suppress(OSError): one()
    threads = [threading.Thread(target=quietly, daemon=True) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join(SECONDS + 10)
    return n


def inflated_messages(to: Target, end: float) -> int:
    "1. Compressed messages of 9 MiB to a handler that is busy with the first."
    bomb = frame(1, deflated(b'"' + b'x' * (9 * MIB) + b'"'), compressed=True)
    return together(3, lambda: until_full(to.websocket('/busy', deflate=True), bomb, end))


def small_messages(to: Target, end: float) -> int:
    "1. The same with messages of 64 KiB, uncompressed."
    return together(3, lambda: until_full(to.websocket('/busy'), frame(1, b'x' * 65536) * 16, end))


def fragments(to: Target, end: float) -> int:
    "1. Messages of 9 MiB in fragments of 100 bytes, to the same."
    piece = b'x' * 100
    middle = frame(0, piece, last=False) * (9 * MIB // len(piece) - 2)
    message = frame(1, piece, last=False) + middle + frame(0, piece)
    return together(3, lambda: until_full(to.websocket('/busy'), message, end))


def refused_messages(to: Target, end: float) -> int:
    "1. Messages of 64 KiB that are no JSON, to a handler that wants JSON."
    return together(3, lambda: until_full(to.websocket('/said'), frame(1, b'x' * 65536) * 16, end))


def many_fields(to: Target, end: float) -> int:
    "2. A form of 16 MiB with a field each four bytes."
    body = b'a=1&' * (4 * MIB)
    def one() -> None:
        s = to.connect()
        kind = 'Content-Type: application/x-www-form-urlencoded'
        s.sendall(to.head('POST', '/form', kind, f'Content-Length: {len(body)}'))
        until_full_once(s, body, end)
    return together(2, one)


def until_full_once(s: socket.socket, body: bytes, end: float) -> None:
    s.settimeout(max(end - time.monotonic(), 0.1))
    s.sendall(body)
    s.recv(1000)


def deep_json(to: Target, end: float) -> int:
    "2. JSON of 100,000 levels, and numbers of 100,000 digits."
    def one() -> None:
        for body in b'[' * 100_000, b'[' + b'9' * 100_000 + b']':
            s = to.connect()
            s.sendall(to.head('POST', '/json', 'Content-Type: application/json', f'Content-Length: {len(body)}'))
            until_full_once(s, body, end)
    return together(3, one)


OBJECTS = b'[' + b'{},' * (MIB // 3 - 20) + b'{}]'  # Just under 1 MiB


def crowded_bodies(to: Target, end: float) -> int:
    "2. JSON of 350,000 objects in 1 MiB, one after the other."
    return posts(to, end, 2, '/json', 'application/json', OBJECTS)


def crowded_messages(to: Target, end: float) -> int:
    "2. The same as messages."
    return together(2, lambda: until_full(to.websocket('/said'), frame(1, b'{"data":' + OBJECTS + b'}'), end))


ESCAPED = b'a=' + b'%41' * (MIB // 3 - 10)
CUT = b'["' + rb'\ud83d' * (MIB // 6 - 10) + b'"]'


def posts(to: Target, end: float, n: int, path: str, kind: str, body: bytes) -> int:
    "So many at a time post this, again and again."
    def one() -> None:
        while time.monotonic() < end:
            s = to.connect()
            s.sendall(to.head('POST', path, f'Content-Type: {kind}', f'Content-Length: {len(body)}'))
            until_full_once(s, body, end)
            s.close()
            to.held.remove(s)
    return together(n, one)


def escaped_forms(to: Target, end: float) -> int:
    "2. Ten at once post a form of 1 MiB that is all percent signs."
    return posts(to, end, 10, '/form', 'application/x-www-form-urlencoded', ESCAPED)


def escaped_bodies(to: Target, end: float) -> int:
    "2. Ten at once post JSON of 1 MiB that is all escapes of half a character."
    return posts(to, end, 10, '/json', 'application/json', CUT)


def escaped_messages(to: Target, end: float) -> int:
    "2. Such JSON as messages, of ten sockets at once."
    return together(10, lambda: until_full(to.websocket('/said'), frame(1, b'{"data":' + CUT + b'}'), end))


def small_chunks(to: Target, end: float) -> int:
    "3. A body in chunks of one byte."
    def one() -> None:
        s = to.connect()
        kind = 'Content-Type: application/x-www-form-urlencoded'
        s.sendall(to.head('POST', '/form', kind, 'Transfer-Encoding: chunked'))
        until_full(s, b'1\r\nx\r\n' * 40_000, end)
    return together(3, one)


def trailers(to: Target, end: float) -> int:
    "3. A chunked body that is followed by 8 MiB of trailers."
    def one() -> None:
        s = to.connect()
        s.sendall(to.head('POST', '/form', 'Transfer-Encoding: chunked') + b'0\r\n')
        until_full_once(s, b'x: y\r\n' * (8 * MIB // 6), end)
    return together(2, one)


def unread_pongs(to: Target, end: float) -> int:
    "4. Pings from a client that reads nothing."
    return together(3, lambda: until_full(to.websocket('/ws'), frame(9, b'x' * 125) * 500, end))


def unread_echoes(to: Target, end: float) -> int:
    "4. Messages that are echoed to a client that reads nothing."
    return together(3, lambda: until_full(to.websocket('/ws'), frame(1, b'x' * 60_000) * 16, end))


def unread_answers(to: Target, end: float) -> int:
    "4. Requests, one after the other, from a client that reads nothing."
    return together(3, lambda: until_full(to.connect(), to.head('GET', '/') * 500, end))


def pipelined_requests(to: Target, end: float) -> int:
    "4. Requests without end, from a client that reads."
    def one() -> None:
        s = to.connect()
        reading = threading.Thread(target=until_empty, args=[s, end])
        reading.start()
        until_full(s, to.head('GET', '/') * 2000, end)
        reading.join()
    return together(3, one)


def until_empty(s: socket.socket, end: float) -> None:
    with suppress(OSError):
        while time.monotonic() < end:
            with suppress(TimeoutError):
                if not s.recv(MIB): return


def ask_and_leave(to: Target, end: float) -> int:
    "5. Ask for what takes a minute, and leave."
    for _ in range(200):
        if time.monotonic() > end: break
        with suppress(OSError):
            s = to.connect()
            s.sendall(to.head('GET', '/slow'))
            s.close()
    to.held.clear()
    time.sleep(max(end - time.monotonic(), 0))
    return 200


def slow_bodies(to: Target, end: float) -> int:
    "6. Forty bodies that never end, to a WSGI app where there is one."
    def one() -> None:
        s = to.connect()
        s.sendall(to.head('POST', '/wsgi/', 'Content-Length: 1000000'))
        while time.monotonic() < end:
            s.sendall(b'x')
            time.sleep(0.2)
    return together(40, one)


def held_threads(to: Target, end: float) -> int:
    "7. Forty visitors of a handler that blocks its thread, who have left."
    for _ in range(40):
        with suppress(OSError):
            s = to.connect()
            s.sendall(to.head('GET', '/hold'))
            s.close()
    to.held.clear()
    time.sleep(max(end - time.monotonic(), 0))
    return 40


def hostile_paths(to: Target, end: float) -> int:
    "8. Paths of 4,000 hyphens, for a pattern with three wildcards."
    def one() -> None:
        while time.monotonic() < end:
            s = to.connect()
            s.sendall(to.head('GET', '/' + '-' * 4000))
            s.recv(1000)
            s.close()
            to.held.remove(s)
    return together(2, one)


def rooms(to: Target, end: float) -> int:
    "10. A room of a name of its own for each of 500 sockets, one after the other."
    for i in range(500):
        if time.monotonic() > end: break
        with suppress(OSError):
            to.websocket(f'/room/{i}-{"x" * 500}').close()
    to.held.clear()
    return 1


ABUSES = (inflated_messages, small_messages, fragments, refused_messages, many_fields, deep_json, crowded_bodies,
          crowded_messages, escaped_forms, escaped_bodies, escaped_messages, small_chunks, trailers, unread_pongs,
          unread_echoes, unread_answers, pipelined_requests, ask_and_leave, slow_bodies, held_threads, hostile_paths,
          rooms)
SERVERS = ('own', 'wrapped', 'asgi', 'bounded', 'uvicorn', 'proxied', 'jupyter', 'aiohttp', 'starlette')
OURS = ('own', 'wrapped', 'asgi', 'proxied')
BELOW = {'asgi': 'uvicorn', 'proxied': 'jupyter'}  # The server that is asked first
HERE_TOO = (*OURS, 'bounded', *BELOW.values())  # In the same environment, so that `asgi` and `uvicorn` are one uvicorn
PYTHONS: dict[str, str] = {}  # The peers have an environment of their own


# ---------------------------------------------------------------- running them


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return int(s.getsockname()[1])


@contextmanager
def running(name: str) -> Iterator[Target]:
    if name in ('proxied', 'jupyter'):
        with jupyters(name) as target: yield target
        return
    port = free_port()
    process = subprocess.Popen([PYTHONS[name], str(HERE/'servers.py'), name, str(port)], cwd=ROOT,
                               env={**os.environ, 'PYTHONPATH': str(ROOT)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield Target(port, [psutil.Process(process.pid)])
    finally:
        process.kill()
        process.wait()


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as s:
            if not s.connect_ex(('127.0.0.1', port)): return
        time.sleep(0.05)
    raise TimeoutError(f'nothing listens on port {port}')


@contextmanager
def jupyters(name: str) -> Iterator[Target]:
    "The app in a kernel, through the extension of a real Jupyter server; or that server's own pages."
    with tempfile.TemporaryDirectory() as home:
        jupyter = Jupyter(Path(home), '/', '--ServerApp.jpserver_extensions=nbws.jupyter.extension=True')
        try:
            if name == 'jupyter':
                process = [psutil.Process(jupyter.process.pid)]
                yield Target(jupyter.port, process, cookie=jupyter.log_in(), home='/api/status')
                return
            kernel = Kernel(jupyter)
            kernel.run('from tests.abuse.servers import nbws_app\nfrom nbws.common import serve')
            kernel.run('app = nbws_app()\nserve()')
            pid = int(kernel.run('import os; print(os.getpid())'))
            both = [psutil.Process(jupyter.process.pid), psutil.Process(pid)]
            yield Target(jupyter.port, both, kernel.base, jupyter.log_in())
        finally: jupyter.stop()


class Visitor:
    "Somebody else: asks for a page on a new connection, twenty times a second, and watches the server."
    def __init__(self, target: Target) -> None:
        self.target, self.waits, self.failed = target, [], 0  # type: ignore[var-annotated]
        self.memory, self.descriptors = target.memory(), target.descriptors()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._ask, self._watch)]
        for t in self._threads: t.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            begun = time.perf_counter()
            connection = http.client.HTTPConnection('127.0.0.1', self.target.port, timeout=20)
            try:
                fields = {'Cookie': self.target.cookie} if self.target.cookie else {}
                connection.request('GET', f'{self.target.base}{self.target.home}', headers=fields)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200: self.failed += 1
            except OSError: self.failed += 1
            finally: connection.close()
            waited = (time.perf_counter() - begun) * 1e3
            while waited > 0:
                self.waits.append(waited)
                waited -= EVERY
            self._over.wait(EVERY / 1e3)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            with suppress(psutil.Error):
                self.memory = max(self.memory, self.target.memory())
                self.descriptors = max(self.descriptors, self.target.descriptors())

    def leave(self) -> None:
        self._over.set()
        for t in self._threads: t.join(30)


@dataclass
class Result:
    memory: float  # MiB an abuser
    descriptors: int  # more than before, at the most
    wait: float  # ms in the worst hundredth
    failed: int  # of the visitor's requests

    def __str__(self) -> str:
        failed = f', {self.failed} failed' if self.failed else ''
        return f'{self.memory:.1f} MiB, {self.descriptors} fd, {self.wait:.0f} ms{failed}'

    @property
    def bearable(self) -> bool: return self.within(MEMORY, WAIT, 0)

    def within(self, memory: float, wait: float, failed: int) -> bool:
        return self.memory <= memory and self.wait <= wait and self.failed <= failed

    def comes_from(self, server: Result) -> bool:
        "Whether it is what the server below costs itself, give or take what two runs differ by."
        return self.within(max(MEMORY, 2 * server.memory), max(WAIT, 2 * server.wait), 2 * server.failed)


def run(name: str, abuse: Callable[[Target, float], int]) -> Result:
    with running(name) as target, ExitStack() as stack:
        stack.callback(target.release)
        for _ in range(20):  # What the first requests cost is nobody's fault
            with closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=20)) as c:
                login = {'Cookie': target.cookie} if target.cookie else {}
                c.request('GET', f'{target.base}{target.home}', headers=login)
                c.getresponse().read()
        memory, descriptors = target.memory(), target.descriptors()
        visitor = Visitor(target)
        n = abuse(target, time.monotonic() + SECONDS)
        time.sleep(0.5)
        visitor.leave()
        worst = statistics.quantiles([*visitor.waits, 0.0], n=100, method='inclusive')[98]
        return Result((visitor.memory - memory) / n, visitor.descriptors - descriptors, worst, visitor.failed)


def main() -> int:
    options = argparse.ArgumentParser(prog='python -m tests.abuse', description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--only', help='abuses by their names: ' + ', '.join(a.__name__ for a in ABUSES))
    options.add_argument('--servers', default=';'.join(SERVERS))
    o = options.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    names, bad = o.servers.split(';'), []
    PYTHONS.update(dict.fromkeys(HERE_TOO, sys.executable) | {n: pythons()[n] for n in names if n not in HERE_TOO})
    print('Of each abuser: memory; descriptors; how long another visitor waited, 99th percentile\n')
    print('| |', ' | '.join(names), '|\n|---|' + '---|' * len(names), flush=True)
    for abuse in ABUSES:
        if o.only and abuse.__name__ not in o.only.split(','): continue
        results: dict[str, Result | Exception] = {}
        for name in names:
            try: results[name] = run(name, abuse)
            except Exception as e: results[name] = e
        cells = [f'{r}' if isinstance(r, Result) else f'{type(r).__name__}: {r}' for r in results.values()]
        for i, (name, r) in enumerate(results.items()):
            if name not in OURS or (isinstance(r, Result) and r.bearable): continue
            below = results.get(BELOW.get(name, ''))
            if isinstance(r, Result) and isinstance(below, Result) and r.comes_from(below):
                cells[i] += f" ({BELOW[name]}'s)"
            else: bad.append(f'{abuse.__name__}, {name}: {cells[i]}')
        print(f'| {(abuse.__doc__ or "").rstrip(".")} |', ' | '.join(cells), '|', flush=True)
    for line in bad: print('over the limit:', line)
    return bool(bad)


if __name__ == '__main__': sys.exit(main())
