"""A real kernel, and its cells as a front end runs them."""
from __future__ import annotations

import os
import queue
import re
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bound import BOUND
from jupyter_client import BlockingKernelClient, KernelManager
from jupyters import ROOT, new_runtime_folder


@dataclass
class Result:
    "What a run of a cell shows, also what came after the cell had ended."
    stdout: str = ''
    stderr: str = ''
    plain: str = ''  # of displays
    html: str = ''
    error: str = ''  # the traceback, without colours

    def add(self, kind: str, content: dict[str, Any]) -> None:
        if kind == 'stream': setattr(self, content['name'], getattr(self, content['name']) + content['text'])
        elif kind in ('display_data', 'execute_result'):
            self.plain += content['data'].get('text/plain', '')
            self.html += content['data'].get('text/html', '')
        elif kind == 'error': self.error = traceback_of(content)

    @property
    def text(self) -> str: return '\n'.join((self.stdout, self.stderr, self.plain, self.error))


def traceback_of(content: dict[str, Any]) -> str:
    return re.sub(r'\x1b\[[0-9;]*m', '', '\n'.join(content.get('traceback', [])))


class Kernel:
    "A kernel and its cells; a cell is named, so that it can be run again."
    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client
        self.results: defaultdict[str, Result] = defaultdict(Result)  # by the ids of the messages that ran them

    @property
    def process(self) -> psutil.Process: return psutil.Process(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def start(self, code: str, cell: str = '', subshell: str = '') -> str:
        "Run a cell as JupyterLab does, and do not wait; its message's id."
        content = {'code': code, 'silent': False, 'store_history': True, 'user_expressions': {}, 'allow_stdin': False}
        message = self.client.session.msg('execute_request', content, metadata={'cellId': cell} if cell else {})
        if subshell: message['header']['subshell_id'] = subshell
        self.client.shell_channel.send(message)
        return str(message['header']['msg_id'])

    def finish(self, run_id: str) -> Result:
        "Wait for a cell that was started."
        until = time.monotonic() + BOUND
        while True:
            parent, kind, content = self._next(until)
            if parent == run_id and kind == 'status' and content['execution_state'] == 'idle': break
        # As front ends do: ipykernel 7.0 to 7.3 may lose a cell that comes before the last one's reply has left
        while self.client.get_shell_msg(timeout=until - time.monotonic())['parent_header'].get('msg_id') != run_id: pass
        return self.results[run_id]

    def _next(self, until: float) -> tuple[str, str, dict[str, Any]]:
        "The next message: the id of what it belongs to, its kind and its content. What it shows is kept."
        message = self.client.get_iopub_msg(timeout=until - time.monotonic())
        parent, kind, content = message['parent_header'].get('msg_id', ''), message['msg_type'], message['content']
        self.results[parent].add(kind, content)
        return parent, kind, content

    def run(self, code: str, cell: str = '', fails: bool = False) -> Result:
        "Run a cell and wait for it."
        result = self.finish(self.start(code, cell))
        assert bool(result.error) == fails, result.error or 'the cell did not fail'
        return result

    def hear(self, pattern: str, parent: str) -> str:
        "Wait until something that matches is told in the output of a cell that has ended."
        told, until = '', time.monotonic() + BOUND
        while not re.search(pattern, told):
            try: of, _, content = self._next(until)
            except queue.Empty: raise AssertionError(f'{pattern!r} was not told, but:\n{told}') from None
            if of == parent: told += content.get('text', '') + traceback_of(content)
        return told

    def port(self) -> int:
        self.run('from nbws.notebook.served import SERVED; from nbws.notebook.exposure import exposure_of')
        port, token = self.run('print(SERVED[0].server.port, exposure_of(SERVED[0].server).token)').stdout.split()
        TOKENS[int(port)] = token
        return int(port)


TOKENS: dict[int, str] = {}  # what the kernel's ports ask for


def secret(port: int) -> str: return f'nbws_token={TOKENS[port]}'


@contextmanager
def running(folder: Path, *path: str) -> Iterator[Kernel]:
    "A kernel that runs in this folder, with `path` and this checkout before all else that it imports."
    everything = os.pathsep.join(filter(None, [*path, str(ROOT), os.environ.get('PYTHONPATH')]))
    runtime = new_runtime_folder()
    manager = KernelManager(kernel_name='python3', transport='ipc', connection_file=str(runtime/'kernel.json'))
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]
    manager.start_kernel(env={**os.environ, 'PYTHONPATH': everything, 'IPYTHONDIR': str(folder)}, cwd=str(folder))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=BOUND)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        if manager.has_kernel: manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy(linger=0)
        shutil.rmtree(runtime)
