"""What flows between a kernel's app and a page over the kernel's messages: much at once, long, fast, and unread.

The page is a client of ours in a real kernel, by a comm as JupyterLab's connection has it, and by a widget's messages
as VS Code sends them. `tests/notebook/test_flows.py` takes short ones, `tests/soak_lines.py` long ones.
"""
from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bound import BOUND
from kernels import Kernel

WINDOW, TAKEN = 2**20, 2**17 # Bytes that may be on their way unread, and after which a page says so
PIECES = {'comm': 2**18, 'widget': 2**15} # Bytes of a request's body in one message
REQUESTS = """
@app.get('/down')
async def down(size: int):
    for n in range(size // 2**18):
        made[0] = n
        yield bytes([n % 251]) * 2**18
@app.post('/up')
async def up(request):
    digest, size = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    return f'{size} {digest.hexdigest()}'
"""
APP = """
import asyncio, hashlib, psutil
from nbws.common import *
app, made = App(), [0]
""" + REQUESTS + """@app.get('/made')
def how_many(): return str(made[0])
@app.get('/memory')
def memory(): return str(psutil.Process().memory_info().rss)
@app.get('/ticks')
async def ticks(count: int, rate: int):
    loop = asyncio.get_running_loop()
    began = loop.time()
    for n in range(count):
        yield f'data: {n}\\n\\n'
        if rate and not n % 20: await asyncio.sleep(began + n / rate - loop.time())
"""


class FlowPage:
    "A page of the app; `way` is 'comm' or 'widget'."
    def __init__(self, kernel: Kernel, way: str) -> None:
        self.kernel, self.way, self.last, self.comm = kernel, way, 0, f'page of {way}'
        self.heard: list[float] = [] # When messages came
        self.came: Counter[int] = Counter() # Bytes of answers, by their numbers
        kernel.client.session.copy_threshold = 2**30 # Else pyzmq keeps a thread for what it does not copy
        kernel.run(APP, 'app')
        run = kernel.start('serve(app, port=0)', 'vscode-notebook-cell:x' if way == 'widget' else 'show')
        if way == 'widget':
            opened = self._next('comm_open')
            self.comm, html = opened['content']['comm_id'], opened['content']['data']['state']['html']
            kernel.finish(run)
        else: html = kernel.finish(run).html
        facts = json.loads(html.partition('application/json">')[2].partition('</script>')[0])
        data = {'version': facts['version'], 'token': facts['token'], 'jar': 'j', 'prefix': '/x'}
        if way == 'widget': self._say({'open': data})
        else: self._send('comm_open', {'target_name': 'nbws.http', 'data': data})

    def _send(self, kind: str, content: dict[str, Any], *buffers: bytes) -> None:
        client = self.kernel.client
        message = client.session.msg(kind, {'comm_id': self.comm, **content})
        client.session.send(client.shell_channel.socket, message, buffers=list(buffers))

    def _say(self, content: dict[str, Any], *buffers: bytes) -> None:
        data = {'method': 'custom', 'content': {'page': 'p', **content}} if self.way == 'widget' else content
        self._send('comm_msg', {'data': data}, *buffers)

    def _next(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = self.kernel.client.get_iopub_msg(timeout=BOUND)
            if message['msg_type'] == kind: return message

    def _frames(self) -> Iterator[tuple[list[Any], bytes]]:
        "The frames of the next message, each with its buffer."
        message = self._next('comm_msg')
        data = message['content']['data']
        buffers = iter(message['buffers'])
        self.heard.append(time.monotonic())
        for frame in data.get('content', data)['frames']:
            piece = bytes(next(buffers)) if frame[0] == 'data' else b''
            self.came[frame[1]] += len(piece)
            yield frame, piece

    def begin(self, method: str, path: str, body: bytes = b'') -> int:
        "Ask, and send the body as fast as the app reads it."
        self.last += 1
        most, unread, at = PIECES[self.way], 0, 0
        while at == 0 or at < len(body):
            piece, more = body[at:at + most], at + most < len(body)
            frame = ['body', self.last, more] if at else ['request', self.last, method, path, [], more]
            self._say({'frames': [frame]}, piece)
            unread, at = unread + len(piece), at + most
            while unread >= WINDOW and more:
                unread -= sum(frame[2] for frame, _ in self._frames() if frame[0] == 'took')
        return self.last

    def read(self, number: int) -> Iterator[bytes]:
        "The answer's body, as it comes; raises AssertionError where it breaks off."
        taken = 0
        while True:
            for frame, piece in self._frames():
                if frame[1] != number: continue
                yield piece
                taken += len(piece)
                if taken >= TAKEN:
                    self._say({'frames': [['got', number, taken]]})
                    taken = 0
                if frame[0] == 'end':
                    assert not frame[2], 'the answer broke off'
                    return

    def ask(self, method: str, path: str, body: bytes = b'') -> bytes:
        "The whole answer."
        return b''.join(self.read(self.begin(method, path, body)))

    def fastest(self, seconds: float = 3) -> int:
        "The most messages that came within some seconds."
        return max(sum(first <= at < first + seconds for at in self.heard[i:i + 4000]) for i, first in
                   enumerate(self.heard))


def down(page: FlowPage, size: int) -> None:
    "So many bytes come, in order."
    at = 0
    for piece in page.read(page.begin('GET', f'/down?size={size}')):
        if piece: assert piece[0] == at // 2**18 % 251 and piece[-1] == (at + len(piece) - 1) // 2**18 % 251
        at += len(piece)
    assert at == size


def up(page: FlowPage, size: int) -> None:
    "So many bytes go, in order."
    import hashlib
    body = b''.join(n.to_bytes(8, 'big') * 2**12 for n in range(size // 2**15))
    assert page.ask('POST', '/up', body) == f'{size} {hashlib.sha256(body).hexdigest()}'.encode()


def ticks(page: FlowPage, count: int, rate: int = 0) -> None:
    "So many events come in order, at most so many a second, in fewer messages than Jupyter takes: 3,000 in 3 s."
    page.heard.clear()
    text = page.ask('GET', f'/ticks?count={count}&rate={rate}').decode()
    assert text == ''.join(f'data: {n}\n\n' for n in range(count))
    assert page.fastest() <= 1000, page.fastest()


def unread(page: FlowPage) -> None:
    "A page that does not read holds little; others go on, and so does it when it reads."
    stopped = page.begin('GET', f'/down?size={2**24}')
    while page.came[stopped] < WINDOW: list(page._frames()) # What the kernel sends ahead
    assert int(page.ask('GET', '/made')) <= 8
    page._say({'frames': [['got', stopped, page.came[stopped]]]})
    for _ in page.read(stopped): pass
    assert page.came[stopped] == 2**24


def memory(page: FlowPage) -> int:
    "Of the kernel, in bytes."
    return int(page.ask('GET', '/memory'))
