"""What flows between an app and a real page, by each way that is not a socket of the browser's own.

Much up and down, a reader that stops, events, and messages that come fast, all checked by the page's own script. Short
here; `NBWS_SOAK=1 pytest e2e/test_flows.py` takes 100 MiB, 10,000 events and 2,000 messages a second for a minute, and
asks that neither side grows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flows
import line_flows
import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Locator, expect

from .chromium import reach_only
from .http_only import HttpOnlyProxy
from .jupyter import JupyterServer, JupyterSettings
from .notebook import Notebook
from .promises import promised
from .scripts import Script
from .test_proxy import BOTH_OFF
from .test_vscode import open_page
from .timeouts import milliseconds, seconds
from .vscode import vscode

SOAK = "NBWS_SOAK" in os.environ
SIZE, EVENTS, SECONDS, RATE = (100 * 2**20, 10_000, 60, 2000) if SOAK else (2**22, 1000, 1, 2000)
FIRST = {"size": 2**22, "events": 100, "seconds": 1, "rate": 200}
PIECE = 2**18  # Bytes that the app makes at a time
MOST = 32 * 2**20  # Bytes by which either side may grow

pytestmark = pytest.mark.timeout(seconds(600 if SOAK else 120))

# Sockets and requests as clients in Python have them, a page, and events
APP = line_flows.APP + flows.REQUESTS + """
@app.get('/')
def home(): return Titled('flows')
@app.get('/events')
def events(count: int):
    async def told():
        for n in range(count + 1): yield sse_message(str(n))
        await asyncio.sleep(3600) # The page closes it
    return EventStream(told())
"""

# The page's script: each flow by its name, and what of it was wrong
FLOWS = """async (body, { size, events, seconds, rate, asks }) => {
  const PIECE = 2 ** 18, found = {}
  const text = async path => (await fetch(path)).text()
  const checker = () => {
    let at = 0
    return { add: piece => {
      for (let n = 0; n < piece.length; n += n + 1024 < piece.length ? 1024 : 1)
        if (piece[n] !== Math.floor((at + n) / PIECE) % 251) throw new Error('out of order at ' + (at + n))
      at += piece.length
    }, size: () => at }
  }
  const connect = (path, first) => {
    const socket = new WebSocket('ws://' + location.host + path), queue = []
    let moved = () => {}
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => first && socket.send(first)
    socket.onmessage = ({ data }) => { queue.push(data); moved() }
    socket.onclose = ({ code }) => { queue.push({ code }); moved() }
    const next = async () => {
      while (!queue.length) await new Promise(ok => { moved = ok })
      if (queue[0].code) throw new Error(path + ' was closed: ' + queue[0].code)
      return queue.shift()
    }
    return { socket, next }
  }
  const piece = n => new Uint8Array(PIECE).fill(n % 251)
  const requests = {
    async down() {
      const reader = (await fetch('/down?size=' + size)).body.getReader(), checked = checker()
      for (let part; !(part = await reader.read()).done;) checked.add(part.value)
      return checked.size()
    },
    async up() {
      const whole = new Blob(Array.from({ length: size / PIECE }, (_, n) => piece(n)))
      return (await fetch('/up', { method: 'POST', body: whole })).text()
    },
    async stops() {
      const reader = (await fetch('/down?size=' + 2 ** 24)).body.getReader(), checked = checker(), seen = []
      checked.add((await reader.read()).value)
      for (let n = 0; n < 20; n++) seen.push(Number(await text('/made')))
      for (let part; !(part = await reader.read()).done;) checked.add(part.value)
      return [Math.max(...seen), checked.size()]
    },
    events: () => new Promise((ok, no) => {
      const source = new EventSource('/events?count=' + events)
      let last = 0
      source.onerror = () => no(new Error('broke off at ' + last))
      source.onmessage = ({ data }) => {
        if (Number(data) !== last) no(new Error('out of order: ' + data + ' at ' + last))
        if (++last <= events) return
        source.close()
        ok(last - 1)
      }
    }),
  }
  const sockets = {
    async down() {
      const { next } = connect('/down', String(size)), checked = checker()
      while (checked.size() < size) checked.add(new Uint8Array(await next()))
      return checked.size()
    },
    async up() {
      const { socket, next } = connect('/up')
      await new Promise(ok => socket.addEventListener('open', ok))
      for (let n = 0; n < size / PIECE; n++) {
        while (socket.bufferedAmount > 2 ** 20) await new Promise(ok => setTimeout(ok, 5))
        socket.send(piece(n))
      }
      socket.send('end')
      return next()
    },
    async ticks() {
      const { next } = connect('/ticks', JSON.stringify([seconds * rate, rate]))
      const begun = performance.now()
      for (let n = 0; n < seconds * rate; n++) {
        const data = await next()
        if (data !== String(n)) throw new Error('out of order: ' + data + ' at ' + n)
      }
      return (performance.now() - begun) / 1000
    },
  }
  if (asks)
    for (const [name, flow] of Object.entries(requests)) found[name] = await flow()
  for (const [name, flow] of Object.entries(sockets)) found['socket ' + name] = await flow()
  found.memory = Number(await text('/memory'))
  return found
}"""


def check(body: Locator, requests: bool = True) -> None:
    """Let everything flow twice, first a little of it; all comes in order, and neither side grows."""
    first: dict[str, Any] = promised(body, FLOWS, {**FIRST, "asks": requests}, bound=60)
    before = heap(body)
    how = {"size": SIZE, "events": EVENTS, "seconds": SECONDS, "rate": RATE, "asks": requests}
    found: dict[str, Any] = promised(body, FLOWS, how, bound=500)
    digest = hashlib.sha256()
    for n in range(SIZE // PIECE):
        digest.update(bytes([n % 251]) * PIECE)
    took, memory = found.pop("socket ticks"), found.pop("memory")
    ahead = found.pop("stops", [0])[0]
    told = f"{SIZE} {digest.hexdigest()}"
    assert found == {
        **({"down": SIZE, "up": told, "events": EVENTS} if requests else {}),
        "socket down": SIZE,
        "socket up": told,
    }
    assert ahead <= 2**21 // PIECE, "a page that does not read: so many pieces were made ahead"
    grown = [memory - first["memory"], heap(body) - before]
    if SOAK:
        print(f"{took:.1f} s for {SECONDS} s of messages; app and page: {[f'{n / 2**20:+.1f} MiB' for n in grown]}")
        assert took <= 1.1 * SECONDS + 1
        assert max(grown) <= MOST


def heap(body: Locator) -> int:
    """Bytes of the page's objects that are not garbage."""
    page = body.page
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: int = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used


def body_of(frame: FrameLocator) -> Locator:
    """The page's, once it is there."""
    expect(frame.get_by_role("heading")).to_have_text("flows", timeout=milliseconds(20))
    return frame.locator("body")


@pytest.mark.parametrize("jupyter", [JupyterSettings(flags=BOTH_OFF)], indirect=True)
def test_over_the_kernels_messages(open_notebook: Callable[..., Notebook], jupyter: JupyterServer) -> None:
    """In JupyterLab without our extension."""
    nb = open_notebook([APP + "serve(app)"])
    reach_only(nb.page.context, jupyter.url)
    nb.run(0)
    expect(nb.output(0).locator("iframe")).to_have_attribute("data-way", "kernel", timeout=milliseconds(20))
    check(body_of(nb.frame(0)))


def test_over_widget_messages(new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """In the stand-in for VS Code."""
    with vscode(tmp_path) as notebook:
        page = open_page(notebook, new_context)
        notebook.run(APP + "serve(app)", 0)
        check(body_of(page.frame_locator("iframe")))
        assert notebook.too_long == []


@pytest.mark.parametrize("buffers", [True, False], ids=["buffering", "streaming"])
def test_by_requests(
    run_script: Callable[..., Script],
    start_proxy: Callable[..., HttpOnlyProxy],
    new_context: Callable[..., BrowserContext],
    tmp_path: Path,
    buffers: bool,
) -> None:
    """Sockets behind a proxy that passes no upgrades; what is a request anyway is the browser's own matter."""
    file = tmp_path / "flows.py"
    file.write_text(APP + "serve()")
    script = run_script(file)
    page = new_context().new_page()
    page.goto(start_proxy(script.port, buffers=buffers).url)
    expect(page.get_by_role("heading")).to_have_text("flows")
    check(page.locator("body"), requests=False)
