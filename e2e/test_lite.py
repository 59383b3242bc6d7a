"""Pages in a real JupyterLite without a network: the kernel is in the browser, on one thread, with no port.

One page and one kernel for all of it, since Pyodide takes its time to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from nbws.loading import code_cells

from .lite import SITE, LiteSite
from .notebook import Notebook, write_notebook
from .sockets import connected
from .test_channel import CELLS, first_visit, says, shows
from .test_vscode import EXAMPLES, talks_with_a_model
from .timeouts import milliseconds, seconds

pytestmark = [
    pytest.mark.timeout(seconds(300)),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="make lite has not been run"),
]

# The dashboard's parts, slider and timer. Its libraries have compiled parts, which Pyodide's own distribution has.
DASHBOARD = [
    """from nbws.common import *
import random
app, rt = fast_app(title='Sensor')
readings = [20.0] * 100

@app.part
def line(n: int = 100):
    points = ' '.join(f'{x},{y:.1f}' for x, y in enumerate(readings[-n:]))
    return Svg(NotStr(f'<polyline points="{points}" fill="none" stroke="red"/>'), width=500, height=40)

@app.part
def table(n: int = 100): return Table(*[Tr(Td(f'{r:.3f}')) for r in readings[-n:][-5:]])

@rt('/')
def index():
    n = Label('Readings', Slider(20, 500, value=100))
    return Titled('Sensor', line(n).inputs, Div(line(n).output, id='line'), Div(table(n).output, id='table'))""",
    """@app.every(1)
def measure(change=0):
    readings.append(readings[-1] + random.gauss(change, .5))
    for part in (line, table): part.refresh()""",
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
