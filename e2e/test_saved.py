"""What is left of a page where no kernel is behind it: saved notebooks, nbconvert's HTML; and other front ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from nbws import App
from nbws.layers.gate import NotebookGate
from nbws.server.listener import Server
from nbws.notebook.exposure import EXPOSURES, Exposure
from nbws.notebook.iframes import FrameOptions, Page as Shown

from .jupyter import JupyterServer
from .notebook import Notebook, write_notebook
from .seeds import CHAT
from .timeouts import seconds

Open = Callable[..., Notebook]
SCRIPTS_OF_NBCONVERT = pytest.mark.allow_external("cdnjs|jsdelivr|mathjax")


def convert(notebook: Path, to: str, *options: str) -> Path:
    """Let nbconvert write another file beside the notebook."""
    options = ("--to", to, *options, "--output", "saved", str(notebook))
    command = [sys.executable, "-m", "tests.lean", "nbconvert", *options]
    environment = {k: v for k, v in os.environ.items() if k not in ("JPY_PARENT_PID", "NBWS_JPSERVER", "PORT")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds(90), env=environment)
    assert done.returncode == 0, done.stderr
    return notebook.with_name("saved.ipynb" if to == "notebook" else "saved.html")


@SCRIPTS_OF_NBCONVERT
def test_executed_by_nbclient(tmp_path: Path, page: Page, open_notebook: Open) -> None:
    """Its kernel has ended: the HTML, and the notebook in JupyterLab, say to run the cell, and frame nothing."""
    notebook = convert(write_notebook(tmp_path / "x.ipynb", [CHAT, "show(n=2)"]), "notebook", "--execute")
    outputs = [output for cell in nbformat.read(notebook, 4).cells for output in cell.outputs if "data" in output]
    assert max(len(output.data["text/html"].encode()) for output in outputs) <= 4096
    page.goto(convert(notebook, "html").as_uri())
    lines = page.locator("[data-nbws-line]")
    expect(lines).to_have_text([re.compile("Run this cell to see the page: nothing answers at http://127.0.0.1:")] * 2)
    for frame in page.locator("iframe").all():
        expect(frame).to_be_hidden()
        assert frame.get_attribute("src") is None
    nb = open_notebook(notebook)
    for cell in (0, 1):
        expect(nb.output(cell)).to_contain_text("Run this cell to see the page")
        expect(nb.output(cell).locator("iframe:visible")).to_have_count(0)


@SCRIPTS_OF_NBCONVERT
def test_saved_in_jupyter(open_notebook: Open, jupyter: JupyterServer, page: Page) -> None:
    """The page came through the proxy; it does not in HTML, nor after its kernel has ended."""
    nb = open_notebook([CHAT])
    nb.run(0)
    expect(nb.frame(0).get_by_role("textbox")).to_be_visible()
    [output] = nb.save().cells[0].outputs
    assert len(output.data["text/html"].encode()) <= 4096
    page.goto(convert(nb.path, "html").as_uri())
    expect(page.locator("[data-nbws-line]")).to_contain_text("JupyterLab and Jupyter Notebook show it")
    expect(page.locator("iframe")).to_be_hidden()
    jupyter.api(f"api/kernels/{nb.kernel_id}", "DELETE")
    nb.reload()
    expect(nb.frame(0).get_by_role("status")).to_contain_text("This kernel is not running any more. Run the notebook")
    nb.run(0)
    expect(nb.frame(0).get_by_role("textbox")).to_be_visible()


def output(server: Any, way: Exposure) -> str:
    """What `show()` writes for an app that is reached this way."""
    EXPOSURES[id(server)] = way
    try:
        return Shown(cast(Any, SimpleNamespace(server=server)), FrameOptions("/a?b=1")).html()
    finally:
        del EXPOSURES[id(server)]


@pytest.mark.allow_external("proxy.colab.example")
def test_in_colab(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab's own page says where a port is reached, to an output that its reader has made."""
    proxy = "proxyPort: async (port, options) => `https://${port}-${options.cache}.proxy.colab.example/`"
    page.add_init_script(f"window.google = {{ colab: {{ kernel: {{ accessAllowed: true, {proxy} }} }} }}")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    page.goto("about:blank")
    page.set_content(output(object(), Exposure(token="secret", port=5001)))
    frame = page.locator("iframe")
    expect(frame).to_have_attribute("data-way", "colab")
    expect(frame).to_have_attribute("src", "https://5001-false.proxy.colab.example/a?b=1&nbws_token=secret")


@pytest.mark.parametrize("way", ["direct", "jupyter"])
def test_in_a_page_that_is_not_jupyters(page: Page, way: str) -> None:
    """VS Code on this machine: the port, even if a Jupyter server forwards, too, for its page is not shown."""
    app = App()

    @app.get("/a")
    def home(b: int) -> str:
        return f"the page {b}"

    front = App()

    @front.get("/")
    def shown() -> str:
        segment = "7f3c" if way == "jupyter" else ""
        return output(server, Exposure(segment, "/", "secret", True, server.port))

    with Server(app, port=0, gate=NotebookGate(token="secret")) as server, Server(front, port=0) as theirs:
        page.goto(theirs.url)
        expect(page.locator("iframe")).to_have_attribute("data-way", "direct")
        expect(page.locator("iframe").content_frame.locator("body")).to_have_text("the page 1")


def test_without_a_port_in_a_page_that_is_not_jupyters(new_context: Callable[..., BrowserContext]) -> None:
    """Another front end, connected to a Jupyter server: what to do is said, also by one that blocks scripts."""
    page = new_context().new_page()
    blocked = '<meta http-equiv="Content-Security-Policy" content="script-src \'none\'">'
    page.set_content(blocked + output(object(), Exposure(token="s", port=5001)))
    expect(page.get_by_text("Run this cell to see the page.")).to_be_visible()
    assert page.locator("iframe").get_attribute("src") is None
    page = new_context().new_page()
    page.set_content(output(object(), Exposure("7f3c", "/", "secret", False)))
    expect(page.locator("[data-nbws-line]")).to_contain_text("for other front ends, serve(port=0)")
    expect(page.locator("iframe")).to_be_hidden()
