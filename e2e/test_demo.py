"""What `make demo` opens, used as a person uses it in their first five minutes.

`NBWS_PICTURES=1 pytest e2e/test_demo.py` writes the pictures of README.md; the moving one needs Pillow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import BrowserContext, FrameLocator, expect

from .conftest import EVIDENCE
from .jupyter import FOLDERS, listening_server
from .notebook import Notebook
from .processes import REPOSITORY, Child, spawn
from .sockets import connected
from .test_examples import NOTEBOOKS, find, say
from .timeouts import seconds, wait_until

pytestmark = pytest.mark.fresh_page  # in a window of its own size


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, object]) -> dict[str, object]:
    """A window of the picture's size."""
    return {**browser_context_args, "viewport": {"width": 960, "height": 680}}


def test_five_minutes(open_notebook: Callable[..., Notebook]) -> None:
    """Run all; two people talk; the function changes while they do; a figure follows the slider and a cell."""
    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    served = find(nb, "serve(n=2)")
    ada, grace = nb.frames(served, count=2)
    connected(ada, grace)
    said = []
    for frame, name, text in [
        (ada, "Ada", "Is anybody here?"),
        (grace, "Grace", "Yes, in the other page."),
        (ada, "Ada", "<b>Then</b> we are two."),
    ]:
        say(frame, text)
        said.append(name + text)
        for each in (ada, grace):
            expect(each.locator("#talk li")).to_have_text(said)
        expect(frame.get_by_role("textbox")).to_have_value("")
        expect(frame.get_by_role("textbox")).to_be_focused()
    change = find(nb, "# Change me")
    source = nb._javascript("return cells()[argument].model.sharedModel.source;", change)
    nb.edit(change, source.replace("text,", "text.upper(),"))
    say(grace, "louder")
    said.append("GraceLOUDER")
    expect(ada.locator("#talk li")).to_have_text(said)

    nb.run(find(nb, "fast_app"))  # Its app takes over: the sockets, the names, and what has been said
    for frame, name, text in [(ada, "Ada", "STILL HERE"), (grace, "Grace", "SO AM I")]:
        say(frame, text)
        said.append(name + text)
        for each in (ada, grace):
            expect(each.locator("#talk li")).to_have_text(said)

    figure = nb.frame(find(nb, "def wave"))
    curve = figure.locator("polyline")
    shown = curve.get_attribute("points")
    figure.get_by_role("slider").fill("7")
    expect(curve).not_to_have_attribute("points", shown or "")
    shown = curve.get_attribute("points")
    nb.run(find(nb, "for n in range"))
    expect(curve).not_to_have_attribute("points", shown or "")


class MadeDemo:
    """The JupyterLab of `make demo`, as far as `Notebook` wants to know it; `root` is the demo's folder."""

    def __init__(self, home: Path, root: Path) -> None:
        """Start it and wait until it listens; `home` takes its logs and what Jupyter keeps."""
        self.root = root
        self._runtime = Path(tempfile.mkdtemp(prefix="nbws-", dir="/tmp"))  # Sockets' paths have to be short
        folders = {name: str(home / name.lower()) for name in FOLDERS}
        flags = "--no-browser --port=0 --LabApp.expose_app_in_browser=True --KernelManager.transport=ipc"
        # The environment stands, whatever the times of its stamps are
        command = ["make", "-o", f"{sys.prefix}/.demo", "demo", f"VENV={sys.prefix}", f"DEMO={root}"]
        folders["JUPYTER_RUNTIME_DIR"] = str(self._runtime)
        self.child: Child = spawn([*command, f"JUPYTER_FLAGS={flags}"], REPOSITORY, home, folders)
        self.running = wait_until(self._listening, "the JupyterLab of `make demo`", 30)

    def _listening(self) -> dict[str, Any] | None:
        assert self.child.process.poll() is None, self.log()
        return next(filter(None, map(listening_server, self._runtime.glob("jpserver-*.json"))), None)

    def notebook_url(self, path: str) -> str:
        """The address that JupyterLab prints: it opens the demo by itself."""
        return f"{self.running['url']}?token={self.running['token']}"

    def log(self) -> str:
        """What the terminal shows."""
        return self.child.stdout.read_text() + self.child.stderr.read_text()

    def stop(self) -> None:
        """End it, with its kernel."""
        psutil.Process(self.running["pid"]).terminate()
        self.child.process.wait(seconds(20))
        assert self.child.stragglers() == []
        shutil.rmtree(self._runtime)


@pytest.fixture
def made_demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MadeDemo]:
    """`make demo`, in a folder of its own below the one where it lies for everybody."""
    root = REPOSITORY / "nbws-demo" / f"e2e-{os.getpid()}"
    made = MadeDemo(tmp_path, root)
    yield made
    made.stop()
    request.node.stash.setdefault(EVIDENCE, {})["demo.log"] = made.log()
    shutil.rmtree(root)
    if not any(root.parent.iterdir()):
        root.parent.rmdir()


def tracked() -> str:
    """What git says about the work tree; nothing where it is no clone."""
    if not (REPOSITORY / ".git").exists():
        return ""
    return subprocess.run(["git", "status", "--porcelain"], cwd=REPOSITORY, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_demo_changes_nothing_that_git_tracks(
    made_demo: MadeDemo, new_context: Callable[..., BrowserContext], output_path: str
) -> None:
    """Run all and save, as everybody does: after `make demo`, `make test` finds the work tree as it was."""
    before = tracked()
    page = new_context().new_page()
    nb = Notebook(page, made_demo, made_demo.root / "demo.ipynb", Path(output_path))  # type: ignore[arg-type]
    nb.run_all()
    ada, grace = nb.frames(find(nb, "serve(n=2)"), count=2)
    connected(ada, grace)
    say(ada, "Is anybody here?")
    expect(grace.locator("#talk li")).to_have_text("AdaIs anybody here?")
    saved = nb.save()
    assert any(cell.get("outputs") for cell in saved.cells)
    assert tracked() == before


def visible(frame: FrameLocator) -> list[str]:
    """The lines that a reader sees, at least in part: a list of more than its box can hold is scrolled."""
    seen: list[str] = frame.locator(".chat").evaluate(
        """box => [...box.querySelectorAll('li')].filter(line => {
        const [a, b] = [box, line].map(e => e.getBoundingClientRect())
        return b.bottom > a.top + 5 && b.top < a.bottom - 5
    }).map(line => line.lastChild.textContent)"""
    )
    return seen


def test_the_list_follows_its_end_unless_the_reader_has_scrolled_up(open_notebook: Callable[..., Notebook]) -> None:
    """A reader of old lines is left where they are."""
    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    ada, grace = nb.frames(find(nb, "serve(n=2)"), count=2)
    connected(ada, grace)
    for number in range(12):
        say(ada, f"line {number}")
        expect(grace.locator("#talk li")).to_have_count(number + 1)
    for each in (ada, grace):
        wait_until(lambda each=each: visible(each)[-1:] == ["line 11"], "the last line")  # type: ignore[misc]
        assert "line 0" not in visible(each)
    grace.locator("#talk li").first.scroll_into_view_if_needed()
    read = visible(grace)
    say(ada, "one more")
    expect(grace.locator("#talk li")).to_have_count(13)
    assert read[0] == "line 0"
    assert visible(grace) == read
    wait_until(lambda: visible(ada)[-1:] == ["one more"], "the last line")


FRESH = """from nbws.common import *
app, rt = fast_app(exts='ws')
def box(): return Input(id='msg', placeholder='Say something', hx_swap_oob='true')
@rt('/')
def index(): return Titled('Chat', Ul(id='talk'), Form(box(), ws_send=True), hx_ext='ws', ws_connect='/ws')
@app.ws('/ws')
async def ws(msg: str): return Ul(Li(msg), id='talk', hx_swap_oob='beforeend'), box()
serve()"""


def test_a_fresh_input_keeps_the_focus(open_notebook: Callable[..., Notebook]) -> None:
    """FastHTML's way to empty a box: the handler sends another one. Who types goes on typing."""
    nb = open_notebook([FRESH])
    nb.run(0)
    frame = nb.frame(0)
    connected(frame)
    frame.get_by_role("textbox").click()
    for number, text in enumerate(["one", "two"], 1):
        nb.page.keyboard.type(text)
        nb.page.keyboard.press("Enter")
        expect(frame.locator("#talk li")).to_have_count(number)
        expect(frame.get_by_role("textbox")).to_have_value("")
        expect(frame.get_by_role("textbox")).to_be_focused()


@pytest.mark.skipif("NBWS_PICTURES" not in os.environ, reason="makes README's moving picture")
def test_moving_picture(open_notebook: Callable[..., Notebook]) -> None:
    """Two people talk; a cell is changed and run; they talk on, by the same sockets and with the new code."""
    from PIL import Image

    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    nb._javascript("app.shell.collapseLeft();")
    change = find(nb, "# Change me")
    ada, grace = nb.frames(find(nb, "serve(n=2)"), count=2)
    connected(ada, grace)
    nb.cell(change).evaluate("cell => cell.scrollIntoView({block: 'end', behavior: 'instant'})")
    frames: list[tuple[Image.Image, int]] = []

    def take(milliseconds: int) -> None:
        shot = Image.open(nb.screenshot(f"frame-{len(frames)}")).convert("RGB")
        frames.append((shot.quantize(64, dither=Image.Dither.NONE), milliseconds))

    def talk(frame: FrameLocator, text: str) -> None:
        box = frame.get_by_role("textbox")
        for end in range(4, len(text) + 4, 4):
            box.fill(text[:end])
            take(120)
        count = frame.locator("#talk li").count()
        box.press("Enter")
        expect(frame.locator("#talk li")).to_have_count(count + 1)
        take(900)

    take(800)
    talk(ada, "Is anybody here?")
    talk(grace, "Yes. Change something!")
    source = nb._javascript("return cells()[argument].model.sharedModel.source;", change)
    nb.cell(change).locator(".cm-content").click()
    for text in ("text.up", "text.upper()"):
        nb.set_source(change, source.replace("text,", text + ",").replace(" # Change me", ""))
        take(700)
    nb.run(change)
    take(900)
    talk(ada, "The same socket")
    talk(grace, "and new code")
    take(2500)
    first, *others = [frame for frame, _ in frames]
    first.save(
        NOTEBOOKS / "images" / "live.gif",
        save_all=True,
        append_images=others,
        duration=[ms for _, ms in frames],
        loop=0,
        optimize=True,
    )
