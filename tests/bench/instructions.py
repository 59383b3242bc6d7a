"""How many instructions an echo and a page take, or with `--rooms` a message: `python -m tests.bench.instructions`.

For those who work on a noisy machine: rates differ by a fifth from run to run there, counts by one in a hundred.
callgrind (Debian's `valgrind`) counts what the server's process does in user space; what the kernel does is not in it.
Each figure is that of the bench's app (`servers.py`) on uvloop; the compressed echo is as browsers send it, who offer
permessage-deflate and then compress whatever they send. Other checkouts stand beside this one when named:

    git worktree add /tmp/before HEAD~20 && python -m tests.bench.instructions /tmp/before

The room is that of `tests.bench.rooms`: 200 members at one process, and at two that share it by a Valkey, which counts,
too. A turn is over when all have heard what is said together, as many messages as are on the way there.
"""

from __future__ import annotations

import argparse
import os
import selectors
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..chats.commands import ours
from .__main__ import MESSAGE, ROOT, free_port, table, until_listening
from .rooms import MEMBERS, TEXT, WINDOW, RedisProcess

ROUNDS = 320 # Messages that are counted
UPGRADE = ('GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
           'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n')
PACKED = 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n'
PAGE = b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'


def masked(text: str, packed: bool = False) -> bytes:
    "A frame of a client; compressed as section 7.2.1 of RFC 7692 says, each message by itself."
    payload, first = text.encode(), 0xc1 if packed else 0x81
    if packed:
        packer = zlib.compressobj(wbits=-9)
        payload = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return bytes((first, 0x80 | len(payload))) + b'\1\2\3\4' + bytes(b ^ i % 4 + 1 for i, b in enumerate(payload))


def opened(port: int, path: str, fields: str = '') -> socket.socket:
    "A socket behind its handshake."
    client = socket.create_connection(('127.0.0.1', port), 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(UPGRADE.format(path, fields).encode())
    head = b''
    while not head.endswith(b'\r\n\r\n'): head += client.recv(1)
    return client


CALLGRIND = 'valgrind', '--tool=callgrind', '--instr-atstart=no'


class Counted:
    "A process under callgrind, which writes into a folder."
    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder = process, folder

    def tell(self, *words: str) -> None:
        subprocess.run(['callgrind_control', *words, str(self.process.pid)], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)

    def taken(self) -> int:
        "Instructions since this was asked for last."
        self.tell('--dump')
        for _ in range(600): # On a busy machine it comes later
            files = list(self.folder.glob('counts.*'))
            found = [re.search(r'^(?:totals|summary): (\d+)', file.read_text(), re.MULTILINE) for file in files]
            if found and all(found): break
            time.sleep(0.1)
        for file in files: file.unlink()
        return sum(int(f[1]) for f in found if f)


def each(counted: Sequence[Counted],
         turn: Callable[[], int], # Asks for some answers and takes them; says how many
         ) -> list[float]:
    "Instructions per answer, of each process."
    for _ in range(max(2, 64 // turn())): turn() # What the first ones cost is not theirs
    for one in counted: one.tell('--instr=on')
    turn()
    for one in counted: one.taken()
    answers = 0
    while answers < ROUNDS: answers += turn()
    found = [one.taken() / answers for one in counted]
    for one in counted: one.tell('--instr=off')
    return found


@contextmanager
def started(checkout: Path, command: list[str], port: int) -> Iterator[Counted]:
    "A server by the nbws of a checkout."
    with tempfile.TemporaryDirectory() as folder:
        paths = {**os.environ, 'PYTHONPATH': f'{checkout}{os.pathsep}{checkout / "tests/bench"}', 'PYTHONHASHSEED': '0'}
        process = subprocess.Popen([*CALLGRIND, f'--callgrind-out-file={folder}/counts', *command], env=paths,
                                   cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until_listening(process, port, 120)
            if process.poll() is not None: sys.exit(f'the server of {checkout} has ended')
            yield Counted(process, Path(folder))
        finally:
            process.kill()
            process.wait()


@contextmanager
def counted_redis() -> Iterator[tuple[Counted, RedisProcess]]:
    with tempfile.TemporaryDirectory(prefix='nbws') as folder:
        redis = RedisProcess('valkey', Path(folder))
        redis.command[:0] = [*CALLGRIND, f'--callgrind-out-file={folder}/counts']
        try:
            redis.start()
            assert redis.popen
            yield Counted(redis.popen, Path(folder)), redis
        finally: redis.kill()


def echoes(port: int, clients: int, packed: bool = False) -> Callable[[], int]:
    "All clients send, then all of them receive."
    sockets = [opened(port, '/echo', PACKED if packed else '') for _ in range(clients)]
    message = masked(MESSAGE, packed)
    def turn() -> int:
        for s in sockets: s.sendall(message)
        for s in sockets: assert s.recv(4096)
        return clients
    return turn


def pages(port: int) -> Callable[[], int]:
    "One client on one connection."
    client = socket.create_connection(('127.0.0.1', port), 60)
    def turn() -> int:
        client.sendall(PAGE)
        answer = client.recv(65536)
        head, _, body = answer.partition(b'\r\n\r\n')
        size = int(re.search(rb'content-length: (\d+)', head.lower())[1])  # type: ignore[index]
        while len(body) < size: body += client.recv(65536)
        return 1
    return turn


PATIENT = '--request-timeout', '600' # Members who only listen are not asked whether they live


def talk(ports: list[int]) -> Callable[[], int]:
    "At each server one member says what may be on the way, at once; then all hear it."
    said = masked(ours().says.replace('{}', TEXT)) * (WINDOW * 2 // len(ports))
    members = [opened(ports[n % len(ports)], ours().path) for n in range(MEMBERS)]
    selector, left = selectors.DefaultSelector(), dict.fromkeys(members, 0)
    for s in members: selector.register(s, selectors.EVENT_READ)
    def turn() -> int:
        for s in members: left[s] += WINDOW * 2
        for s in members[:len(ports)]: s.sendall(said)
        while any(left.values()):
            ready = selector.select(60)
            assert ready, 'something is not heard'
            for key, _ in ready:
                data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                assert data, 'a socket has ended'
                left[key.fileobj] -= data.count(b'#')  # type: ignore[index]
        return WINDOW * 2
    return turn


def echo_and_page(checkout: Path) -> list[float]:
    port = free_port()
    code = (f'import nbws.common, servers; assert nbws.__file__.startswith({str(checkout)!r}), nbws.__file__; '
            f'servers.ours({port})')
    with started(checkout, [sys.executable, '-c', code], port) as server:
        return [each([server], turn)[0] for turn in
                (echoes(port, 1), echoes(port, 64), echoes(port, 64, packed=True), pages(port))]


def rooms(checkout: Path) -> list[float]:
    "One process, two with a Redis, and the latter's part."
    found = []
    for count in (1, 2):
        with ExitStack() as stack:
            counted, options, ports = [], (), []
            if count > 1:
                redis, server = stack.enter_context(counted_redis())
                counted, options = [redis], ('--redis', server.url)
            for _ in range(count):
                ports.append(port := free_port())
                counted.append(stack.enter_context(started(checkout, ours(*options, *PATIENT).start(port, ''), port)))
            parts = each(counted, talk(ports))
        found += [sum(parts), *parts[:count - 1]]
    return [*found, found[1] / found[0]]


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.bench.instructions', description=__doc__)
    options.add_argument('checkouts', nargs='*', type=Path, help='other ones')
    options.add_argument('--rooms', action='store_true', help='a room, instead of an echo and a page')
    o = options.parse_args()
    if not shutil.which('valgrind'): sys.exit('this needs callgrind: install valgrind (apt-get install valgrind)')
    rows = []
    for checkout in dict.fromkeys([ROOT, *(a.resolve() for a in o.checkouts)]):
        found = rooms(checkout) if o.rooms else echo_and_page(checkout)
        rows.append([str(checkout), *(f'{n:,.0f}' if n > 1000 else f'{n:.2f}' for n in found)])
    head = ['a message to 200, one process', 'two and Redis', 'Redis', 'ratio'] if o.rooms else [
        'echo, 1 client', 'echo, 64 clients', 'compressed', 'page']
    print(table(['instructions', *head], rows))


if __name__ == '__main__': main()
