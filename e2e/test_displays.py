"""Figures and other objects in pages: offline, however they come, and drawn again where they have changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import FrameLocator, Page, expect

from .notebook import Notebook
from .scripts import Script
from .sockets import connected
from .timeouts import milliseconds

Run = Callable[..., Script]
Open = Callable[..., Notebook]

OBJECTS = """
from nbws.common import *
import altair, bokeh.plotting, pandas
import plotly.graph_objects as go
from matplotlib.figure import Figure as Drawing

frame = pandas.DataFrame({'a': [1, 2, 3]})
class Scripted:
    def __init__(self, text): self.text = text
    def _repr_html_(self):
        script = f'document.querySelector(".by-script").textContent = "{self.text}"'
        return f'<p class="by-script"></p><script>{script}</script>'
def matplotlib(n=3):
    made = Drawing(figsize=(3, 2))
    made.subplots().plot(range(n))
    return made
def plotly(n=3): return go.Figure(go.Bar(y=[1] * n))
def vega(n=3): return altair.Chart(frame.head(n)).mark_bar().encode(x='a:O')
def bokeh_plot(n=3):
    made = bokeh.plotting.figure(width=200, height=150, name='plot')
    made.line(list(range(n)), [1] * n)
    return made
MAKE = dict(matplotlib=matplotlib, plotly=plotly, vega=vega, bokeh=bokeh_plot)
"""
APP = OBJECTS + """
app = FastHTML(exts='ws')
@app.get('/')
def home(): return Titled('all', *[Div(make(), id=name) for name, make in MAKE.items()], Scripted('ran'))
@app.get('/live')
def live(): return Titled('live', Div(*[Div(id=name) for name in (*MAKE, 'scripted')], hx_ext='ws', ws_connect='/ws'),
                          Button('Ask', hx_get='/piece', hx_target='#piece'), Div(id='piece'))
@app.get('/piece')
def piece(): return plotly(5)
@app.ws('/ws')
async def ws(msg: str): pass
@app.get('/push')
def push(name: str, n: int = 3):
    return str(app.to('/ws', Div(Scripted('came') if name == 'scripted' else MAKE[name](n), id=name)))
serve()
"""
# What is there once a library has drawn; in bokeh's case within a shadow root
DRAWN = {"matplotlib": "svg use", "plotly": ".main-svg .bars path", "vega": "canvas, svg.marks", "bokeh": "canvas"}


def are_drawn(place: Page | FrameLocator) -> None:
    """All four."""
    for name, what in DRAWN.items():
        expect(place.locator(f"#{name}").locator(what).first).to_be_attached(timeout=milliseconds(30))


class Asked:
    """What a page has asked for, and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.paths: list[str] = []
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, request: Any) -> None:
        if request.url.startswith("http://127.0.0.1:"):
            self.paths.append(request.url.partition("/_nbws/")[2])
        elif not request.url.startswith(("data:", "blob:", "about:")):
            self.elsewhere.append(request.url)

    def check(self) -> None:
        """Nothing came from elsewhere, no script failed, and each library came once."""
        assert (self.elsewhere, self.errors) == ([], [])
        names = [path.partition("/")[2].partition("-")[0] for path in self.paths if path.startswith("display/")]
        assert sorted(names) == ["bokeh", "plotly", "vega"]
        assert self.paths.count("display.js") == 1


def test_figures_in_a_page_and_over_a_socket(run_script: Run, page: Page, tmp_path: Path) -> None:
    (tmp_path / "figures.py").write_text(APP)
    url = run_script(tmp_path / "figures.py", bound=60).url
    asked = Asked(page)
    page.goto(url, timeout=milliseconds(30))  # The server imports four libraries for it, and the page theirs
    are_drawn(page)
    expect(page.locator(".by-script")).to_have_text("ran")
    asked.check()
    page.goto("about:blank")
    asked.paths.clear()
    page.goto(f"{url}/live")
    connected(page)
    def push(name: str, n: int = 3) -> None: assert page.request.get(f"{url}/push?name={name}&n={n}").text() == "1"
    for name in (*DRAWN, "scripted"):
        push(name)
    are_drawn(page)
    expect(page.locator(".by-script")).to_have_text("came")
    for n in range(4, 9): # In place of the others, which are ended
        push("plotly", n)
        push("bokeh", n)
        push("vega", 1 + n % 3)
    expect(page.locator("#plotly .bars path")).to_have_count(8, timeout=milliseconds(30))
    are_drawn(page)
    for name in ("plotly", "vega", "bokeh"):
        expect(page.locator(f"#{name} [data-nbws-drawn]")).to_have_count(1)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#piece .bars path")).to_have_count(5, timeout=milliseconds(30))
    asked.check()


def test_a_morph_draws_over_what_is_there(run_script: Run, page: Page, tmp_path: Path) -> None:
    """The element stays, and so does what plotly has made in it: nothing flickers."""
    (tmp_path / "figures.py").write_text(APP.replace("exts='ws'", "exts=['ws', 'morph']"))
    url = run_script(tmp_path / "figures.py", bound=60).url
    page.goto(f"{url}/piece", timeout=milliseconds(30))
    expect(page.locator(".bars path")).to_have_count(5, timeout=milliseconds(30))
    page.evaluate("""async () => {
        window.first = document.querySelector('.main-svg')
        const display = document.querySelector('nbws-display'), fresh = display.cloneNode(true)
        fresh.querySelector('[data-nbws-drawn]').remove()
        const script = fresh.querySelector('script'), spec = JSON.parse(script.textContent)
        spec.data[0].y = [1, 2]
        script.textContent = JSON.stringify(spec)
        Idiomorph.morph(display, fresh)
    }""")
    expect(page.locator(".bars path")).to_have_count(2, timeout=milliseconds(30))
    assert page.evaluate("document.querySelectorAll('[data-nbws-drawn]').length") == 1


def test_figures_in_a_notebook(open_notebook: Open) -> None:
    """Behind the Jupyter server, in an iframe; they follow the cell, over the page and over a socket."""
    home = "@app.get('/')\ndef home(): return *[Div(make(N), id=name) for name, make in MAKE.items()], Scripted('N')"
    live = "@app.get('/live')\ndef live(): return Div(Div(id='plotly'), hx_ext='ws', ws_connect='/ws')\n" \
           "@app.ws('/ws')\nasync def ws(msg: str): pass\nshow('/live')"
    nb = open_notebook([OBJECTS + "app = FastHTML(exts='ws')", home.replace("N", "2"), "serve()", live, ""])
    nb.run(0, bound=120)
    for index in (1, 2):
        nb.run(index, bound=60)
    frame = nb.frame(2)
    are_drawn(frame)
    expect(frame.locator(".by-script")).to_have_text("2")
    nb.edit(1, home.replace("N", "3"))
    expect(frame.locator("#plotly .bars path")).to_have_count(3, timeout=milliseconds(30))
    expect(frame.locator(".by-script")).to_have_text("3")
    are_drawn(frame)
    nb.run(3)
    socket = nb.frame(3)
    nb.loaded(3)
    nb.edit(4, "import asyncio\nwhile not app.to('/ws', Div(plotly(4), id='plotly')): await asyncio.sleep(.1)")
    expect(socket.locator("#plotly .bars path")).to_have_count(4, timeout=milliseconds(30))
    assert nb.outputs(4) == []
