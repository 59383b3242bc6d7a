"""Round trips of a page's socket where its kernel's port is out of reach: `python -m tests.bench.lines`.

A real JupyterLab in Chromium, without our extension. One page of the notebook is reached directly, its like goes over
the kernel's own messages, and jupyter-loopback's bridge asks the same kernel from the same notebook's page. Text and
1 MiB go there and back, then text while a cell computes. Medians and nine tenths of interleaved rounds, in ms, and how
many times as long as directly; only ratios within one run count. The peer comes from PyPI into a folder of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Frame, Page, Route, sync_playwright

from e2e.chromium import launch_arguments
from e2e.jupyter import JupyterServer, JupyterSettings
from e2e.notebook import Notebook, write_notebook
from e2e.test_proxy import BOTH_OFF

from .__main__ import ROOT, table

PEER = ('jupyter-loopback==0.3.3', 'anywidget==0.11.0', 'psygnal==0.16.1', 'ipywidgets==8.1.9',
        'jupyterlab_widgets==3.0.17', 'widgetsnbextension==4.0.16')
FOLDER = ROOT/'.venv-bench/loopback'
APP = """from nbws.common import *
near, far = App(), App()
async def echo(websocket):
    await websocket.accept()
    async for message in websocket: await websocket.send(message)
for app in near, far:
    app.get('/')(lambda: Titled('a page'))
    app.ws('/echo')(echo)
"""
BRIDGE = """import jupyter_loopback
@jupyter_loopback.on_request('bench', 'echo')
def echoed(data, buffers): return data, buffers
jupyter_loopback.enable_comm_bridge()"""
BUSY = "import time\nuntil = time.time() + 15\nwhile time.time() < until: pass"

SOCKET = """async ([size, count]) => {
  const socket = window.bench_socket ||= new WebSocket('ws://' + location.host + '/echo')
  socket.binaryType = 'arraybuffer'
  if (socket.readyState !== 1) await new Promise((ok, no) => { socket.onopen = ok; socket.onclose = no })
  return await window.bench_measure(size, count, data => new Promise(ok => {
    socket.onmessage = e => ok(e.data)
    socket.send(data)
  }))
}"""
BRIDGED = """async ([size, count]) => await window.bench_measure(size, count, async data => {
  const bridge = window.__jupyter_loopback__
  if (typeof data === 'string') return (await bridge.request('bench', 'echo', { data })).data.data
  return (await bridge.request('bench', 'echo', {}, [data.buffer])).buffers[0]
})"""
MEASURE = """() => {
  window.bench_measure = async (size, count, echo) => {
    const took = [], data = size > 100 ? new Uint8Array(size) : 'x'.repeat(size)
    for (let n = -2; n < count; n++) { // The first ones warm up
      const began = performance.now(), got = await echo(data)
      if ((got.length ?? got.byteLength) !== size) throw new Error('another size')
      if (n >= 0) took.push(performance.now() - began)
    }
    return took
  }
}"""


def peer() -> Path:
    "The folder with jupyter-loopback and what it brings to JupyterLab."
    if not (FOLDER/'jupyter_loopback').is_dir():
        pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', str(FOLDER)]
        subprocess.run([*pip, *PEER], check=True, timeout=300)
    return FOLDER


def opened(notebook: Notebook, jupyter: JupyterServer) -> dict[str, Callable[..., list[float]]]:
    "The ways, as functions that measure."
    page = notebook.page
    def refuse(route: Route) -> None: # Another machine's ports
        if route.request.url.startswith(jupyter.url): route.continue_()
        else: route.abort()
    frames: list[Frame] = []
    for cell, way in ((1, 'direct'), (2, 'kernel')):
        notebook.run(cell)
        page.wait_for_selector(f'iframe[data-way={way}]', timeout=30_000, state='attached')
        frames.append(notebook.loaded(cell))
        frames[-1].wait_for_selector('h1', timeout=30_000)
        page.context.route('**/_nbws/nbws.js', refuse)
    notebook.run(3)
    page.wait_for_function('window.__jupyter_loopback__', timeout=30_000)
    def measures(where: Frame | Page, code: str) -> Callable[..., list[float]]:
        where.evaluate(MEASURE)
        return lambda size, count: where.evaluate(code, [size, count])
    return {'direct': measures(frames[0], SOCKET), 'kernel channel': measures(frames[1], SOCKET),
            'jupyter-loopback': measures(page, BRIDGED)}


def measured(notebook: Notebook, jupyter: JupyterServer, rounds: int) -> dict[tuple[str, str], list[float]]:
    "Milliseconds by what was done and by which way."
    ways, took = opened(notebook, jupyter), defaultdict(list)
    for _ in range(rounds):
        for what, size, count in (('text, idle', 20, 50), ('1 MiB, idle', 2**20, 6)):
            for way, measure in ways.items(): took[what, way] += measure(size, count)
        notebook.start(4)
        notebook.page.wait_for_timeout(1000) # The cell computes
        for way in ('direct', 'kernel channel'): # The peer's waits for the cell
            took['text, a cell computes', way] += ways[way](20, 50)
        notebook.wait(4, bound=60)
    return took


def shown(took: dict[tuple[str, str], list[float]]) -> None:
    "The table."
    whats, ways = dict.fromkeys(what for what, _ in took), dict.fromkeys(way for _, way in took)
    def cell(what: str, way: str) -> str:
        if not (times := took.get((what, way))): return 'waits for the cell'
        middle = median(times)
        return f'{middle:.1f} / {quantiles(times, n=10)[-1]:.1f} ({middle / median(took[what, "direct"]):.0f} x)'
    print(table(['p50 / p90 in ms', *ways], [[what, *(cell(what, way) for way in ways)] for what in whats]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    folder = peer()
    environment = (('PYTHONPATH', f'{folder}:{ROOT}'), ('JUPYTER_PATH', str(folder/'share/jupyter')))
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        jupyter = JupyterServer(JupyterSettings(flags=BOTH_OFF, environment=environment), Path(home))
        browser = playwright.chromium.launch(**launch_arguments(playwright.chromium.executable_path))
        try:
            path = write_notebook(jupyter.root/'lines.ipynb', [APP, 'serve(near)', 'serve(far)', BRIDGE, BUSY])
            notebook = Notebook(browser.new_page(), jupyter, path, Path(home))
            notebook.run(0)
            shown(measured(notebook, jupyter, options.rounds))
        finally:
            browser.close()
            jupyter.stop()


if __name__ == '__main__': main()
