"""A soak, outside CI: a figure of matplotlib that a cell's timer changes ten times a second, on many pages.

    python -m tests.soak_figures [--minutes 10] [--pages 50]

One of the pages stands in Chromium, the others are clients that take what a page takes. Ends with exit code 1 if the
server's memory, or that of the page, grew by more than a tenth after the first minute, if a figure was left open in
pyplot, or if a page was given less than half of what the timer asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import re
import sys
import time
from typing import Any

import psutil
from nbws.common import Titled, fast_app
from nbws.server.listener import Server
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

EVERY = 15 # Seconds between two looks


def serve(pipe: Any) -> None:
    "The server, in a process of its own."
    import matplotlib
    matplotlib.use('agg')
    from matplotlib import pyplot
    app, rt = fast_app(static_path=None)
    made = [0]

    @app.part
    def figure() -> Any:
        figure, axes = pyplot.subplots(figsize=(5, 2))
        axes.plot([(x * made[0]) % 97 for x in range(400)])
        return figure

    @app.every(.1)
    def tick() -> None:
        made[0] += 1
        figure.refresh()

    @rt('/')
    def index() -> Any: return Titled('A figure', figure())

    with Server(app, port=0) as server:
        pipe.send(server.port)
        while pipe.recv():
            gc.collect()
            pipe.send((psutil.Process().memory_info().rss / 2**20, len(pyplot.get_fignums()), made[0]))


async def fetched(port: int) -> str:
    "The page."
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    text = (await reader.read()).decode()
    writer.close()
    return text


async def client(port: int, counts: list[int]) -> None:
    "A page without a browser."
    found = re.search(r'data-nbws-part="([^"]+)" data-nbws-version="([^"]*)"', await fetched(port))
    assert found
    async with connect(f'ws://127.0.0.1:{port}/_nbws/parts?page=%2F', max_size=None) as ws:
        await ws.send(json.dumps({'show': 1, 'part': found[1], 'version': found[2], 'values': {}}))
        async for message in ws:
            if message[:1] == '{': continue
            counts[0] += 1
            await ws.send('{"shown": 1}')


async def browse(port: int, pipe: Any, o: argparse.Namespace) -> list[str]:
    "What was wrong."
    counts, faults, first, until = [0], [], None, time.monotonic() + 60 * o.minutes
    clients = [asyncio.create_task(client(port, counts)) for _ in range(o.pages - 1)]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path='/usr/bin/chromium', args=['--no-sandbox'])
        page = await browser.new_page()
        await page.goto(f'http://127.0.0.1:{port}/')
        tools = await page.context.new_cdp_session(page)
        await tools.send('Performance.enable')
        while (left := until - time.monotonic()) > 0:
            counts[0] = 0
            pipe.send(True)
            _, _, before = await asyncio.to_thread(pipe.recv)
            await asyncio.sleep(min(EVERY, left))
            pipe.send(True)
            memory, figures, made = await asyncio.to_thread(pipe.recv)
            await tools.send('HeapProfiler.collectGarbage')
            metrics = {m['name']: m['value'] for m in (await tools.send('Performance.getMetrics'))['metrics']}
            heap, nodes = metrics['JSHeapUsedSize'] / 2**20, metrics['Nodes']
            shown = counts[0] / max(1, made - before) / max(1, o.pages - 1)
            past = 60 * o.minutes - left
            print(f'{past:4.0f} s: server {memory:.1f} MiB, {figures} figures open, page {heap:.1f} MiB, '
                  f'{nodes:.0f} nodes; {made - before} changes, {100 * shown:.0f} % shown by each page', flush=True)
            if past >= 45 and first is None: first = memory, heap, nodes
            if figures > 2: # They are being drawn
                faults.append(f'{figures} figures are open in pyplot')
            if shown < .5 and left > EVERY: faults.append(f'pages were given {100 * shown:.0f} %')
        await browser.close()
    ended = [task for task in clients if task.done()]
    for task in clients: task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    for name, was, now in zip(('the server', 'the page', 'nodes'), first or (), (memory, heap, nodes), strict=False):
        if now > 1.1 * was: faults.append(f'{name} grew from {was:.1f} to {now:.1f}')
    return [*faults, *(f'{len(ended)} clients have ended' for _ in ended[:1])]


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.soak_figures', description=__doc__)
    options.add_argument('--minutes', type=float, default=10)
    options.add_argument('--pages', type=int, default=50)
    o = options.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context('spawn').Process(target=serve, args=(theirs,))
    process.start()
    try: faults = asyncio.run(browse(ours.recv(), ours, o))
    finally:
        ours.send(False)
        process.join(20)
    print(*(faults or ['nothing grew, and no figure was left']), sep='\n')
    sys.exit(bool(faults))


if __name__ == '__main__': main()
