"""The way of one message and of one page through nbws: `python tests/walk.py`, with `--calls` each call.

Counted on the thread of the server, from the bytes that come to those that go: calls of our functions, moves from one
of our files to another, and the files.
"""
from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from websockets.sync.client import connect

import nbws
from nbws.common import Div, FastHTML, Li, P, Titled
from nbws.server.listener import Server

HOME = str(Path(nbws.__file__).parent) + '/'
app = FastHTML(exts='ws')


@app.get('/')
async def home() -> Any: return Titled('Hello', P('a page'), Div('of components'))


@app.ws('/ws')
async def ws(msg: str) -> Any: return Li(msg)


def on_loop(server: Server, call: Callable[[], Any]) -> None:
    done = threading.Event()
    server.loop.call_soon_threadsafe(lambda: (call(), done.set()))
    assert done.wait(10)


def walk(server: Server, once: Callable[[], Any]) -> list[tuple[str, str]]:
    "File and function of each call on the loop while `once` runs, the second time."
    once()
    calls: list[tuple[str, str]] = []
    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == 'call' and frame.f_code.co_filename.startswith(HOME):
            code: Any = frame.f_code
            calls.append((code.co_filename.removeprefix(HOME), getattr(code, 'co_qualname', code.co_name)))
    on_loop(server, lambda: sys.setprofile(profile))
    once()
    on_loop(server, lambda: sys.setprofile(None))
    return [call for call in calls if 'on_loop' not in call[1]]


def show(name: str, calls: list[tuple[str, str]]) -> None:
    files = [file for file, _ in calls]
    moves = [file for n, file in enumerate(files) if not n or file != files[n - 1]]
    print(f'{name}: {len(calls)} calls, {len(moves)} moves, {len(set(files))} files')
    print('   ', ' > '.join(file.removesuffix('.py') for file in moves))
    if '--calls' in sys.argv:
        for file, function in calls: print(f'      {file:28} {function}')


def main() -> None:
    server = Server(app)
    server.start()
    try:
        page = http.client.HTTPConnection('127.0.0.1', server.port)
        def get() -> None:
            page.request('GET', '/')
            page.getresponse().read()
        show('a page', walk(server, get))
        with connect(f'ws://127.0.0.1:{server.port}/ws') as socket:
            def say() -> None:
                socket.send('{"msg": "hello"}')
                socket.recv()
            show('a message', walk(server, say))
        page.close()
    finally: server.stop()


if __name__ == '__main__': main()
