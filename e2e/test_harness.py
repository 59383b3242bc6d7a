"""The harness itself, proved on notebooks and scripts that need no nbws."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .jupyter import JupyterServer, JupyterSettings
from .notebook import Notebook, write_notebook
from .scripts import Script
from .threads import in_thread
from .watch import BrowserWatch

Open = Callable[..., Notebook]

# A page with a button that answers, served by a thread of the kernel.
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from IPython.display import HTML, IFrame

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()
        self.wfile.write(page.encode())
    def log_message(self, *args): pass

page = '<button onclick="this.textContent=1+1">count</button>'
server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
frame = IFrame(f'http://127.0.0.1:{server.server_port}/', 300, 60)
"""

SCRIPT = """
import os, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
try:
    HTTPServer(('127.0.0.1', int(os.environ['PORT'])), SimpleHTTPRequestHandler).serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
"""


@pytest.mark.parametrize(
    "jupyter",
    ["lab", "notebook", pytest.param(JupyterSettings(base_url="/user/alice/"), id="base-url")],
    indirect=True,
)
def test_a_page_in_a_cell(open_notebook: Open) -> None:
    """Run, click in the page, run anew, two frames, save."""
    nb = open_notebook([SERVER, "frame"])
    nb.run_all()
    button = nb.frame(1).get_by_role("button")
    button.click()
    expect(button).to_have_text("2")
    nb.run(1)
    expect(button).to_have_text("count")
    nb.insert(2, "display(frame, frame)")
    nb.run(2)
    first, second = nb.frames(2, count=2)
    first.get_by_role("button").click()
    expect(first.get_by_role("button")).to_have_text("2")
    expect(second.get_by_role("button")).to_have_text("count")
    saved = nb.save()
    assert [cell.execution_count for cell in saved.cells] == [1, 3, 4]


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_run_edit_restart(open_notebook: Open) -> None:
    """A restart forgets what was defined, and a stale `[2]:` is not taken for a finished run."""
    nb = open_notebook(["x = 1", "print(x)"])
    nb.run(0)
    nb.run(1)
    expect(nb.output(1)).to_have_text("1")
    nb.edit(0, "x = 2")
    nb.run(1)
    assert nb.text_output(1) == "2\n"
    kernel = nb.kernel_id
    nb.restart()
    assert nb.kernel_id == kernel
    nb.run(1, fails=True)
    assert "NameError: name 'x' is not defined" in nb.text_output(1)
    with pytest.raises(AssertionError, match="NameError"):
        nb.run(1)
    nb.reload()
    expect(nb.prompt(1)).to_have_text("[ ]:")  # never saved


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_interrupt(open_notebook: Open) -> None:
    """A cell that would run for a minute ends at once."""
    nb = open_notebook(["import time\nprint('begun')\ntime.sleep(60)"])
    nb.start(0)
    expect(nb.output(0)).to_contain_text("begun")
    expect(nb.prompt(0)).to_have_text("[*]:")
    nb.interrupt()
    nb.wait(0, fails=True)
    assert "KeyboardInterrupt" in nb.text_output(0)


def test_all_output_has_come_when_a_run_is_over(open_notebook: Open) -> None:
    """No test needs to wait for output after `run`."""
    nb = open_notebook(["for i in range(3000): print(i)"])
    nb.run(0)
    assert nb.text_output(0).endswith("2999\n")


def test_a_copy_of_a_notebook(open_notebook: Open, tmp_path: Path) -> None:
    """A notebook of the repository is copied, so that saving it changes nothing there."""
    original = write_notebook(tmp_path / "original.ipynb", ["1 + 1"])
    before = original.read_bytes()
    nb = open_notebook(original)
    nb.run_all()
    nb.save()
    assert nb.path.name == "original.ipynb" and nb.path.read_bytes() != before == original.read_bytes()


def test_two_notebooks(open_notebook: Open, jupyter: JupyterServer) -> None:
    """Two tabs with two kernels."""
    one, two = open_notebook(["x = 1"], name="one"), open_notebook(["x"], name="two")
    one.run(0)
    two.run(0, fails=True)
    assert sorted(jupyter.kernels()) == sorted([one.kernel_id, two.kernel_id])


@pytest.mark.allow_external(r"^(https?|wss?)://(example\.com|192\.0\.2\.1)/$")
def test_the_network_is_shut(page: Page, watch: BrowserWatch, run_script: Callable[..., Script], tmp_path: Path) -> None:
    """Names, addresses and sockets outside this machine are out of reach, and each attempt is noted."""
    (tmp_path / "serve.py").write_text(SCRIPT)
    page.goto(run_script(tmp_path / "serve.py", stderr_may='"GET ').url)
    refused = page.evaluate("""() => Promise.all([
        fetch('https://example.com/').catch(error => error.name),
        fetch('http://192.0.2.1/').catch(error => error.name),
        new Promise(resolve => new WebSocket('wss://example.com/').onerror = event => resolve(event.type)),
    ])""")
    assert refused == ["TypeError", "TypeError", "error"]
    assert sorted(watch.external) == ["http://192.0.2.1/", "https://example.com/", "wss://example.com/"]


@pytest.mark.allow_page_error("ReferenceError: nothing is not defined")
def test_errors_in_frames_are_seen(open_notebook: Open, watch: BrowserWatch) -> None:
    """What a page under a cell throws is collected; without the marker it would fail the test."""
    nb = open_notebook([SERVER.replace("1+1", "nothing"), "frame"])
    nb.run_all()
    with nb.page.context.expect_event("weberror"):
        nb.frame(1).get_by_role("button").click()
    assert watch.page_errors[0].startswith("ReferenceError: nothing is not defined")


def test_in_thread() -> None:
    """asyncio works beside Playwright's own loop."""

    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert in_thread(add, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0)
