"""The chat and the hello of FastHTML's page, as their reader runs them: in a cell, as a script, exported."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect

from .notebook import Notebook
from .scripts import Script
from .seeds import CHAT, HELLO
from .sockets import connected
from .timeouts import seconds

Open = Callable[..., Notebook]
Run = Callable[..., Script]
NewContext = Callable[..., BrowserContext]
NOTEBOOKS = Path(__file__).resolve().parent.parent / "nbs"


def say(page: Page | FrameLocator, text: str) -> None:
    """Type into the page's box and press Enter."""
    page.get_by_role("textbox").fill(text)
    page.get_by_role("textbox").press("Enter")


def lines(page: Page | FrameLocator) -> Locator:
    """The chat's messages."""
    return page.locator("#msg-list li")


def greet(page: Page | FrameLocator) -> None:
    """Use the hello app."""
    expect(page.get_by_role("heading")).to_have_text("Websocket Test")
    say(page, "nbws")
    expect(page.locator("#notifications")).to_have_text("Hello nbws")
    say(page, "<b>you</b>")
    expect(page.locator("#notifications")).to_have_text("Hello <b>you</b>")


def talk(one: Page | FrameLocator, two: Page | FrameLocator) -> None:
    """Use the chat app from two pages; markup stays text."""
    connected(one, two)
    say(one, "first")
    expect(lines(two)).to_have_text(["first"])
    say(two, "<script>window.broken = 1</script>")
    for page in (one, two):
        expect(lines(page)).to_have_text(["first", "<script>window.broken = 1</script>"])
        assert page.locator("body").evaluate("() => window.broken") is None


def test_hello_in_a_cell(open_notebook: Open) -> None:
    """The whole text in one cell."""
    nb = open_notebook([HELLO])
    nb.run(0)
    greet(nb.frame(0))


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_chat_in_a_cell(open_notebook: Open) -> None:
    """The whole text in one cell, and a second visitor in the next."""
    nb = open_notebook([CHAT, "show()"])
    nb.run_all()
    talk(nb.frame(0), nb.frame(1))


def test_hello_as_a_script(run_script: Run, page: Page, tmp_path: Path) -> None:
    """`python hello.py`, in a plain tab."""
    file = tmp_path / "hello.py"
    file.write_text(HELLO)
    page.goto(run_script(file).url)
    greet(page)


def test_chat_as_a_script(run_script: Run, new_context: NewContext, tmp_path: Path) -> None:
    """`python chat.py`, and two people's browsers."""
    file = tmp_path / "chat.py"
    file.write_text(CHAT)
    url = run_script(file).url
    pages = [new_context().new_page() for _ in range(2)]
    for each in pages:
        each.goto(url)
    talk(*pages)


def test_hello_exported(run_script: Run, page: Page) -> None:
    """`python -m nbws.examples.hello`."""
    page.goto(run_script("nbws.examples.hello").url)
    greet(page)


def test_chat_exported(run_script: Run, new_context: NewContext) -> None:
    """`python -m nbws.examples.chat`."""
    url = run_script("nbws.examples.chat").url
    pages = [new_context().new_page() for _ in range(2)]
    for each in pages:
        each.goto(url)
    talk(*pages)


@pytest.mark.parametrize("name", ["chat", "hello", "llm"])
def test_importing_starts_nothing(name: str) -> None:
    """No thread, no output, and it ends."""
    code = f"import nbws.examples.{name}, threading; print(threading.active_count())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds(20), check=True)
    assert (run.stdout, run.stderr) == ("1\n", "")


@pytest.mark.parametrize(("name", "seed"), [("00_chat", CHAT), ("01_hello", HELLO)])
def test_the_notebooks_are_the_page(name: str, seed: str) -> None:
    """Their exported cells are the page's text."""
    cells = nbformat.read(NOTEBOOKS / "examples" / f"{name}.ipynb", as_version=4).cells
    exported = [cell.source.removeprefix("#| export\n") for cell in cells if cell.source.startswith("#| export\n")]
    assert without_blanks("\n".join(exported)) == without_blanks(seed)


def without_blanks(text: str) -> list[str]:
    """The lines that say something."""
    return [line for line in text.splitlines() if line.strip()]


def test_the_whole_cell_again(open_notebook: Open) -> None:
    """Same server, same address; a page that was open all along goes on."""
    where = "from nbws.notebook.served import SERVED; print(len(SERVED), SERVED[0])"
    nb = open_notebook([CHAT, "show()", where])
    nb.run_all()
    address = nb.text_output(2)
    assert re.fullmatch(r"1 <ServedApp app at /nbws/[\w-]+/>\n", address)
    talk(nb.frame(0), nb.frame(1))
    nb.run(0)
    nb.run(2)
    assert nb.text_output(2) == address
    connected(nb.frame(0), nb.frame(1))
    say(nb.frame(1), "after")
    expect(lines(nb.frame(0))).to_have_text(["after"])
    expect(lines(nb.frame(1))).to_have_text(["after"])


HANDLER = CHAT[CHAT.index("@app.ws") : CHAT.index("serve()")]
WATCHED = """() => { window.closed = 0
    document.body.addEventListener('htmx:wsClose', () => { window.closed += 1 }) }"""


def test_a_handler_changed_on_open_sockets(open_notebook: Open) -> None:
    """Two open pages meet the new handler with their next message, on the sockets that they have."""
    nb = open_notebook([CHAT.replace(HANDLER, ""), HANDLER, "show(n=2)"])
    nb.run(0)
    nb.run(1)
    nb.run(2)
    one, two = nb.frames(2, count=2)
    connected(one, two)
    say(one, "v1")
    expect(lines(two)).to_have_text(["v1"])
    for page in (one, two):
        page.locator("body").evaluate(WATCHED)
    nb.edit(1, HANDLER.replace("msgs.append(msg)", "msgs.append(msg.upper())"))
    say(one, "from one")
    expect(lines(two)).to_have_text(["v1", "FROM ONE"])
    say(two, "from two")
    expect(lines(one)).to_have_text(["v1", "FROM ONE", "FROM TWO"])
    assert [page.locator("body").evaluate("() => window.closed") for page in (one, two)] == [0, 0]
