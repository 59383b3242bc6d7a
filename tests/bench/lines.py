"""Round trips of a page's socket where its kernel's port is out of reach: `python -m tests.bench.lines`.

A real JupyterLab in Chromium, without our extension. One page of the notebook is reached directly, its like goes over
the kernel's own messages, and jupyter-loopback's bridge asks the same kernel from the same notebook's page. Text and
1 MiB go there and back, then text while a cell computes. Medians and nine tenths of interleaved rounds, in ms, and how
many times as long as directly; only ratios within one run count. The peer comes from PyPI into a folder of its own.

Playwright opens the notebook and runs its cells. While something is measured it is away: Chromium passes each message
of each socket on to it, 1 MiB as base64 in JSON, which took as much of the processor as all else.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Page, Playwright, sync_playwright
from websockets.sync.client import connect

from e2e.chromium import launch_arguments
from e2e.jupyter import JupyterServer, JupyterSettings
from e2e.notebook import Notebook, write_notebook
from e2e.test_proxy import BOTH_OFF
from e2e.timeouts import wait_until

from .__main__ import ROOT, table

PEER = ('jupyter-loopback==0.3.3', 'anywidget==0.11.0', 'psygnal==0.16.1', 'ipywidgets==8.1.9',
        'jupyterlab_widgets==3.0.17', 'widgetsnbextension==4.0.16')
FOLDER = ROOT/'.venv-bench/loopback'
REFUSED = 6667 # As out of reach as another machine's: browsers ask for nothing there (Fetch Standard, section 2.9)
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


class Chromium:
    "A browser with one page, that Playwright drives now and then."
    def __init__(self, playwright: Playwright, folder: Path) -> None:
        self._playwright = playwright
        told = launch_arguments(playwright.chromium.executable_path)
        command = [told.get('executable_path', playwright.chromium.executable_path), *told['args'], '--headless',
                   '--remote-debugging-port=0', f'--user-data-dir={folder}', 'about:blank']
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told_port = folder/'DevToolsActivePort'
        try: wait_until(lambda: told_port.exists() and told_port.read_text().count('\n') > 0, 'Chromium', 60)
        except BaseException:
            self.stop()
            raise
        self.port = int(told_port.read_text().split()[0])

    def stop(self) -> None:
        "The end."
        self._process.kill()
        self._process.wait()

    @contextmanager
    def driven(self) -> Iterator[Page]:
        "The page, as long as Playwright is there."
        browser = self._playwright.chromium.connect_over_cdp(f'http://127.0.0.1:{self.port}')
        try: yield browser.contexts[0].pages[0]
        finally: browser.close() # Chromium goes on

    def evaluate(self, origin: str | None, # Of a frame; by default of the page itself
                 expression: str) -> Any:
        "What a promise in a frame of the page comes to, asked by the DevTools protocol and nothing else."
        with urlopen(f'http://127.0.0.1:{self.port}/json', timeout=30) as told:
            target = next(each for each in json.load(told) if each['type'] == 'page')
        with connect(target['webSocketDebuggerUrl'], max_size=None) as socket:
            socket.send(json.dumps({'id': 1, 'method': 'Runtime.enable'}))
            context = None
            while True:
                heard = json.loads(socket.recv(timeout=120))
                found = heard.get('params', {}).get('context', {})
                if heard.get('method') == 'Runtime.executionContextCreated':
                    own, main = found['auxData']['isDefault'], found['auxData']['frameId'] == target['id']
                    if own and (main if origin is None else found['origin'] == origin): context = found['id']
                if heard.get('id') == 1:
                    how = {'contextId': context, 'awaitPromise': True, 'returnByValue': True}
                    params = {'expression': expression, **how}
                    socket.send(json.dumps({'id': 2, 'method': 'Runtime.evaluate', 'params': params}))
                if heard.get('id') == 2:
                    result = heard.get('result', {}).get('result', {})
                    if 'value' not in result: raise ValueError(json.dumps(heard))
                    return result['value']


def opened(notebook: Notebook) -> None:
    "Run its cells: the page at its port, the one over the kernel's messages, and the peer's bridge."
    page = notebook.page
    for cell, way in ((1, 'direct'), (2, 'kernel')):
        notebook.run(cell)
        page.wait_for_selector(f'iframe[data-way={way}]', timeout=30_000, state='attached')
        notebook.loaded(cell).wait_for_selector('h1', timeout=30_000)
    notebook.run(3)
    page.wait_for_function('window.__jupyter_loopback__', timeout=30_000)


def measures(browser: Chromium, notebook: Notebook) -> dict[str, Callable[[int, int], list[float]]]:
    "The ways, as functions that measure round trips of so many bytes, so many times."
    [direct] = re.findall(r'src="(http://127[^/]+)', notebook.output(1).inner_html())
    def within(origin: str | None, code: str, window: str = 'window') -> Callable[[int, int], list[float]]:
        def measure(size: int, count: int) -> list[float]:
            run = f'({window}).eval({json.dumps(f"({MEASURE})(); ({code})([{size}, {count}])")})'
            found: list[float] = browser.evaluate(origin, run)
            return found
        return measure
    framed = 'document.querySelector("iframe[data-way=kernel]").contentWindow'
    return {'direct': within(direct, SOCKET), 'kernel channel': within(None, SOCKET, framed),
            'jupyter-loopback': within(None, BRIDGED)}


def measured(browser: Chromium, notebook: Notebook, rounds: int) -> dict[tuple[str, str], list[float]]:
    "Milliseconds by what was done and by which way."
    with browser.driven() as notebook.page:
        opened(notebook)
        ways = measures(browser, notebook)
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for what, size, count in (('text, idle', 20, 50), ('1 MiB, idle', 2**20, 6)):
            for way, measure in ways.items(): took[what, way] += measure(size, count)
        with browser.driven() as notebook.page:
            notebook.start(4)
            notebook.page.wait_for_timeout(1000) # The cell computes
        for way in ('direct', 'kernel channel'): # The peer's waits for the cell
            took['text, a cell computes', way] += ways[way](20, 50)
        with browser.driven() as notebook.page: notebook.wait(4, bound=60)
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
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright, ExitStack() as stack:
        jupyter = JupyterServer(JupyterSettings(flags=BOTH_OFF, environment=environment), Path(home))
        stack.callback(jupyter.stop)
        browser = Chromium(playwright, Path(home)/'chromium')
        stack.callback(browser.stop)
        cells = [APP, 'serve(near)', f'serve(far, port={REFUSED})', BRIDGE, BUSY]
        path = write_notebook(jupyter.root/'lines.ipynb', cells)
        with browser.driven() as page:
            notebook = Notebook(page, jupyter, path, Path(home))
            notebook.run(0)
        shown(measured(browser, notebook, options.rounds))


if __name__ == '__main__': main()
