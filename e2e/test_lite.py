"""Pages in a real JupyterLite without a network: the kernel is in the browser, on one thread, with no port.

One page for many things, since Pyodide takes its time to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, expect

from .lite import SITE, LiteSite
from .notebook import Notebook, write_notebook
from .sockets import connected
from .test_channel import CELLS, first_visit, says, shows
from .test_front_ends import PURE, cells_of_all, check_examples
from .timeouts import milliseconds, seconds

pytestmark = [
    pytest.mark.timeout(seconds(300)),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="make lite has not been run"),
]

VISITED = [re.sub(r"\bapp\b", "site", cell) for cell in CELLS[:4]]  # Pages of the examples' `app` would show this one
WORDS = ["site.doctor()", "serve(site, port=0)"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LiteSite]:
    """The site."""
    made = LiteSite(tmp_path)
    yield made
    made.close()


def test_notebooks(site: LiteSite, new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """The examples; forms, links, sessions and sockets; cells run again; plain words."""
    path = write_notebook(tmp_path / "all.ipynb", [*cells_of_all(PURE), *VISITED, *WORDS], "python")
    page = new_context(viewport={"width": 1280, "height": 1400}).new_page()
    nb = Notebook(page, site, path, tmp_path)
    first = check_examples(nb, "widget", PURE)
    _, pages, sockets, served, doctor, port = range(first, first + 6)
    for number in range(first, served + 1):
        nb.run(number, bound=60)
    visited = nb.frame(served)
    assert first_visit(visited) == [3001, "", True]
    nb.edit(sockets, VISITED[2].replace("'first '", "'second '"))
    says(visited, "two")
    shows(visited, ["first one", "second two"])
    nb.edit(pages, VISITED[1].replace("Titled('first'", "Titled('changed'"))
    expect(visited.get_by_role("heading")).to_have_text("changed", timeout=milliseconds(20))
    visited.get_by_label("name").fill("ann")
    visited.get_by_role("button", name="greet").click()
    expect(visited.get_by_role("heading")).to_have_text("hello ann", timeout=milliseconds(20))
    visited.get_by_role("link", name="back").click()
    expect(visited.locator("#visit")).to_have_text(re.compile("visit [2-9]"), timeout=milliseconds(20))
    nb.run(doctor)
    expect(nb.output(doctor)).to_contain_text("This kernel is in the browser")
    expect(nb.frame(doctor).locator("#socket")).to_contain_text("WebSocket: ", timeout=milliseconds(20))
    nb.run(port)
    expect(nb.output(port)).to_contain_text("nothing can listen")
    nb.open("08_figures.ipynb")
    note = page.locator(".jp-RenderedMarkdown").filter(has_text="It needs matplotlib and pandas", visible=True)
    expect(note).to_have_count(1)


CHAT = [
    """from nbws.common import *
site, rt = fast_app(exts='ws')
said = site.room('said', history=20)
made = []
@rt('/')
def home():
    made.append(1)
    talk = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    return Titled('chat', P(f'page {len(made)}', id='page'), Ul(id='said'), talk, hx_ext='ws', ws_connect='/ws')
@site.ws('/ws', conn=said.join)
async def say(msg: str): said.send(Ul(Li(msg), hx_swap_oob='beforeend:#said'))""",
    """from js import XMLHttpRequest, location
def compute():
    ask = XMLHttpRequest.new()
    ask.open('GET', location.origin + '/held', False)
    ask.send(None)""",
    "serve(site)",
    "compute()",
    "serve(site)\ncompute()",
]


def test_busy_and_gone(site: LiteSite, new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """While a cell computes, pages say so and wait; a kernel that starts again, a notebook that is opened again."""
    path = write_notebook(tmp_path / "busy.ipynb", CHAT, "python")
    page = new_context(viewport={"width": 1280, "height": 1400}).new_page()
    nb = Notebook(page, site, path, tmp_path)
    status = "nbws-status [role=status]"

    def begin() -> FrameLocator:
        for number in range(3):
            nb.run(number, bound=60)
        shown = nb.frame(2)
        connected(shown)
        return shown

    chat = begin()
    says(chat, "one")
    shows(chat, ["one"])
    with site.holding():
        nb.start(3)
        expect(chat.locator(status)).to_have_text("the kernel is busy", timeout=milliseconds(20))
        says(chat, "two")
        expect(chat.locator("#said li")).to_have_count(1)
    nb.wait(3)
    shows(chat, ["one", "two"])
    expect(chat.locator(status)).to_be_hidden()
    expect(chat.locator("#page")).to_have_text("page 1")  # It has waited, and is the same
    word = "Waiting for the kernel: in the browser it answers between cells."
    with site.holding():
        nb.start(4)
        expect(nb.output(4)).to_contain_text(word, timeout=milliseconds(20))
    nb.wait(4)
    expect(nb.frame(4).locator("#page")).to_have_text("page 2", timeout=milliseconds(20))
    expect(nb.output(4).get_by_text(word)).to_be_hidden()

    nb.restart(bound=60)
    expect(chat.locator(status)).to_have_text(re.compile("busy|reconnecting"), timeout=milliseconds(20))
    chat = begin()
    expect(chat.locator("#page")).to_have_text("page 1")
    says(chat, "three")
    shows(chat, ["three"])
    again = nb.output(2).locator("[data-nbws-again]")
    expect(again).to_be_hidden()

    nb.save()
    nb.reload()
    expect(again).to_have_text("Run this cell to see the page.")
    expect(again).to_be_visible()
    expect(nb.output(2).locator("iframe")).to_have_count(0)
    chat = begin()
    says(chat, "four")
    shows(chat, ["four"])
    expect(again).to_be_hidden()


def test_seen_twice(site: LiteSite, new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """Another view of an output is a page beside the first; a copy of the notebook says to run the cell."""
    page = new_context(viewport={"width": 1280, "height": 1400}).new_page()
    nb = Notebook(page, site, write_notebook(tmp_path / "twice.ipynb", [CHAT[0], CHAT[2]], "python"), tmp_path)
    for number in range(2):
        nb.run(number, bound=60)
    chat = nb.frame(1)
    says(chat, "one")
    shows(chat, ["one"])
    view = nb.view(1).locator("iframe").content_frame
    connected(view)
    shows(view, ["one"])
    says(view, "two")
    shows(chat, ["one", "two"])
    says(chat, "three")
    shows(view, ["one", "two", "three"])
    expect(chat.locator("#page")).to_have_text("page 1")
    nb.close_view()
    nb.save()
    copy = nb.duplicate()
    expect(copy.output(1).locator("[data-nbws-again]")).to_have_text("Run this cell to see the page.")
    expect(copy.output(1).locator("iframe")).to_have_count(0)
    for number in range(2):
        copy.run(number, bound=60)
    connected(copy.frame(1))
    shows(copy.frame(1), [])
    says(copy.frame(1), "of the copy")
    shows(copy.frame(1), ["of the copy"])
    nb.to_front()
    shows(chat, ["one", "two", "three"])
