"""Parts of pages that follow values: cells, timers, sliders; their cells run again while pages are open."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from .notebook import Notebook

Open = Callable[..., Notebook]

APP = """
from nbws.common import *
app, rt = fast_app()
data = [0]
"""

PART = """
@app.part
def chart(n: int = 3):
    return Svg(ft('text', f'{} {{n}} {{data[-1]}}', x=5, y=40), viewBox='0 0 400 60', cls='chart')
"""

PAGE = """
@rt('/')
def home(): return Titled('Sales', Input(id='typed'), chart(), chart(n=Slider(1, 20)))
"""

TIMER = """
@app.every(0.05)
def tick():
    data.append(data[-1] + 1)
    chart.refresh()
"""


def test_a_part_follows_cells_sliders_and_its_own_cell(open_notebook: Open) -> None:
    nb = open_notebook([APP, PART.format("v1"), PAGE, "serve()", "data.append(7); chart.refresh()"])
    for cell in range(4):
        nb.run(cell)
    frame = nb.frame(3)
    first, second = frame.locator("#chart"), frame.locator("#chart-2")
    expect(first).to_have_text("v1 3 0")
    frame.locator("#typed").fill("half a word")
    nb.run(4)
    expect(first).to_have_text("v1 3 7")
    expect(second).to_have_text("v1 3 7")
    frame.get_by_label("n").fill("12")
    expect(second).to_have_text("v1 12 7")
    expect(first).to_have_text("v1 3 7")
    nb.edit(1, PART.format("v2"))
    expect(first).to_have_text("v2 3 7")
    expect(second).to_have_text("v2 12 7")  # the visitor's own value stays
    expect(frame.locator("#typed")).to_have_value("half a word")
    nb.run(0)  # the app's own cell: pages and parts of the other cells stay
    nb.run(4)
    expect(first).to_have_text("v2 3 7")
    expect(second).to_have_text("v2 12 7")


def test_a_timer_follows_its_cell(open_notebook: Open) -> None:
    nb = open_notebook([APP, PART.format("v1"), PAGE, "serve()", TIMER, "seen = len(data)"])
    nb.run_all()
    first = nb.frame(3).locator("#chart")
    expect(first).to_have_text(re.compile(r"v1 3 \d\d"))
    nb.edit(4, TIMER.replace("data[-1] + 1", "-1"))
    expect(first).to_have_text("v1 3 -1")
    nb.set_source(4, TIMER.replace("data.append", "1 / 0; data.append"))
    nb.start(4)  # The error may come while the cell runs
    expect(nb.output(4)).to_contain_text("ZeroDivisionError")
    nb.edit(4, "print('ended')")
    expect(nb.output(4)).to_contain_text("ended")
    nb.edit(5, "list(app.timers.running)")
    expect(nb.output(5)).to_contain_text("[]")
