"""Pages over widget messages, in a stand-in for VS Code: the kernel is real, the front end is `vscode.html`.

That the kernel's port is out of reach, as on another machine, is played: the browser refuses what would ask there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .chromium import reach_only
from .sockets import connected
from .test_channel import CELLS, first_visit, says, shows
from .timeouts import milliseconds, seconds
from .vscode import VSCode, vscode

pytestmark = pytest.mark.timeout(seconds(120))


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[VSCode]:
    """A notebook in the stand-in."""
    with vscode(tmp_path) as made:
        yield made
        assert made.too_long == [], "VS Code would not have passed on messages of so many bytes"


def open_page(notebook: VSCode, new_context: Callable[..., BrowserContext], query: str = "") -> Page:
    """The notebook's outputs, in a browser that does not reach the kernel's port."""
    context = new_context()
    reach_only(context, notebook.url)
    page = context.new_page()
    page.goto(notebook.url + query)
    return page


@pytest.mark.parametrize("query", ["", "?fixed"], ids=["", "addresses that do not change"])
def test_over_widget_messages(notebook: VSCode, new_context: Callable[..., BrowserContext], query: str) -> None:
    """Sockets, requests, forms and links, also while a cell computes; cells run again; a kernel
    that starts again; the notebook opened again."""
    outer = open_page(notebook, new_context, query)
    for number, cell in enumerate(CELLS[:4]):
        notebook.run(cell, number)
    frame = outer.locator("iframe")
    expect(frame).to_have_attribute("data-way", "widget", timeout=milliseconds(20))
    page = frame.content_frame
    first_visit(page)
    busy = notebook.start(CELLS[4], 4)
    says(page, "two")
    shows(page, ["first one", "first two"])
    page.get_by_role("button", name="ask").click()
    expect(page.locator("#asked")).to_have_text("asked")
    says(page, "done")
    notebook.finish(busy)
    notebook.run(CELLS[2].replace("'first '", "'second '"), 2)
    says(page, "three")
    shows(page, ["first one", "first two", "first done", "second three"])
    page.get_by_label("name").fill("ann")
    page.get_by_role("button", name="greet").click()
    expect(page.get_by_role("heading")).to_have_text("hello ann", timeout=milliseconds(20))
    page.get_by_role("link", name="back").click()
    expect(page.locator("#visit")).to_have_text("visit 2", timeout=milliseconds(20))
    notebook.run(CELLS[3], 3)  # Another widget
    expect(page.locator("#visit")).to_have_text("visit 3", timeout=milliseconds(20))
    connected(page)
    says(page, "four")
    expect(page.locator("#said li").last).to_have_text("second four", timeout=milliseconds(20))
    notebook.restart()
    expect(page.locator("nbws-status [role=status]")).to_contain_text("reconnecting", timeout=milliseconds(60))
    for number, cell in enumerate(CELLS[:4]):
        notebook.run(cell, number)
    expect(page.locator("#visit")).to_have_text("visit 1", timeout=milliseconds(20))
    connected(page)
    says(page, "five")
    shows(page, ["first five"])
    outer.reload()
    expect(outer.get_by_text("Run this cell to see the page: nothing answers")).to_be_visible(timeout=milliseconds(20))


MODULES = """from nbws.common import *
app = App()
def js(text): return Response(text, media_type='text/javascript')
@app.get('/')
def home():
    told = "import { word } from 'words'; import('./js/late.js').then(m => m.say(word))"
    names = Script('{"imports": {"words": "/js/words.js"}}', type='importmap')
    return names, P('nothing', id='word'), P('nothing', id='early'), Script(told, type='module'), \\
        Script(type='module', src='js/early.js')
@app.get('/js/words.js')
def words(): return js('import { half } from "./halves/half.js"\\nexport const word = half + " and half"')
@app.get('/js/halves/half.js')
def half(): return js('export { half } from "/js/deep.js"')
@app.get('/js/deep.js')
def deep(): return js('import "../js/words.js"\\nexport const half = "half"')
@app.get('/js/late.js')
def late(): return js('export const say = word => { document.getElementById("word").textContent = word }')
@app.get('/js/early.js')
def early(): return js('import { half } from "./deep.js"\\nearly.textContent = half')
serve(app)"""


def test_modules(notebook: VSCode, new_context: Callable[..., BrowserContext]) -> None:
    """By names of an import map, relative, from the root, in a circle, and late."""
    outer = open_page(notebook, new_context)
    notebook.run(MODULES, 0)
    page = outer.locator("iframe").content_frame
    expect(page.locator("#word")).to_have_text("half and half", timeout=milliseconds(20))
    expect(page.locator("#early")).to_have_text("half", timeout=milliseconds(20))


def test_back_and_forward(notebook: VSCode, new_context: Callable[..., BrowserContext]) -> None:
    """The browser's history has the pages that a visitor went through."""
    outer = open_page(notebook, new_context)
    for number, cell in enumerate(CELLS[:4]):
        notebook.run(cell, number)
    page = outer.locator("iframe").content_frame
    expect(page.locator("#visit")).to_have_text("visit 1", timeout=milliseconds(20))
    page.get_by_role("link", name="elsewhere").click()
    expect(page.locator("#visit")).to_have_text("visit 2", timeout=milliseconds(20))
    page.get_by_label("name").fill("ann")
    page.get_by_role("button", name="greet").click()
    expect(page.get_by_role("heading")).to_have_text("hello ann", timeout=milliseconds(20))
    outer.evaluate("history.back()")
    expect(page.locator("#visit")).to_have_text("visit 3", timeout=milliseconds(20))
    outer.evaluate("history.back()")
    expect(page.locator("#visit")).to_have_text("visit 4", timeout=milliseconds(20))
    outer.evaluate("history.forward()")
    expect(page.locator("#visit")).to_have_text("visit 5", timeout=milliseconds(20))
    connected(page)
    says(page, "one")
    shows(page, ["first one"])
