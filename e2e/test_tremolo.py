"""Tremolo's chat, as its page has it but for the import lines: in a cell, and as a script in an ordinary tab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from .notebook import Notebook
from .scripts import Script
from .sockets import own_socket_opens

SEED = (Path(__file__).parents[1] / "tests/apps/tremolo_chat.py").read_text()


def talk(page: Page | FrameLocator, text: str) -> None:
    """Type, send, and read the answer."""
    own_socket_opens(page)
    page.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("listitem").first).to_contain_text(f": {text}")


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_in_a_cell(open_notebook: Callable[..., Notebook]) -> None:
    nb = open_notebook([SEED])
    nb.run(0)
    expect(nb.output(0)).to_contain_text("ignored")  # Host, port and reload, which mean nothing here
    talk(nb.frame(0), "hello")
    talk(nb.frame(0), "<b>bold</b>")
    nb.edit(0, SEED.replace("[{:s}] Guest", "<{:s}> Guest").replace("<h1>WebSocket Chat", "<h1>Another chat"))
    expect(nb.frame(0).get_by_role("heading")).to_have_text("Another chat")
    talk(nb.frame(0), "again")
    expect(nb.frame(0).get_by_role("listitem").first).to_contain_text("<")


def test_as_a_script(run_script: Callable[..., Script], page: Page, tmp_path: Path) -> None:
    path = tmp_path / "chat.py"
    # A port of our own, and nothing else: the machine may have something at 8000
    path.write_text("import os\n" + SEED.replace("8000, debug=True, reload=True", "int(os.environ['PORT'])"))
    script = run_script(str(path))
    page.goto(script.url)
    talk(page, "hello")
