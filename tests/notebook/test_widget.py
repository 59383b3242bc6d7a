"""Pages over widget messages, as VS Code sends them: a real kernel, no browser, and no subshell of the front end's."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from kernels import Kernel, running

pytestmark = pytest.mark.usefixtures('clients_loop')
CELL = 'vscode-notebook-cell:/x.ipynb#'
APP = """
from nbws.common import *
app = App()
@app.get('/')
def home(): return 'home'
@app.get('/large')
def large(): return Response(bytes(2**20), media_type='application/octet-stream')
@app.post('/size')
async def size(request): return str(len(await request.body()))
@app.post('/done')
def stop_computing(): done.append(1)
"""
BUSY = 'done = []\nwhile not done: pass'


class Widget:
    "The widget of the cell that serves, and one page in it."
    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.last = kernel, 0
        kernel.run(APP, f'{CELL}1')
        run = kernel.start('serve(app)', f'{CELL}2')
        opened = self.next('comm_open')
        self.comm, state = opened['content']['comm_id'], opened['content']['data']['state']
        facts = state['html'].partition('application/json">')[2]
        self.facts = json.loads(facts.partition('</script>')[0])
        kernel.finish(run)

    def next(self, kind: str = 'comm_msg') -> dict[str, Any]:
        while True:
            message = self.kernel.client.get_iopub_msg(timeout=BOUND)
            if message['msg_type'] == kind: return message

    def say(self, content: Any, *buffers: bytes, method: str = 'custom') -> None:
        client = self.kernel.client
        data = {'comm_id': self.comm, 'data': {'method': method, 'content': content}}
        client.session.send(client.shell_channel.socket, client.session.msg('comm_msg', data), buffers=list(buffers))

    def told(self) -> dict[str, Any]: return self.next()['content']['data']['content']

    def opens(self, page: str = 'p', **data: Any) -> None:
        asked = {'version': 2, 'token': self.facts['token'], 'jar': 'j', 'prefix': '/x', **data}
        self.say({'page': page, 'open': {k: v for k, v in asked.items() if v is not None}})

    def asks(self, method: str, path: str, *pieces: bytes) -> tuple[int, bytes, list[int]]:
        "The status, the body, and the sizes of the messages that brought it."
        self.last += 1
        n, first, rest = self.last, pieces[:1] or (b'',), pieces[1:]
        self.say({'page': 'p', 'frames': [['request', n, method, path, [], bool(rest)]]}, *first)
        for i, piece in enumerate(rest): self.say({'page': 'p', 'frames': [['body', n, i < len(rest) - 1]]}, piece)
        status, body, sizes = 0, b'', []
        while True:
            message = self.next()
            frames, buffers = message['content']['data']['content']['frames'], [bytes(b) for b in message['buffers']]
            sizes.append(len(json.dumps(message['content'])) + sum(map(len, buffers)))
            taken = sum(map(len, buffers))
            body += b''.join(buffers)
            if taken: self.say({'page': 'p', 'frames': [['got', n, taken]]})
            for kind, _, *more in frames:
                if kind == 'head': status = more[0]
                if kind == 'end': return status, body, sizes


@pytest.fixture
def widget(tmp_path: Path) -> Iterator[Widget]:
    with running(tmp_path) as kernel: yield Widget(kernel)


def test_requests(widget: Widget) -> None:
    widget.opens(page='output', jar=None, prefix=None)
    assert 'nbwsChannel' in widget.told()['script']
    assert widget.told()['ended'] == ''
    widget.opens()
    assert widget.asks('GET', '/')[:2] == (200, b'home')
    status, body, sizes = widget.asks('GET', '/large')
    assert (status, body) == (200, bytes(2**20))
    assert max(sizes) <= 2**16  # As much as VS Code passes on
    assert widget.asks('POST', '/size', *[bytes(2**15)] * 64)[:2] == (200, str(2**21).encode())


def test_a_cell_computes(widget: Widget) -> None:
    "ipykernel 7.4 reads the messages in a subshell of its own making."
    widget.opens()
    run = widget.kernel.start(BUSY, f'{CELL}3')
    assert widget.asks('GET', '/')[:2] == (200, b'home')
    assert widget.asks('POST', '/done')[0] == 200
    while widget.kernel.client.get_shell_msg(timeout=BOUND)['parent_header'].get('msg_id') != run: pass


def test_what_is_refused_is_told(widget: Widget) -> None:
    widget.opens(version=1)
    assert widget.told() == {'page': 'p', 'ended': 'this output was made by another version of nbws'}
    widget.opens(token='other')
    assert widget.told()['ended'] == 'its app is not being served now'
    widget.say({'page': 'gone', 'frames': []})
    assert widget.told()['ended'] == 'the kernel does not know this page any more'
    widget.say(None, method='request_state')
    assert widget.next()['content']['data']['state']['_model_module'] == 'anywidget'
    widget.opens()
    assert widget.asks('GET', '/')[:2] == (200, b'home')  # It is open: a cell is no slower than a subshell
    widget.kernel.run('stop()', f'{CELL}4')
    widget.say({'page': 'p', 'frames': []})
    assert widget.told()['ended'] == 'its app is not being served now'
