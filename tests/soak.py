"""A soak, outside CI: many sockets, handlers swapped every second, clients that come and go.

    python -m tests.soak [--minutes 10] [--sockets 2000]

Every client numbers its messages and gets each one back from a room of its own, in order; and all are in one room, to
which another thread sends `BURST` numbered messages a second, as a cell would. One client in a hundred is reset in
mid-conversation every second and replaced by a new one. Ends with exit code 1 if anything was lost or reordered for
those who stayed, or if the server's memory grew by more than a tenth after the first minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import time
from typing import Any

import psutil
from nbws.common import App, Li
from nbws.server.listener import Server
from websockets.asyncio.client import connect

PACE = 1.0  # seconds between two messages of a client
BURST = 3  # messages to all, a second


def define(app: App, version: int) -> None:
    """What a cell does when it is run again."""
    def on_conn(ws: Any) -> None:
        for name in str(id(ws)), 'all': app.room(name).join(ws)
    def on_disconn(ws: Any) -> None:
        if room := app.rooms.pop(str(id(ws)), None): room.leave(ws)

    @app.ws('/ws', conn=on_conn, disconn=on_disconn)
    async def ws(ws: Any, n: int) -> None: app.room(str(id(ws))).send(Li(n, data_version=version))


async def client(port: int, until: float, faults: list[str], counts: dict[str, int], stop: asyncio.Event) -> None:
    """One conversation, until its time is over or it is told to break off."""
    async with connect(f'ws://127.0.0.1:{port}/ws', compression=None, max_queue=4) as ws:
        n, told = 0, -1

        async def answer() -> str:
            nonlocal told
            while (text := str(await asyncio.wait_for(ws.recv(), 30))).startswith('all '):
                if told not in (-1, int(text[4:]) - 1): faults.append(f'after {told} to all came {text!r}')
                told = int(text[4:])
            return text
        await asyncio.sleep(random.random() * PACE)
        while time.monotonic() < until and not stop.is_set():
            await ws.send(json.dumps({'n': n}))
            text = await answer()
            if f'>{n}</li>' not in text: faults.append(f'expected {n}, got {text!r}')
            n, counts['messages'] = n + 1, counts['messages'] + 1
            await asyncio.sleep(PACE)
        if stop.is_set(): ws.transport.abort()


async def crowd(port: int, sockets: int, seconds: float) -> tuple[list[str], dict[str, int]]:
    """Clients that come and go."""
    until, faults, counts = time.monotonic() + seconds, [], {'messages': 0, 'resets': 0}
    running: dict[asyncio.Task[None], asyncio.Event] = {}

    def enter() -> None:
        stop = asyncio.Event()
        running[asyncio.create_task(client(port, until, faults, counts, stop))] = stop

    for i in range(sockets):
        enter()
        if i % 50 == 0: await asyncio.sleep(0.1)
    while time.monotonic() < until:
        await asyncio.sleep(1)
        for task in random.sample(list(running), sockets // 100):
            stop = running.pop(task)
            stop.set()
            await asyncio.wait([task], timeout=5)
            counts['resets'] += 1
            enter()
    for result in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(result, BaseException): faults.append(repr(result))
    return faults, counts


def crowded(port: int, sockets: int, seconds: float, results: Any) -> None:
    """The clients' process."""
    results.put(asyncio.run(crowd(port, sockets, seconds)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--sockets', type=int, default=2000)
    options = parser.parse_args()
    app, me, seconds = App(), psutil.Process(), options.minutes * 60
    define(app, 0)
    context = multiprocessing.get_context('spawn')
    results: Any = context.Queue()
    with Server(app) as server:
        process = context.Process(target=crowded, args=(server.port, options.sockets, seconds, results))
        process.start()
        begun, early, version = time.monotonic(), 0, 0
        while results.empty() and process.is_alive():
            time.sleep(1)
            version += 1
            define(app, version)
            for n in range(BURST): app.room('all').send(f'all {version * BURST + n}')
            passed, memory = time.monotonic() - begun, me.memory_info().rss // 1024
            if passed > min(60, seconds / 3) and not early: early = memory
            if version % 10: continue
            print(f'{passed:6.0f} s  {len(app.sockets):5} sockets  {memory:7} KiB  swap {version}', flush=True)
        faults, counts = results.get(timeout=60)
        process.join(30)
        grown = (me.memory_info().rss // 1024) / early if early else 1
    print(f'{counts}, {version} swaps, {len(faults)} faults, memory x {grown:.2f} since the first minute')
    for fault in faults[:10]: print(' ', fault)
    return int(bool(faults) or grown > 1.1)


if __name__ == '__main__': sys.exit(main())
