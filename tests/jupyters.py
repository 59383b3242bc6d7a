"""A real Jupyter server with kernels, without a browser: started for a module, spoken to byte by byte."""
from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
from bound import BOUND, until
from jupyter_client.blocking.client import BlockingKernelClient

ROOT = Path(__file__).resolve().parent.parent


class Answer:
    "A response head, and the socket behind it."
    def __init__(self, connection: socket.socket, head: bytes, rest: bytes) -> None:
        lines = head.decode('latin-1').split('\r\n')
        self.connection, self.rest = connection, rest
        self.status = int(lines[0].split()[1])
        self.fields = [(k.lower(), v.strip()) for k, _, v in (line.partition(':') for line in lines[1:] if line)]

    def field(self, name: str) -> str: return ', '.join(v for k, v in self.fields if k == name)

    def read(self) -> bytes:
        "The body, of a connection that ends with it."
        pieces = [self.rest]
        while piece := self.connection.recv(65536): pieces.append(piece)
        body = b''.join(pieces)
        if self.field('transfer-encoding') != 'chunked': return body
        whole = b''
        while body:
            size, _, body = body.partition(b'\r\n')
            whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
        return whole


@contextmanager
def ask(port: int, method: str, target: str, body: bytes = b'', socket_: bool = False,
        **fields: str) -> Iterator[Answer]:
    "Send a request with these header fields (`x_y` is X-Y) and read the answer's head."
    head = {'host': f'127.0.0.1:{port}', **{k.replace('_', '-'): v for k, v in fields.items()}}
    if socket_: head.update({'upgrade': 'websocket', 'connection': 'Upgrade', 'sec-websocket-version': '13',
                             'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='})
    else: head.setdefault('connection', 'close')
    if body or method == 'POST': head['content-length'] = str(len(body))
    with socket.create_connection(('127.0.0.1', port), timeout=BOUND) as s:
        lines = [f'{method} {target} HTTP/1.1', *(f'{k}: {v}' for k, v in head.items()), '', '']
        s.sendall('\r\n'.join(lines).encode() + body)
        data = b''
        while b'\r\n\r\n' not in data:
            piece = s.recv(65536)
            if not piece: raise ConnectionError(f'no answer, but {data!r}')
            data += piece
        head_, _, rest = data.partition(b'\r\n\r\n')
        yield Answer(s, head_, rest)


def new_runtime_folder() -> Path:
    """A folder for kernels that are spoken to by files (`transport='ipc'`).

    The ports that Jupyter looks for may be another test's when the kernel comes to take them, half a second later. The
    path is short, since a Unix socket's has at most some 100 characters.
    """
    return Path(tempfile.mkdtemp(prefix='nbws-', dir='/tmp'))


def ready(client: BlockingKernelClient) -> bool:
    "A kernel that has just been started may miss its first heartbeat."
    try: client.wait_for_ready(timeout=BOUND)
    except RuntimeError: return False
    return True


class Kernel:
    "A kernel of the server, or one that it has already."
    def __init__(self, jupyter: Jupyter, found: str = '') -> None:
        self.jupyter, self.id = jupyter, found or jupyter.api('api/kernels', 'POST')['id']
        self.base = f'{jupyter.base}nbws/{self.id}'

    def run(self, code: str) -> str:
        "Execute, and return what was printed. Raises `AssertionError` with the traceback."
        file = self.jupyter.runtime/f'kernel-{self.id}.json'
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        told: list[str] = []
        def hear(message: dict[str, Any]) -> None:
            content = message['content']
            if message['msg_type'] == 'stream': told.append(content['text'])
            if message['msg_type'] == 'error': told.append('\n'.join(content['traceback']))
        try:
            until(lambda: ready(client), 'the kernel')
            reply = client.execute_interactive(code, timeout=BOUND, output_hook=hear)
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)
        assert reply['content']['status'] == 'ok', ''.join(told)
        return ''.join(told)

    def restart(self) -> None: self.jupyter.api(f'api/kernels/{self.id}/restart', 'POST')

    def info(self) -> dict[str, Any]: return dict(self.jupyter.api(f'api/kernels/{self.id}'))


class Jupyter:
    "A Jupyter server in a process and folders of its own."
    def __init__(self, home: Path, base: str = '/', *flags: str, port: int = 0) -> None:
        self.home, self.base, self.token = home, base, secrets.token_hex(16)
        self.flags, self.runtime = flags, new_runtime_folder()
        folders = {f'JUPYTER_{k.upper()}_DIR': str(home/k) for k in ('config', 'data')}
        for folder in folders.values(): Path(folder).mkdir(exist_ok=True, mode=0o700)
        folders['JUPYTER_RUNTIME_DIR'] = str(self.runtime)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        self.log = home/'log'
        with self.log.open('ab') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'tests.lean', 'jupyter_server', '--no-browser', '--ip=127.0.0.1',
                 f'--port={port}', '--allow-root', f'--IdentityProvider.token={self.token}',
                 f'--ServerApp.base_url={base}', f'--ServerApp.root_dir={home}', '--KernelManager.transport=ipc',
                 *flags],
                env={**os.environ, **folders, 'IPYTHONDIR': str(home), 'PYTHONPATH': path}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        try: self.port: int = until(self._listening, 'the Jupyter server')['port']
        except BaseException:
            self.stop()
            raise

    def _listening(self) -> Any:
        assert self.process.poll() is None, self.log.read_text()
        try:
            found = json.loads((self.runtime/f'jpserver-{self.process.pid}.json').read_text())
            socket.create_connection(('127.0.0.1', found['port']), timeout=BOUND).close()
        except (OSError, ValueError): return None
        return found

    def api(self, path: str, method: str = 'GET', body: Any = None) -> Any:
        url, login = f'http://127.0.0.1:{self.port}{self.base}{path}', {'Authorization': f'token {self.token}'}
        request = Request(url, None if body is None else json.dumps(body).encode(), login, method=method)
        with urlopen(request, timeout=BOUND) as answer: body = answer.read()
        return json.loads(body) if body else None

    def log_in(self) -> str:
        "The Cookie field of somebody who has logged in with a browser."
        with ask(self.port, 'GET', f'{self.base}?token={self.token}') as answer:
            pairs = [v.partition(';')[0] for k, v in answer.fields if k == 'set-cookie']
        assert any(p.startswith('username-') for p in pairs)
        return '; '.join(pairs)

    def cpu(self) -> float:
        "Seconds of CPU time that its process has taken."
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int: return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self) -> None:
        below = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.terminate()
        try: self.process.wait(BOUND)
        finally:
            _, alive = psutil.wait_procs(below, timeout=BOUND)
            for process in alive: process.kill()
            if self.process.poll() is None: self.process.kill()
            shutil.rmtree(self.runtime)
