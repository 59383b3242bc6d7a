"""The examples pass the same test in each front end, where the browser does not reach the kernel's port.

No line of them is changed, but for the pace of the model, and for what marimo asks of every notebook; there, cells that
a reader only tries are left out. JupyterLab, Notebook 7 and marimo are real; Colab and VS Code are stand-ins, and the
proxy that passes no upgrades is the tests' own. JupyterLite, real as well, is in test_lite.py: it takes half a minute
to start.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from nbws import common
from nbws.loading import code_cells

from .chromium import reach_only
from .colab import Colab
from .http_only import HttpOnlyProxy
from .jupyter import JupyterServer, JupyterSettings
from .kernels import kernel
from .marimo import marimo
from .notebook import Notebook
from .sockets import connected
from .test_apps import expect_drawn
from .test_colab import old_ipykernel, run
from .test_marimo import opened
from .test_proxy import BOTH_OFF
from .test_vscode import open_page
from .timeouts import milliseconds, seconds
from .vscode import vscode

pytestmark = pytest.mark.timeout(seconds(180))

NewContext = Callable[..., BrowserContext]
Shown = Page | FrameLocator  # An example's page, in an iframe or a tab
EXAMPLES = Path(__file__).parent.parent / "nbs/examples"


def talks(page: Shown) -> None:
    """What somebody says comes back."""
    connected(page)
    for word in ("hello", "again"):
        page.locator("#msg").fill(word)
        page.locator("#msg").press("Enter")
        expect(page.locator("#msg-list li").last).to_have_text(word, timeout=milliseconds(20))
    expect(page.locator("#msg-list li").filter(has_text="hello")).to_have_count(1)


def talks_with_a_model(page: Shown) -> None:
    """An answer comes in parts, and the next one is stopped."""
    connected(page)
    box, answers = page.get_by_role("textbox"), page.locator(".markdown")
    for number, question in enumerate(["a table?", "what can I do?"]):
        box.fill(question)
        box.press("Enter")
        expect(answers.nth(number)).to_contain_text(["HTTP", "While"][number], timeout=milliseconds(20))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_disabled(timeout=milliseconds(20))
    expect(answers.first.locator("td").last).to_have_text("both")
    expect(answers.nth(1)).not_to_contain_text("change the cell")


def moves_figures(page: Shown) -> None:
    """Figures and a table are moved by a thread and a slider."""
    for figure in ("#line svg", "#histogram .main-svg", "#dots canvas, #dots svg", "#table tr"):
        expect(page.locator(figure).first).to_be_attached(timeout=milliseconds(30))
    last = page.locator("#table tr").last
    expect(last).not_to_have_text(last.inner_text(), timeout=milliseconds(20), use_inner_text=True)
    page.get_by_label("Readings").fill("20")
    expect_drawn(page, "#histogram .js-plotly-plot", "element._fullData[0].x.length === 20")


CHECKS: dict[str, Callable[[Shown], None]] = {
    "00_chat": talks,
    "02_llm": talks_with_a_model,
    "04_dashboard": moves_figures,
    "08_figures": moves_figures,
}
WITH_SOCKETS = ["00_chat", "02_llm"]
PURE = [name for name in CHECKS if name != "08_figures"]  # That one needs wheels that JupyterLite does not have here


def cells_of(name: str) -> list[str]:
    """An example's cells of code; its model is slow enough that a busy machine presses Stop in time."""
    return [cell.replace("sleep(.06)", "sleep(.25)") for cell in code_cells(EXAMPLES / f"{name}.ipynb")]


def serves(cells: Iterable[str]) -> int:
    """Which cell shows the page."""
    return next(number for number, cell in enumerate(cells) if cell.endswith("serve()"))


def cells_of_all(names: Iterable[str] = CHECKS) -> list[str]:
    """Those of several examples in one notebook, as of a person who tries them all."""
    return [cell for name in names for cell in cells_of(name)]


def check_examples(nb: Notebook, way: str, names: Iterable[str] = CHECKS) -> int:
    """Run them one after the other, and do with their pages what one does with them. Which cell comes next."""
    first = 0
    for name in names:
        cells = cells_of(name)
        for number in range(first, first + len(cells)):
            nb.run(number, bound=60)
        shows = first + serves(cells)
        first += len(cells)
        expect(nb.output(shows).locator("iframe")).to_have_attribute("data-way", way, timeout=milliseconds(20))
        CHECKS[name](nb.frame(shows))
    return first


@pytest.mark.parametrize(
    ("jupyter", "way"),
    [
        pytest.param(JupyterSettings(base_url="/user/alice/"), "proxied", id="lab, proxied"),
        pytest.param(JupyterSettings(flags=BOTH_OFF), "kernel", id="lab, without the extension"),
        pytest.param(
            JupyterSettings("notebook", "/user/alice/", flags=BOTH_OFF), "kernel", id="notebook, without the extension"
        ),
    ],
    indirect=["jupyter"],
)
def test_jupyter(open_notebook: Callable[..., Notebook], jupyter: JupyterServer, way: str) -> None:
    """Where the browser reaches Jupyter and nothing else."""
    nb = open_notebook(cells_of_all())
    reach_only(nb.page.context, jupyter.url)
    check_examples(nb, way)


def for_marimo(cells: list[str]) -> list[tuple[str, str]]:
    """Cells as marimo takes them: no star, `serve(app)` at the end; the tries of a reader are left out."""
    kept = [cell for cell in cells if "#| export" in cell or "measure(" in cell]
    names = [node for cell in kept for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    used = {node.id for node in names} - stored - set(dir(builtins))
    imported = ", ".join(sorted(used & set(dir(common))))
    texts = [cell.replace("common import *", f"common import {imported}") for cell in kept]
    return [(f"cell{number}", text.replace("serve()", "serve(app)")) for number, text in enumerate(texts)]


@pytest.mark.allow_page_error(".*")  # marimo's own, as its fonts
@pytest.mark.allow_external(".*")
@pytest.mark.parametrize("name", CHECKS)
def test_marimo(new_context: NewContext, tmp_path: Path, name: str) -> None:
    """Over widget messages; one notebook each, for a name stands for one thing in marimo."""
    with marimo(tmp_path, for_marimo(cells_of(name))) as notebook:
        frame = opened(notebook, new_context, "widget").locator("iframe[data-way]")
        expect(frame).to_have_attribute("data-way", "widget", timeout=milliseconds(60))
        CHECKS[name](frame.content_frame)


def test_vscode(new_context: NewContext, tmp_path: Path) -> None:
    """The stand-in for VS Code, on another machine than the kernel."""
    with vscode(tmp_path) as notebook:
        iframes, first = open_page(notebook, new_context).locator("iframe"), 0
        for name, check in CHECKS.items():
            had, cells = iframes.count(), cells_of(name)
            for number, cell in enumerate(cells, first):
                notebook.run(cell, number)
            first += len(cells)
            expect(iframes.nth(had)).to_have_attribute("data-way", "widget", timeout=milliseconds(20))
            check(iframes.nth(had).content_frame)
        assert notebook.too_long == [], "VS Code would not have passed on messages of so many bytes"


def test_colab(new_context: NewContext, tmp_path: Path) -> None:
    """The stand-in for Colab."""
    running = kernel(tmp_path, path=old_ipykernel(), COLAB_RELEASE_TAG="release-colab", PORT="0")
    with closing(Colab()) as colab, running as [client]:
        outer = new_context().new_page()
        for name, check in CHECKS.items():
            outputs = [run(client, cell) for cell in cells_of(name)]
            colab.html = outputs[serves(cells_of(name))]
            outer.goto(colab.url)
            expect(outer.locator("iframe")).to_have_attribute("data-way", "colab", timeout=milliseconds(20))
            check(outer.locator("iframe").content_frame)


SERVED = """from IPython.display import display
from nbws.notebook import exposure, served
display({"text/html": exposure.url_of(served.SERVED[-1].server)}, raw=True)"""


@pytest.mark.parametrize("buffers", [True, False], ids=["buffering", "streaming"])
def test_behind_a_proxy(
    new_context: NewContext, start_proxy: Callable[..., HttpOnlyProxy], tmp_path: Path, buffers: bool
) -> None:
    """In a tab, whose address is that of a proxy that passes no upgrades."""
    with kernel(tmp_path, PORT="0") as [client]:
        tab = new_context().new_page()
        for name, check in CHECKS.items():
            for cell in cells_of(name):
                run(client, cell)
            url = urlsplit(run(client, SERVED))
            proxy = start_proxy(url.port, buffers=buffers)
            tab.goto(f"{proxy.url}?{url.query}")
            check(tab)
            by_requests = any("/_nbws/line?" in asked for asked in proxy.asked)
            assert by_requests or name not in WITH_SOCKETS
