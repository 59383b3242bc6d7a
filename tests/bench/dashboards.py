"""The same small pages in nbws, Gradio, Panel and marimo, in one run: `python -m tests.bench.dashboards`.

`tests/bench/pages` has each of them as its users write it: a slider and the figure that follows it, a figure that the
server changes a hundred times a second, and a chat that answers. Chromium shows them through a relay, which counts the
bytes that come from the server, as they are on the wire. Each figure is a median of interleaved runs; the browser and
the machine are a part of it, so only ratios within one run count. The peers get a venv of their own (`.venv-bench`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from statistics import median

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NeverCame

from .__main__ import ROOT, free_port, pythons, table, until_listening

PAGES = Path(__file__).parent / 'pages'
PEERS = ('nbws', 'gradio', 'panel', 'marimo')
STEPS = 20 # Of the slider, and messages of the chat
PUSHED = 5.0 # Seconds

NOTE = 'textarea, input[type=text], input:not([type])'

# In the page: elements in shadow roots are found, too
FIND = '''
  window.bench_all = function* (root) {
    for (const e of root.querySelectorAll('*')) { yield e; if (e.shadowRoot) yield* window.bench_all(e.shadowRoot) }
  }
  const some = test => [...window.bench_all(document)].some(test)
  window.bench_shown = (name, text) => some(e => e.localName === name && e.textContent === text)
  window.bench_said = text => some(e => !e.children.length && e.textContent.trim() === text)
  const FIGURES = 'img[src], svg, object[data], iframe[srcdoc]'
  const isLarge = e => e.getBoundingClientRect().width > 150
  window.bench_look = () => [...window.bench_all(document)].filter(e => e.matches(FIGURES) && isLarge(e))
    .map(e => e.localName + (e.src || e.data || e.srcdoc || e.innerHTML)).join()
  window.bench_changed = () => { const now = window.bench_look(); return now && now !== window.bench_before }
  window.bench_until = test => new Promise(done => { // As soon as the document has changed, not with the next frame
    const seen = new Set()
    const watch = () => {
      for (const root of [document, ...[...window.bench_all(document)].map(e => e.shadowRoot)])
        if (root && !seen.has(root)) {
          seen.add(root)
          observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true })
        }
    }
    const end = () => { observer.disconnect(); clearTimeout(late); done() }
    const observer = new MutationObserver(() => test() ? end() : watch())
    const late = setTimeout(end, 20000)
    if (test()) end(); else watch()
  })
'''
WAIT = '''() => {
  let began = 0
  addEventListener('keydown', () => { began = performance.now() }, { capture: true, once: true })
  window.bench_took = window.bench_until(() => %s).then(() => performance.now() - began)
}'''
TICKS = '''seconds => new Promise(done => {
  const seen = new Set(), began = performance.now()
  const look = () => {
    for (const e of window.bench_all(document)) if (e.localName === 'text') seen.add(e.textContent)
    if (performance.now() - began > seconds * 1000) done(seen.size); else requestAnimationFrame(look)
  }
  look()
})'''


class Relay:
    "Between the browser and a server: it counts what comes from the server."
    def __init__(self, port: int) -> None:
        self.target, self.bytes = port, 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try: ours, _ = self.listener.accept()
            except OSError: return
            threading.Thread(target=self._pass, args=(ours,), daemon=True).start()

    def _pass(self, ours: socket.socket) -> None:
        try:
            with ours, socket.create_connection(('127.0.0.1', self.target)) as theirs, DefaultSelector() as ready:
                for s in (ours, theirs):
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(s, EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data: return
                        if key.fileobj is theirs: self.bytes += len(data)
                        (ours if key.fileobj is theirs else theirs).sendall(data)
        except OSError: pass # One of them has left

    def close(self) -> None: self.listener.close()


MARIMO = ['-m', 'marimo', '-q', 'run', '--headless', '--no-token', '-p', '{port}', '{file}']
WATCHED = { # By each one's own way to follow a program while it is written
    'nbws': ['-m', 'nbws', 'run', '--reload', '--port', '{port}', '{file}'],
    'gradio': ['-m', 'gradio', '{file}'],
    'panel': ['-m', 'panel', 'serve', '--dev', '--port', '{port}', '--allow-websocket-origin=*', '{file}'],
    'marimo': [*MARIMO, '--watch']}


@contextmanager
def served(python: dict[str, str], peer: str, file: Path, watched: bool = False) -> Iterator[Relay]:
    "A page's program."
    port = free_port()
    command = WATCHED[peer] if watched else MARIMO if peer == 'marimo' else ['{file}']
    env = {**os.environ, 'PORT': str(port), 'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_OFFLINE': '1',
           'GRADIO_SERVER_PORT': str(port),
           'PYTHONPATH': os.pathsep.join(map(str, (PAGES, *([ROOT] if peer == 'nbws' else []))))}
    process = subprocess.Popen([python[peer], *(part.format(port=port, file=file) for part in command)], env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=file.parent,
                               start_new_session=True)
    try:
        until_listening(process, port, 60)
        relay = Relay(port)
        yield relay
        relay.close()
    finally:
        process.terminate()
        try: process.wait(10)
        except subprocess.TimeoutExpired: pass
        with suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGKILL) # Its children, too


@contextmanager
def program(peer: str, page: str) -> Iterator[Path]:
    "A page's program: a copy, for one of them is changed."
    with tempfile.TemporaryDirectory(prefix='nbws-bench-') as folder:
        yield Path(shutil.copy(PAGES / f'{page}_{peer}.py', folder))


def settled(page: Page, relay: Relay) -> None:
    "Nothing comes any more."
    before = -1
    while before != relay.bytes:
        before = relay.bytes
        page.wait_for_timeout(200)


def shown_after(page: Page, relay: Relay, key: str, test: str) -> tuple[float, int]:
    "Milliseconds until the page shows what it is to show, and bytes."
    settled(page, relay)
    before = relay.bytes
    page.evaluate('() => { window.bench_before = window.bench_look() }')
    page.evaluate(WAIT % test)
    page.keyboard.press(key)
    took = page.evaluate('() => window.bench_took')
    settled(page, relay)
    return took, relay.bytes - before


def slider(page: Page, relay: Relay, began: float) -> dict[str, float]:
    page.wait_for_function('() => window.bench_shown("text", "n = 3")', timeout=60_000)
    first = time.monotonic() - began
    page.locator('input[type=range], [role=slider]').first.focus()
    steps = [shown_after(page, relay, 'ArrowRight', f'window.bench_shown("text", "n = {n}")')
             for n in range(4, 4 + STEPS)]
    return {'first page, s': first, 'update of a figure, ms': median(ms for ms, _ in steps),
            'update of a figure, bytes': median(size for _, size in steps)}


def plot(page: Page, relay: Relay, began: float) -> dict[str, float]:
    page.wait_for_function('() => window.bench_look()', timeout=60_000)
    first = time.monotonic() - began
    page.locator('input[type=range], [role=slider]').first.focus()
    steps = [shown_after(page, relay, 'ArrowRight', 'window.bench_changed()') for _ in range(STEPS)]
    return {'first page with a plot, s': first, 'update of a plot, ms': median(ms for ms, _ in steps),
            'update of a plot, bytes': median(size for _, size in steps)}


def ticks(page: Page, relay: Relay, began: float) -> dict[str, float]:
    page.wait_for_function('() => [...window.bench_all(document)].some(e => e.localName === "text")', timeout=60_000)
    return {'figures a second': page.evaluate(TICKS, PUSHED) / PUSHED}


def chat(page: Page, relay: Relay, began: float) -> dict[str, float]:
    box = page.locator('textarea, input[type=text], input:not([type]), [contenteditable=true]').first
    box.wait_for(timeout=60_000)
    first = time.monotonic() - began
    turns = []
    for n in range(STEPS):
        settled(page, relay)
        box.click()
        page.keyboard.insert_text(f'message {n}')
        turns.append(shown_after(page, relay, 'Enter', f'window.bench_said("you said message {n}")'))
    return {'first page of a chat, s': first, 'answer in a chat, ms': median(ms for ms, _ in turns),
            'answer in a chat, bytes': median(size for _, size in turns)}


def changed(page: Page, file: Path) -> dict[str, float]:
    "What is left of a visitor's page when its program is saved with another line."
    page.wait_for_function('() => window.bench_shown("text", "before = 3")', timeout=60_000)
    slider, note = page.locator('input[type=range], [role=slider]').first, page.locator(NOTE).first
    slider.focus()
    for n in range(4, 8):
        page.keyboard.press('ArrowRight')
        page.wait_for_function(f'() => window.bench_shown("text", "before = {n}")', timeout=20_000)
    note.click()
    page.keyboard.type('typed')
    page.evaluate('() => { window.bench_mark = true }')
    began = time.monotonic()
    file.write_text(file.read_text().replace("'before'", "'after'"))
    shown = '() => [...window.bench_all(document)].find(e => e.localName === "text" && /^after/.test(e.textContent))'
    try: page.wait_for_function(shown, timeout=30_000)
    except NeverCame: took = float('nan')
    else: took = time.monotonic() - began
    page.wait_for_timeout(2000) # A page that loads itself anew may do so later
    text = page.evaluate(f'() => {{ const found = ({shown})(); return found ? found.textContent : "" }}')
    same = page.evaluate('() => !!window.bench_mark')
    return {'a changed line is shown, s': took, 'and the page is the same one': same,
            'and its slider stays': text == 'after = 7', 'and what was typed stays': note.input_value() == 'typed'}


def lines(peer: str) -> dict[str, float]:
    "Lines of code: none that is empty."
    return {f'lines, {page}': sum(bool(line.strip()) for line in (PAGES / f'{page}_{peer}.py').read_text().splitlines())
            for page in ('slider', 'plot', 'ticks', 'chat')}


def main() -> None:
    options = argparse.ArgumentParser(prog='python -m tests.bench.dashboards', description=__doc__)
    options.add_argument('--rounds', type=int, default=3)
    options.add_argument('--peers', default=';'.join(PEERS), help='divided by semicolons')
    options.add_argument('--pages', default='slider;plot;ticks;chat;changed')
    options.add_argument('--json', type=Path, help='write the figures here')
    o = options.parse_args()
    python, peers = pythons(), o.peers.split(';')
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with sync_playwright() as playwright:
        for turn in range(o.rounds):
            for name in o.pages.split(';'):
                for peer in peers:
                    browser = playwright.chromium.launch(executable_path='/usr/bin/chromium', args=['--no-sandbox'])
                    began = time.monotonic()
                    try:
                        with program(peer, name) as file, served(python, peer, file, name == 'changed') as relay:
                            page = browser.new_page()
                            page.add_init_script(FIND)
                            at = f'http://127.0.0.1:{relay.port}/{"changed_panel" * (file.stem == "changed_panel")}'
                            page.goto(at)
                            for what, value in (changed(page, file) if name == 'changed' else
                                                globals()[name](page, relay, began)).items():
                                found[what][peer].append(value)
                    except Exception as e: print(f'{name} of {peer}: {str(e)[:200]}', file=sys.stderr)
                    finally: browser.close()
            print(f'round {turn + 1}', file=sys.stderr)
    for peer in peers:
        for what, count in lines(peer).items(): found[what][peer].append(count)
    medians = {what: {peer: median(values) for peer, values in by.items()} for what, by in found.items()}
    def cell(what: str, peer: str) -> str:
        value = medians[what].get(peer)
        if what.startswith('and '): return '' if value is None else 'yes' if value == 1 else 'no'
        return '' if value is None else f'{value:,.1f}' if value < 10 and what[:5] != 'lines' else f'{value:,.0f}'
    print(table(['', *peers], [[what, *(cell(what, peer) for peer in peers)] for what in medians]))
    if o.json: o.json.write_text(json.dumps(medians, indent=1))


if __name__ == '__main__': main()
