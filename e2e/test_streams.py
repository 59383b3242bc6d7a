"""Event streams in a page whose elements htmx processes anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .scripts import Script

Run = Callable[..., Script]

APP = """
import asyncio
from nbws.common import *
app = FastHTML(HEAD)
lines, asked = {}, []
@app.get('/')
def home():
    parts = [Ul(id=name, sse_swap='message', hx_swap='beforeend', hx_target='this') for name in ('one', 'two')]
    asks = Div(hx_get='/asked', hx_trigger='sse:message', hx_target='#asked', hx_swap='innerHTML', id='asks')
    return Div(Ul(id='own', cls='x'), *parts, asks, P(id='asked'), id='stream', hx_ext='sse', sse_connect='/events',
               sse_swap='message', hx_target='#own', hx_swap='beforeend')
async def events(line):
    while True: yield sse_message(Li(await line.get()))
@app.get('/events')
def stream(n: int = 0):
    line = lines[n] = lines.get(n, [])
    line.append(asyncio.Queue())
    return EventStream(events(line[-1]))
@app.get('/asked')
def ask():
    asked.append(1)
    return str(len(asked))
@app.get('/say')
def say(text: str, n: int = 0):
    for line in lines.get(n, ()): line.put_nowait(text)
    return str(len(lines.get(n, ())))
serve()
"""
CHANGES = {
    "nothing": "",
    "a class of its own": "htmx.find('#stream').classList.add('wide')",
    "a class of what is around it": "document.body.classList.add('dark')",
    "a class of what listens in it": "htmx.find('#one').classList.add('new'); htmx.find('#asks').classList.add('new')",
    "all of them": "document.querySelectorAll('body, div, ul').forEach(e => e.classList.add('all'))",
}
SOURCE = "htmx.find('#stream')['htmx-internal-data'].sseEventSource"
OPEN = f"() => {SOURCE}?.readyState === 1"


def heard(page: Page, url: str, text: str, number: int = 0) -> None:
    """An event is sent to each stream, and comes once wherever something listens."""
    before = int(page.locator("#asked").text_content() or 0)
    page.request.get(f"{url}/say", params={"text": text, "n": number})
    for name in ("own", "one", "two"):
        expect(page.locator(f"#{name} > li").filter(has_text=text)).not_to_have_count(0)
    expect(page.locator("#asked")).not_to_have_text(str(before))
    page.wait_for_load_state("networkidle")
    counts = [page.locator(f"#{name} > li").filter(has_text=text).count() for name in ("own", "one", "two")]
    assert (counts, page.locator("#asked").text_content()) == ([1, 1, 1], str(before + 1)), text


def test_an_element_that_htmx_processes_anew_keeps_its_stream(run_script: Run, page: Page, tmp_path: Path) -> None:
    """A script sets a class, and htmx processes the page: the same source, and each event comes once."""
    (tmp_path / "streams.py").write_text(APP.replace("HEAD", "exts='sse'"))
    url = run_script(tmp_path / "streams.py").url
    page.goto(url)
    page.wait_for_function(OPEN)
    page.evaluate(f"() => {{ window.first = {SOURCE} }}")
    for name, change in CHANGES.items():
        page.evaluate(f"() => {{ {change}; htmx.process(document.body) }}")
        page.wait_for_function(OPEN)
        heard(page, url, f"after {name}")
        assert page.evaluate(f"() => {SOURCE} === window.first"), name
    page.evaluate("() => htmx.find('#stream').setAttribute('sse-connect', '/events?n=1')")
    page.evaluate("() => htmx.process(document.body)")
    page.wait_for_function(OPEN)
    assert page.evaluate("() => window.first.readyState") == 2
    heard(page, url, "elsewhere", 1)
    page.evaluate(f"() => {{ window.first = {SOURCE} }}")
    page.evaluate("() => { htmx.find('#stream').removeAttribute('sse-connect'); htmx.process(document.body) }")
    page.wait_for_function("() => window.first.readyState === 2")
    page.goto("about:blank")


@pytest.mark.parametrize("anew", [False, True])
def test_a_stream_that_is_lost_comes_back_once(run_script: Run, page: Page, tmp_path: Path, anew: bool) -> None:
    """The extension makes another one after a while; perhaps htmx has processed the element anew meanwhile."""
    (tmp_path / "streams.py").write_text(APP.replace("HEAD", "exts='sse'"))
    url = run_script(tmp_path / "streams.py").url
    page.goto(url)
    page.wait_for_function(OPEN)
    change = "document.querySelectorAll('div, ul').forEach(e => e.classList.add('{}')); htmx.process(document.body)"
    lose = f"window.first = {SOURCE}; first.close(); first.onerror()"
    page.evaluate("() => addEventListener('htmx:sseOpen', e => { window.opened = (window.opened || 0) + 1 })")
    page.evaluate(f"() => {{ {lose}; {change.format('soon') if anew else ''} }}")
    page.wait_for_function(f"() => window.opened === {1 + anew}")
    heard(page, url, "back")
    page.evaluate(f"() => {{ {change.format('later')} }}")
    heard(page, url, "later")
    page.goto("about:blank")
