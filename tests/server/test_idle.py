"""What an open socket costs that says nothing: the bytes that our files have asked for, not a time."""
from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from raw import Raw, serving, text

import nbws
from nbws.app import App
from nbws.server.listener import Server

OURS = tracemalloc.Filter(True, f'{Path(nbws.__file__).parent}/*')
PROGRAM: dict[str, str] = {}
BROWSER = {
    'Pragma': 'no-cache', 'Cache-Control': 'no-cache', 'Origin': 'http://localhost',
    'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36',
    'Accept-Encoding': 'gzip, deflate, br, zstd', 'Accept-Language': 'en-US,en;q=0.9',
    'Cookie': f'session={"x" * 80}', 'Sec-WebSocket-Protocol': 'nbws.alive',
    'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits'}


@contextmanager
def counted() -> Iterator[None]:
    tracemalloc.start()
    try: yield
    finally: tracemalloc.stop()


def allocated() -> int:
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([OURS]).traces)


def opened(server: Server, stack: ExitStack, sockets: int, fields: dict[str, str]) -> None:
    "Sockets that are open, and of which nothing is on its way any more."
    for _ in range(sockets):
        client = stack.enter_context(Raw(server))
        client.open('/echo', **fields)
    client.send(text('{"msg": "hello"}'))
    client.frame()


@pytest.mark.parametrize(('fields', 'most'), [(PROGRAM, 1950), (BROWSER, 2700)], ids=['program', 'browser'])
def test_an_idle_socket_is_small(fields: dict[str, str], most: int) -> None:
    app = App()
    @app.ws('/echo')
    async def echo(msg: str) -> str: return msg
    # On asyncio's loop: what uvloop asks for itself would stand under one of our files
    with serving(app, uvloop=False) as server, ExitStack() as stack, counted():
        opened(server, stack, 20, fields) # What the first ones cost is not theirs
        had = allocated()
        opened(server, stack, 100, fields)
        each = (allocated() - had) / 100
    assert each < most, f'{each:.0f} bytes for each socket'
