"""Servers as processes of their own, on a socket that is bound before they start; and small clients to ask them."""
from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from bound import BOUND
from websockets.sync.client import ClientConnection, connect


class Process:
    "A server that runs; its output is kept."
    def __init__(self, command: list[str], port: int = 0, **options: Any) -> None:
        environment = {**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONWARNINGS': 'default'}
        self.port, self.lines = port, []
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      env=environment, start_new_session=True, **options)
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
    lines: list[str]

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed: self._changed.notify_all()

    @property
    def output(self) -> str: return ''.join(self.lines)

    def says(self, text: str, times: int = 1) -> str:
        "Wait until the output has `text`, so often. Returns the last line that does."
        def found() -> bool: return self.output.count(text) >= times or not self._reader.is_alive()
        with self._changed: self._changed.wait_for(found, BOUND)
        lines = [line for line in self.lines if text in line]
        assert self.output.count(text) >= times, f'{text!r} was not said:\n{self.output}'
        return lines[-1]

    def serves(self) -> Process:
        "Wait for our own announcement, and learn the port."
        self.port = int(self.says('nbws serves ').split('://')[1].split()[0].rpartition(':')[2])
        return self

    def answers(self) -> Process:
        "Wait until a connection is answered: the socket listens already, so the first request waits for the server."
        assert self.get('/')[0] < 500, self.output
        return self

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        return get(self.port, path, headers)
    def ws(self, path: str, **options: Any) -> ClientConnection: return ws(self.port, path, **options)

    def workers(self) -> list[psutil.Process]:
        "The processes that serve. The Valkey by which they share rooms is none."
        return [p for p in psutil.Process(self.popen.pid).children() if 'valkey' not in p.name()]

    def stop(self, how: int = signal.SIGTERM) -> int:
        "Send a signal and wait for the end. Returns the exit code."
        with suppress(ProcessLookupError): self.popen.send_signal(how)
        return self.ends()

    def kill(self) -> None:
        "Kill it and what it has started."
        with suppress(ProcessLookupError): os.killpg(self.popen.pid, signal.SIGKILL)

    def ends(self) -> int:
        "Wait for the end. Returns the exit code."
        try: return self.popen.wait(BOUND)
        except subprocess.TimeoutExpired:
            self.kill()
            self.popen.wait(BOUND)
            raise AssertionError(f'the server does not end:\n{self.output}') from None
        finally:
            self._reader.join(BOUND)
            if self.popen.stdout: self.popen.stdout.close()


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    "Status and text of one GET, on a connection of its own."
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=BOUND)
    try:
        connection.request('GET', path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally: connection.close()


def ws(port: int, path: str, **options: Any) -> ClientConnection:
    "An open socket."
    return connect(f'ws://127.0.0.1:{port}{path}', open_timeout=BOUND, close_timeout=BOUND, **options)


@contextmanager
def running(command: list[str], port: int = 0, **options: Any) -> Iterator[Process]:
    "A process, killed at the end if it still runs."
    process = Process(command, port, **options)
    try: yield process
    finally:
        process.kill()
        process.ends()


def nginx_command() -> str:
    "An nginx, if there is one: see `make nginx`."
    places = [os.environ.get('PATH', ''), '/usr/sbin', f'{sys.prefix}/nginx/usr/sbin']
    found = shutil.which('nginx', path=os.pathsep.join(places))
    if not found: pytest.skip('there is no nginx')
    return found


def listens(path: str | Path) -> bool:
    "Whether somebody listens at a Unix socket: its file is there a moment before."
    with socket.socket(socket.AF_UNIX) as s: return s.connect_ex(str(path)) == 0


def nbws(*arguments: str) -> list[str]: return [sys.executable, '-m', 'nbws', *arguments]


@contextmanager
def listening() -> Iterator[socket.socket]:
    "A listening socket that children may inherit."
    with socket.create_server(('127.0.0.1', 0)) as s:
        s.set_inheritable(True)
        yield s


@contextmanager
def asgi_server(name: str, app: str, folder: Path, root_path: str = '') -> Iterator[Process]:
    "uvicorn, hypercorn, granian or our own server, running `app` (module:app) from `folder`, and answering."
    below = ['--url-path-prefix' if name == 'granian' else '--root-path', root_path] if root_path else []
    with listening() as s:
        fd, port, options = s.fileno(), s.getsockname()[1], {'cwd': folder}
        if name == 'nbws':
            with running(nbws('run', app, '--port', '0', *below), **options) as process: yield process.serves()
            return
        if name == 'granian': # It takes no descriptor: the port is free once ours is closed
            s.close()
            command = [sys.executable, '-m', 'granian', '--interface', 'asgi', '--port', str(port), app, *below]
            with running(command, port, **options) as process:
                process.says('Started worker-1')
                until = time.monotonic() + BOUND
                while time.monotonic() < until:
                    with suppress(ConnectionRefusedError):
                        process.answers()
                        break
                yield process
            return
        command = {'uvicorn': ['-m', 'uvicorn', app, '--fd', str(fd), '--lifespan', 'on'],
                   'hypercorn': ['-m', 'hypercorn', app, '--bind', f'fd://{fd}']}[name]
        with running([sys.executable, *command, *below], port, pass_fds=[fd], **options) as process:
            yield process.answers()
