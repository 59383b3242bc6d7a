"""A real kernel, and its cells as a front end runs them."""
from __future__ import annotations

import queue
import re
import time
from dataclasses import dataclass

import psutil
from bound import BOUND
from jupyter_client import BlockingKernelClient, KernelManager


@dataclass
class Result:
    "What a cell did."
    stdout: str = ''
    stderr: str = ''
    html: str = ''
    error: str = ''  # the traceback, without colours


class Kernel:
    "A kernel and its cells; a cell is named, so that it can be run again."
    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

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
        result, until = Result(), time.monotonic() + BOUND
        while True:
            message = self.client.get_iopub_msg(timeout=until - time.monotonic())
            if message['parent_header'].get('msg_id') != run_id: continue
            kind, content = message['msg_type'], message['content']
            if kind == 'stream': setattr(result, content['name'], getattr(result, content['name']) + content['text'])
            elif kind in ('display_data', 'execute_result'): result.html += content['data'].get('text/html', '')
            elif kind == 'error': result.error = re.sub(r'\x1b\[[0-9;]*m', '', '\n'.join(content['traceback']))
            elif kind == 'status' and content['execution_state'] == 'idle': break
        # As front ends do: ipykernel 7.0 to 7.3 may lose a cell that comes before the last one's reply has left
        while self.client.get_shell_msg(timeout=until - time.monotonic())['parent_header'].get('msg_id') != run_id: pass
        return result

    def run(self, code: str, cell: str = '', fails: bool = False) -> Result:
        "Run a cell and wait for it."
        result = self.finish(self.start(code, cell))
        assert bool(result.error) == fails, result.error or 'the cell did not fail'
        return result

    def hear(self, pattern: str, parent: str) -> str:
        "Wait until something that matches is told in the output of a cell that has ended."
        told, until = '', time.monotonic() + BOUND
        while not re.search(pattern, told):
            try: message = self.client.get_iopub_msg(timeout=until - time.monotonic())
            except queue.Empty: raise AssertionError(f'{pattern!r} was not told, but:\n{told}') from None
            if message['parent_header'].get('msg_id') != parent: continue
            content = message['content']
            told += content.get('text', '') + re.sub(r'\x1b\[[0-9;]*m', '', '\n'.join(content.get('traceback', [])))
        return told

    def port(self) -> int:
        self.run('from nbws.notebook.served import SERVED; from nbws.notebook.exposure import exposure_of')
        port, token = self.run('print(SERVED[0].server.port, exposure_of(SERVED[0].server).token)').stdout.split()
        TOKENS[int(port)] = token
        return int(port)


TOKENS: dict[int, str] = {}  # what the kernel's ports ask for


def secret(port: int) -> str: return f'nbws_token={TOKENS[port]}'
