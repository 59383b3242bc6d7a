"""The harness itself, proved on notebooks and scripts that need no nbws."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .jupyter import JupyterServer, JupyterSettings, trouble_in
from .lab import Lab
from .notebook import Notebook, write_notebook
from .promises import promised
from .processes import spawn
from .recorder import Recorder
from .scripts import Script
from .threads import in_thread
from .timeouts import seconds
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
from http.server import HTTPServer, SimpleHTTPRequestHandler
try:
    HTTPServer(('127.0.0.1', int(os.environ['PORT'])), SimpleHTTPRequestHandler).serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
"""


def served(folder: Path, first: str = "") -> Path:
    """Write a script that serves its folder, with a first line of its own."""
    path = folder / "serve.py"
    path.write_text(f"import os, sys\n{first}\n{SCRIPT}")
    return path


@pytest.mark.fresh_page
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


@pytest.mark.fresh_page
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
    nb = open_notebook(["import time\nprint('begun')\ntime.sleep(600)"])
    nb.start(0)
    expect(nb.output(0)).to_contain_text("begun")
    expect(nb.prompt(0)).to_have_text("[*]:")
    nb.interrupt()
    nb.wait(0, fails=True)
    assert "KeyboardInterrupt" in nb.text_output(0)


def test_a_copy_of_a_notebook(open_notebook: Open, tmp_path: Path) -> None:
    """A notebook of the repository is copied, so that saving changes nothing there. After `run` all output is there."""
    original = write_notebook(tmp_path / "original.ipynb", ["for i in range(3000): print(i)"])
    before = original.read_bytes()
    nb = open_notebook(original)
    nb.run(0)
    assert nb.text_output(0).endswith("2999\n")
    nb.save()
    assert nb.path.name == "original.ipynb"
    assert nb.path.read_bytes() != before == original.read_bytes()


def test_two_notebooks(open_notebook: Open, jupyter: JupyterServer) -> None:
    """Two tabs with two kernels, of which one is shut down in the middle of a cell."""
    one = open_notebook(["x = 1"], name="one")
    two = open_notebook(["x", "while True: pass"], name="two")
    one.run(0)
    two.run(0, fails=True)
    assert sorted(jupyter.kernels()) == sorted([one.kernel_id, two.kernel_id])
    two.start(1)
    expect(two.prompt(1)).to_have_text("[*]:")


@pytest.mark.allow_external(r"^(https?|wss?)://(example\.com|192\.0\.2\.1)/$")
def test_the_network_is_shut(
    page: Page, watch: BrowserWatch, run_script: Callable[..., Script], tmp_path: Path
) -> None:
    """Names, addresses and sockets outside this machine are out of reach, and each attempt is noted."""
    page.goto(run_script(served(tmp_path), stderr_may='"GET ').url)
    refused = promised(page, """() => Promise.all([
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


def test_people_have_cookies_of_their_own(
    new_context: Callable[..., BrowserContext], run_script: Callable[..., Script], tmp_path: Path
) -> None:
    """Each context is another person's browser."""
    url = run_script(served(tmp_path), stderr_may='"GET ').url
    ann, bob = new_context().new_page(), new_context().new_page()
    for page in (ann, bob):
        page.goto(url)
    ann.evaluate("document.cookie = 'name=ann'")
    assert [page.evaluate("document.cookie") for page in (ann, bob)] == ["name=ann", ""]


def test_a_script_must_end_well(run_script: Callable[..., Script], tmp_path: Path) -> None:
    """A script that does not start says why; noise on stderr and a bad exit code are errors."""
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_script(served(tmp_path, "1/0"))
    noisy = run_script(served(tmp_path, "print('beware', file=sys.stderr)"))
    with pytest.raises(AssertionError, match="beware"):
        noisy.stop()
    with pytest.raises(AssertionError, match="exit code -15"):
        run_script(served(tmp_path)).stop(signal.SIGTERM)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A process that outlives its parents, in a session of its own, is found and killed."""
    code = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    child = spawn([sys.executable, "-c", code], tmp_path, tmp_path, {})
    assert child.process.wait(seconds(10)) == 0
    assert [command.split(": ")[1] for command in child.stragglers(bound=0)] == ["sleep 600"]
    assert child.stragglers() == []


def test_errors_in_jupyters_log_are_seen() -> None:
    """All but what a page leaves behind that has just closed."""
    gone = (
        "Task exception was never retrieved\n"
        "future: <Task coro=<WebSocketProtocol13.write_message.<locals>.wrapper()>>\n"
        "Traceback (most recent call last):\ntornado.iostream.StreamClosedError: Stream is closed\n\n"
        "Traceback (most recent call last):\ntornado.websocket.WebSocketClosedError\n"
    )
    error = "[E 2000-01-01 00:00:00.000 ServerApp] Uncaught exception GET /nbws\n"
    for what in ("Uncaught exception in ZMQStream callback", "Exception in callback partial(<function ZMQStream.f>)"):
        line = error.replace("Uncaught exception GET /nbws", what)
        gone += f"{line}    Traceback (most recent call last):\n    tornado.websocket.WebSocketClosedError\n"
        assert trouble_in(f"{line}    Traceback (most recent call last):\n    ValueError\n")
    early = "ERROR:tornado.general:Uncaught exception in ZMQStream callback\nTraceback (most recent call last):\n"
    assert trouble_in(f"{early}ValueError: no lock\n")
    lock = "traitlets.traitlets.TraitError: The '_control_lock' trait is None"
    gone += f"{early}KeyError\n\n{early.splitlines()[1]}\n{lock}\n"
    asked = "/user/alice/api/kernels?1796069992900"
    gone += (
        f"{error.replace('/nbws', asked)}    HTTPServerRequest()\n"
        "    Traceback (most recent call last):\n    KeyError\n\n"
        "    Traceback (most recent call last):\n    traitlets.traitlets.TraitError: The 'last_activity' trait of a "
        "ServerKernelManager instance expected a datetime, not the NoneType None.\n[W 2000 ServerApp] wrote error\n"
        f'[E 2000 ServerApp] {{\n      "Host": "127.0.0.1"\n    }}\n'
        f"[E 2000 ServerApp] 500 GET {asked} (a@127.0.0.1) 1ms\n"
    )
    assert trouble_in("[I 2000] fine\n" + gone) == []
    assert trouble_in(error + gone + error) == [error.rstrip()] * 2
    assert trouble_in(error, allowed=("GET /nbws",)) == []


def test_a_lab_is_cleared(open_notebook: Open, lab: Lab) -> None:
    """Whatever a test leaves in the page that the next one gets; what cannot be cleared is noticed."""
    nb = open_notebook(["from IPython.display import IFrame\nIFrame('about:blank', 9, 9)"])
    nb.run(0)
    tab = lab.context.new_page()
    tab.goto(api := f"{lab.server.url}api")
    tab.evaluate("() => { document.cookie = 'mark=1; path=/'; localStorage.mark = sessionStorage.mark = 1 }")
    lab.page.evaluate("() => { sessionStorage.mark = window.nbwsMark = 1 }")
    lab.page.wait_for_function("() => 'mark' in localStorage")  # The tab may have a process of its own
    left = """() => [
        document.cookie.includes('mark'), 'mark' in localStorage, 'mark' in sessionStorage, 'nbwsMark' in window,
        document.querySelector('.jp-NotebookPanel, iframe') !== null]"""
    assert lab.page.evaluate(left) == [True] * 5
    asked = "url => fetch(url).then(answer => answer.status, () => 'refused')"
    for routes in (lab.context, lab.page):
        routes.route(re.compile("/api$"), lambda route: route.abort())
    assert promised(lab.page, asked, api) == "refused"
    assert lab.clear()
    assert promised(lab.page, asked, api) == 200
    assert lab.page.evaluate(left) == [False] * 5
    assert lab.context.pages == [lab.page]
    assert lab.page.evaluate("() => document.cookie.includes('_xsrf')")  # Jupyter's own stay
    lab.page.evaluate("() => document.body.append(document.createElement('iframe'))")
    assert not lab.clear()  # so the next test gets another one


def test_what_a_failed_test_leaves(browser: Browser, tmp_path: Path) -> None:
    """A trace of its own steps for each context, and a picture of each page, also where a context goes on.

    One that has not failed before it is cleared up after leaves the trace alone.
    """
    with browser.new_context() as context:
        Recorder.prepare(context, tracing="pages")
        context.new_page().set_content("<p>one</p>")
        for number in ("first", "second"):
            (tmp_path / number).mkdir()
            recorder = Recorder(tmp_path / number, number, tracing="pages")
            recorder.start(context)
            expect(context.pages[0].get_by_text("one")).to_be_visible()
            context.pages[0].locator("p").evaluate(f"() => {number!r}")
            recorder.stop(context, failed=number == "second")
            recorder.keep(tmp_path / "kept" / number)
    assert [path.name for path in (tmp_path / "kept" / "first").iterdir()] == ["trace.zip"]
    kept = tmp_path / "kept" / "second"
    assert sorted(path.name for path in kept.iterdir()) == ["test-failed-1.png", "trace.zip"]
    assert (kept / "test-failed-1.png").read_bytes().startswith(b"\x89PNG")
    with zipfile.ZipFile(kept / "trace.zip") as trace:
        steps = b"".join(trace.read(name) for name in trace.namelist() if name.endswith(".trace"))
    assert b"second" in steps
    assert b"first" not in steps
    assert b"frame-snapshot" in steps


def test_in_thread() -> None:
    """asyncio works beside Playwright's own loop."""

    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert in_thread(add, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0)
