"""How many instructions an echo and a page take: `python -m tests.bench.instructions`.

For those who work on a noisy machine: rates differ by a fifth from run to run there, counts by one in a hundred.
callgrind (Debian's `valgrind`) counts what the server's process does in user space; what the kernel does is not in it.
Each figure is that of the bench's app (`servers.py`) on uvloop. Other checkouts stand beside this one when named:

    git worktree add /tmp/before HEAD~20 && python -m tests.bench.instructions /tmp/before
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .__main__ import MESSAGE, ROOT, free_port, table, until_listening

ROUNDS = 320 # Messages that are counted
UPGRADE = ('GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
           'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
PAGE = b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'


def masked(text: str) -> bytes:
    "A frame of a client."
    payload = text.encode()
    return bytes((0x81, 0x80 | len(payload))) + b'\1\2\3\4' + bytes(b ^ i % 4 + 1 for i, b in enumerate(payload))


def opened(port: int, path: str) -> socket.socket:
    "A socket behind its handshake."
    client = socket.create_connection(('127.0.0.1', port), 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(UPGRADE.format(path).encode())
    head = b''
    while not head.endswith(b'\r\n\r\n'): head += client.recv(1)
    return client


class Counted:
    "A server under callgrind."
    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def tell(self, *words: str) -> None:
        subprocess.run(['callgrind_control', *words, str(self.process.pid)], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)

    def taken(self) -> int:
        "Instructions since this was asked for last."
        self.tell('--dump')
        count = 0
        for file in self.folder.glob('counts.*'):
            found = re.search(r'^(?:totals|summary): (\d+)', file.read_text(), re.MULTILINE)
            count += int(found[1]) if found else 0
            file.unlink()
        return count

    def each(self, turn: Callable[[], int], # Asks for some answers and takes them; says how many
             ) -> float:
        "Instructions per answer."
        for _ in range(max(2, 64 // turn())): turn() # What the first ones cost is not theirs
        self.tell('--instr=on')
        turn()
        self.taken()
        answers = 0
        while answers < ROUNDS: answers += turn()
        count = self.taken()
        self.tell('--instr=off')
        return count / answers


@contextmanager
def counted(checkout: Path) -> Iterator[Counted]:
    "The bench's app, by the nbws of a checkout."
    port = free_port()
    code = (f'import nbws.common, servers; assert nbws.__file__.startswith({str(checkout)!r}), nbws.__file__; '
            f'servers.ours({port})')
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ['valgrind', '--tool=callgrind', '--instr-atstart=no', f'--callgrind-out-file={folder}/counts']
        paths = {**os.environ, 'PYTHONPATH': f'{checkout}{os.pathsep}{checkout / "tests/bench"}', 'PYTHONHASHSEED': '0'}
        process = subprocess.Popen([*valgrind, sys.executable, '-c', code], env=paths, cwd=folder,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until_listening(process, port, 120)
            if process.poll() is not None: sys.exit(f'the server of {checkout} has ended')
            yield Counted(process, port, Path(folder))
        finally:
            process.kill()
            process.wait()


def echoes(port: int, clients: int) -> Callable[[], int]:
    "All clients send, then all of them receive."
    sockets, message = [opened(port, '/echo') for _ in range(clients)], masked(MESSAGE)
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


def main() -> None:
    if not shutil.which('valgrind'): sys.exit('this needs callgrind: install valgrind (apt-get install valgrind)')
    rows = []
    for checkout in dict.fromkeys([ROOT, *(Path(a).resolve() for a in sys.argv[1:])]):
        with counted(checkout) as server:
            port = server.port
            found = [server.each(echoes(port, 1)), server.each(echoes(port, 64)), server.each(pages(port))]
        rows.append([str(checkout), *(f'{n:,.0f}' for n in found)])
    print(table(['instructions', 'echo, 1 client', 'echo, 64 clients', 'page'], rows))


if __name__ == '__main__': main()
