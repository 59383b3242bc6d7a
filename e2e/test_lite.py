"""Pages in a real JupyterLite without a network: the kernel is in the browser, on one thread, with no port.

One page for many things, since Pyodide takes its time to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, expect

from nbws.loading import code_cells

from .lite import SITE, LiteSite
from .notebook import Notebook, write_notebook
from .sockets import connected
from .test_apps import expect_drawn
from .test_channel import CELLS, first_visit, says, shows
from .test_vscode import EXAMPLES, talks_with_a_model
from .timeouts import milliseconds, seconds

pytestmark = [
    pytest.mark.timeout(seconds(300)),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="make lite has not been run"),
]

# The dashboard's parts, slider and timer, with the figures that need nothing compiled.
DASHBOARD = [
    """from nbws.common import *
import random
import plotly.graph_objects as go
app, rt = fast_app(title='Sensor')
readings = [20.0] * 100

@app.part
def line(n: int = 100):
    points = ' '.join(f'{x},{y:.1f}' for x, y in enumerate(readings[-n:]))
    return Svg(NotStr(f'<polyline points="{points}" fill="none" stroke="red"/>'), width=500, height=40)

@app.part
def histogram(n: int = 100): return go.Figure(go.Histogram(x=readings[-n:]), {'height': 250})

@app.part
def table(n: int = 100): return Table(*[Tr(Td(f'{r:.3f}')) for r in readings[-n:][-5:]])

PARTS = line, histogram, table

@rt('/')
def index():
    n = Label('Readings', Slider(20, 500, value=100))
    parts = [part(n) for part in PARTS]
    return Titled('Sensor', parts[0].inputs, *[part.output for part in parts])""",
    """@app.every(1)
def measure(change=0):
    readings.append(readings[-1] + random.gauss(change, .5))
    for part in PARTS: part.refresh()""",
    "serve()",
]
VISITED = [re.sub(r"\bapp\b", "site", cell) for cell in CELLS[:4]]  # An app beside the others, whose pages stay theirs
WORDS = ["site.doctor()", "serve(site, port=0)"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LiteSite]:
    """The site."""
    made = LiteSite(tmp_path)
    yield made
    made.close()


def test_notebooks(site: LiteSite, new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """The chat, the model and a dashboard; forms, links, sessions and sockets; cells run again; plain words."""
    chat, model = (code_cells(EXAMPLES / f"{name}.ipynb") for name in ("00_chat", "02_llm"))
    cells = [*chat, *model, *DASHBOARD, *VISITED, *WORDS]
    path = write_notebook(tmp_path / "all.ipynb", cells, "python")
    page = new_context(viewport={"width": 1280, "height": 1400}).new_page()
    nb = Notebook(page, site, path, tmp_path)
    numbers = iter(range(len(cells)))

    def run(count: int) -> int:
        for number in [next(numbers) for _ in range(count)]:
            nb.run(number, bound=60)
        return number

    served = next(number for number, cell in enumerate(chat) if "serve()" in cell)
    run(len(chat))
    expect(nb.output(served).locator("iframe")).to_have_attribute("data-way", "widget", timeout=milliseconds(20))
    talk = nb.frame(served)
    connected(talk)
    box = talk.locator("#msg")
    box.fill("hello")
    box.press("Enter")
    expect(talk.locator("#msg-list li")).to_have_text(["a word from the notebook", "hello"], timeout=milliseconds(20))

    begin = len(chat) + next(number for number, cell in enumerate(model) if "sleep(.06)" in cell)
    answered = run(len(model))
    nb.edit(begin, cells[begin].replace("sleep(.06)", "sleep(.3)"))  # Time to press the button on a busy machine
    talks_with_a_model(nb.frame(answered))

    sensor = nb.frame(run(len(DASHBOARD)))
    last = sensor.locator("#table tr").last
    expect(last).not_to_have_text(last.inner_text(), timeout=milliseconds(20))
    sensor.get_by_label("Readings").fill("20")
    expect(sensor.locator("#line polyline")).to_have_attribute("points", re.compile(r"^(\S+ ){19}\S+$"))
    expect_drawn(sensor, "#histogram .js-plotly-plot", "element._fullData[0].x.length === 20")

    last_cell = run(4)
    first, sockets = last_cell - 2, last_cell - 1
    visited = nb.frame(last_cell)
    assert first_visit(visited) == [3001, "", True]
    nb.edit(sockets, VISITED[2].replace("'first '", "'second '"))
    says(visited, "two")
    shows(visited, ["first one", "second two"])
    nb.edit(first, VISITED[1].replace("Titled('first'", "Titled('changed'"))
    expect(visited.get_by_role("heading")).to_have_text("changed", timeout=milliseconds(20))
    visited.get_by_label("name").fill("ann")
    visited.get_by_role("button", name="greet").click()
    expect(visited.get_by_role("heading")).to_have_text("hello ann", timeout=milliseconds(20))
    visited.get_by_role("link", name="back").click()
    expect(visited.locator("#visit")).to_have_text(re.compile("visit [2-9]"), timeout=milliseconds(20))

    doctor = run(1)
    expect(nb.output(doctor)).to_contain_text("This kernel is in the browser")
    expect(nb.frame(doctor).locator("#socket")).to_contain_text("WebSocket: ", timeout=milliseconds(20))
    expect(nb.output(run(1))).to_contain_text("nothing can listen")
    nb.open("04_dashboard.ipynb")
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
