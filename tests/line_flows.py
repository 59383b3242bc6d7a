"""What flows between an app and a page whose sockets go by requests: much at once, long, fast, and unread.

The page is a client of ours, which polls or has a stream, and the server a process of its own.
`tests/lines/test_line_flows.py` takes short flows, `tests/soak_lines.py` long ones.
"""
from __future__ import annotations

import hashlib
import json

from bound import until
from line_client import Client, StreamClient

from nbws.lines.frames import BINARY, CLOSE, OPENED, TEXT

APP = """
import asyncio, hashlib, psutil
from nbws.common import *
app, made = FastHTML(exts='ws'), [0]
@app.ws('/down')
async def down(websocket):
    await websocket.accept()
    size = int(await websocket.receive())
    for n in range(size // 2**18):
        made[0] = n
        await websocket.send(bytes([n % 251]) * 2**18)
@app.ws('/up')
async def up(websocket):
    await websocket.accept()
    digest, size = hashlib.sha256(), 0
    async for piece in websocket:
        if piece == 'end': break
        digest.update(piece)
        size += len(piece)
    await websocket.send(f'{size} {digest.hexdigest()}')
@app.get('/made')
def how_many(): return str(made[0])
@app.get('/memory')
def memory(): return str(psutil.Process().memory_info().rss)
@app.ws('/ticks')
async def ticks(websocket):
    await websocket.accept()
    count, rate = await websocket.receive_json()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for n in range(count):
        await websocket.send(str(n))
        if rate and not n % 20: await asyncio.sleep(began + n / rate - loop.time())
"""


class LinePage:
    "A page of the app; `way` is 'polls' or 'stream'."
    def __init__(self, url: str, way: str) -> None:
        self.client = (StreamClient if way == 'stream' else Client)(url).__enter__()
        self.last = 0

    def __enter__(self) -> LinePage: return self
    def __exit__(self, *error: object) -> None: self.client.__exit__()

    def open(self, path: str) -> int:
        "A socket's number."
        self.last += 1
        assert self.client.open(self.last, path) == 101
        assert self.client.next(OPENED).number == self.last
        return self.last

    def ask(self, path: str) -> int: return int(self.client.http.get(path).text)


def down(page: LinePage, size: int) -> None:
    "So many bytes come, in order."
    page.client.send(page.open('/down'), str(size))
    for n in range(size // 2**18):
        assert page.client.next(BINARY).data == bytes([n % 251]) * 2**18
    page.client.next(CLOSE)


def up(page: LinePage, size: int) -> None:
    "So many bytes go, in order, as fast as the app reads them."
    number, digest = page.open('/up'), hashlib.sha256()
    for n in range(size // 2**18):
        piece = n.to_bytes(8, 'big') * 2**15
        digest.update(piece)
        until(lambda piece=piece: page.client.send(number, piece) == 204)
    until(lambda: page.client.send(number, 'end') == 204)
    assert page.client.next(TEXT).data == f'{size} {digest.hexdigest()}'.encode()
    page.client.next(CLOSE)


def ticks(page: LinePage, count: int, rate: int = 0) -> None:
    "So many messages come in order, at most so many a second."
    page.client.send(page.open('/ticks'), json.dumps([count, rate]))
    for n in range(count): assert page.client.next(TEXT).data == str(n).encode()
    page.client.next(CLOSE)


def unread(page: LinePage) -> None:
    "For a page that does not read little is made; it has all when it reads."
    page.client.send(page.open('/down'), str(2**24))
    until(lambda: page.ask('/made') < 31) # Which was the last one's
    for _ in range(10): # It is there, and takes nothing
        assert page.client.send(0, b'') == 204 and page.ask('/made') <= 8
    for n in range(2**24 // 2**18): assert page.client.next(BINARY).data[:1] == bytes([n % 251])
    page.client.next(CLOSE)


def memory(page: LinePage) -> int:
    "Of the server, in bytes."
    return page.ask('/memory')
