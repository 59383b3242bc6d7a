"""The example notebooks themselves, opened and run in JupyterLab; their pictures are taken here.

`NBWS_PICTURES=1 pytest e2e/test_examples.py` writes them to nbs/images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, expect

from .notebook import Notebook
from .sockets import connected

Open = Callable[..., Notebook]
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "nbs"

pytestmark = pytest.mark.fresh_page  # in a window of its own size


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, object]) -> dict[str, object]:
    """A window of the pictures' size."""
    return {**browser_context_args, "viewport": {"width": 960, "height": 640}}


def find(nb: Notebook, text: str) -> int:
    """The number of the only cell that contains the text."""
    sources: list[str] = nb._javascript("return cells().map(cell => cell.model.sharedModel.source);")
    (index,) = [number for number, source in enumerate(sources) if text in source]
    return index


def say(frame: FrameLocator, text: str) -> None:
    """Type into the page's box and press Enter."""
    frame.get_by_role("textbox").fill(text)
    frame.get_by_role("textbox").press("Enter")


def picture(nb: Notebook, index: int, name: str, above: int = 0) -> None:
    """A picture of a cell, and of `above` pixels over it, in the window that it stands in."""
    nb.page.locator("body").evaluate("() => document.activeElement?.blur()")
    nb._javascript("app.shell.collapseLeft();")
    cell = nb.cell(index)
    cell.evaluate(
        """async (cell, above) => {
        cell.scrollIntoView({block: 'start', behavior: 'instant'})
        cell.closest('.jp-WindowedPanel-outer').scrollBy({top: -above, behavior: 'instant'})
        await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    }""",
        above,
    )
    path = nb.screenshot(name)
    if os.environ.get("NBWS_PICTURES"):
        (NOTEBOOKS / "images").mkdir(exist_ok=True)
        (NOTEBOOKS / "images" / f"{name}.png").write_bytes(path.read_bytes())


def test_the_readmes_chat(open_notebook: Open) -> None:
    """The text that README.md shows, in one cell: two visitors talk."""
    text = re.search(r"```python\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)
    assert text
    nb = open_notebook([text[1]], name="chat")
    nb.page.set_viewport_size({"width": 960, "height": 880})
    nb.run(0)
    ann, bob = nb.frames(0, count=2)
    connected(ann, bob)
    said = []
    for frame, line in [(ann, "Is anybody here?"), (bob, "Yes, in the other page.")]:
        say(frame, line)
        said.append(line)
        for each in (ann, bob):
            expect(each.locator("#talk li")).to_have_text(said)
        expect(frame.get_by_role("textbox")).to_have_value("")
    picture(nb, 0, "nbws", above=10)


def test_chat(open_notebook: Open) -> None:
    """FastHTML's chat: run all, talk, change the handler."""
    nb = open_notebook(NOTEBOOKS / "examples/00_chat.ipynb")
    nb.run_all()
    two = find(nb, "show(n=2)")
    first = nb.frame(find(nb, "#| export\nserve()"))
    ann, bob = nb.frames(two, count=2)
    connected(ann, bob, first)
    said = ["a word from the notebook"]
    for frame, text in [(ann, "hello, who is there?"), (bob, "me, in another browser"), (ann, "<script>no()</script>")]:
        say(frame, text)
        said.append(text)
        for each in (ann, bob, first):
            expect(each.locator("#msg-list li")).to_have_text(said)
    picture(nb, two, "chat", above=110)
    change = find(nb, "# Change me")
    source = nb._javascript("return cells()[argument].model.sharedModel.source;", change)
    nb.edit(change, source.replace("msgs.append(msg)", "msgs.append(msg.upper())"))
    say(bob, "louder")
    expect(ann.locator("#msg-list li")).to_have_text([*said, "LOUDER"])


def test_hello(open_notebook: Open) -> None:
    """Run, use, and do what its last cell says."""
    nb = open_notebook(NOTEBOOKS / "examples/01_hello.ipynb")
    nb.run_all()
    app = find(nb, "serve()")
    frame = nb.frame(app)
    say(frame, "nbws")
    expect(frame.locator("#notifications")).to_have_text("Hello nbws")
    picture(nb, app, "hello", above=-20)
