"""Pages in a real marimo: at the kernel's port, and over widget messages where the browser refuses that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from websockets.sync.client import connect

from .chromium import reach_only
from .marimo import Marimo, marimo
from .processes import listens
from .sockets import connected
from .test_channel import says, shows
from .timeouts import milliseconds, seconds, wait_until

pytestmark = [
    pytest.mark.timeout(seconds(180)),
    pytest.mark.allow_page_error(".*"),  # marimo's own, as its fonts
    pytest.mark.allow_external(".*"),
]

CELLS = [
    (
        "start",
        """from nbws.common import Div, Form, Input, Li, P, Titled, Ul, fast_app, serve
site, rt = fast_app(exts="ws")
said = site.room("said", history=20)""",
    ),
    (
        "pages",
        """@rt("/")
def home(session):
    session["visits"] = session.get("visits", 0) + 1
    talk = Form(Input(name="msg", id="msg", aria_label="message"), ws_send=True)
    return Titled("first", P(f"visit {session['visits']}", id="visit"), Ul(id="said"), talk,
                  hx_ext="ws", ws_connect="/ws")""",
    ),
    (
        "sockets",
        """@site.ws("/ws", conn=said.join)
async def say(msg: str):
    if msg == "tick": return
    print("heard", msg)
    said.send(Ul(Li("first " + msg), hx_swap_oob="beforeend:#said"))""",
    ),
    ("show", "serve(site)"),
]


TICKS = """element => {
  const { socket } = element['htmx-internal-data'].webSocket
  socket.addEventListener('close', () => { window.ends = 1 })
  window.ticks = setInterval(() => socket.send('{"msg": "tick"}'), 20)
}"""


def opened(notebook: Marimo, new_context: Callable[..., BrowserContext], way: str) -> Page:
    """The notebook, in a browser that reaches the kernel's port or does not."""
    context = new_context()
    if way == "widget":
        reach_only(context, notebook.url)
    page = context.new_page()
    page.goto(notebook.url, wait_until="commit")
    return page


@pytest.mark.parametrize("way", ["direct", "widget"])
def test_a_notebook(new_context: Callable[..., BrowserContext], tmp_path: Path, way: str) -> None:
    """The chat; a cell is run again under its open socket, another one with all that follows from it, one goes."""
    with marimo(tmp_path, CELLS) as notebook:
        outer = opened(notebook, new_context, way)
        frame = outer.locator("iframe[data-way]")
        expect(frame).to_have_attribute("data-way", way, timeout=milliseconds(60))
        page = frame.content_frame
        expect(page.locator("#visit")).to_have_text("visit 1", timeout=milliseconds(20))
        connected(page)
        says(page, "one")
        shows(page, ["first one"])
        changed = [(name, code.replace('"first "', '"second "')) for name, code in CELLS]
        page.locator("[ws-connect]").evaluate(TICKS)  # So that one comes while marimo has the cell deleted
        notebook.write(changed)
        expect(outer.get_by_text('"second "').first).to_be_visible(timeout=milliseconds(20))
        says(page, "two")
        expect(page.locator("#said li").nth(1)).to_have_text(re.compile("(first|second) two"), timeout=milliseconds(20))
        says(page, "three")
        shows(page, ["first one", page.locator("#said li").nth(1).inner_text(), "second three"])
        expect(outer.get_by_text("heard three")).to_be_visible(timeout=milliseconds(20))  # Under its cell
        assert page.locator("body").evaluate("() => { clearInterval(ticks); return window.ends ?? 0 }") == 0
        anew = [(name, code.replace("history=20", "history=21")) for name, code in changed]
        notebook.write(anew)
        expect(page.locator("#visit")).to_have_text(re.compile("visit [2-9]"), timeout=milliseconds(30))
        connected(page)
        says(page, "four")
        expect(page.locator("#said li").last).to_have_text("second four", timeout=milliseconds(20))
        outer.reload(wait_until="commit")
        expect(frame).to_have_attribute("data-way", way, timeout=milliseconds(60))
        connected(page)
        says(page, "five")
        expect(page.locator("#said li").last).to_have_text("second five", timeout=milliseconds(20))
        outer.get_by_test_id("notebook-menu-dropdown").click()
        outer.get_by_role("menuitem", name="Restart kernel").click()
        outer.get_by_role("button", name="Restart").click()
        expect(page.locator("#said li")).to_have_count(0, timeout=milliseconds(60))  # All cells have run again
        expect(frame).to_have_attribute("data-way", way, timeout=milliseconds(60))
        connected(page)
        says(page, "six")
        shows(page, ["second six"])
        notebook.write([cell for cell in anew if cell[0] != "sockets"])
        state = "element => element['htmx-internal-data']?.webSocket?.socket?.readyState ?? 3"
        wait_until(lambda: page.locator("[ws-connect]").evaluate(state) != 1, "the end of the socket", 20)


def test_sessions_of_marimo_run(new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """Each has an app of its own; one that has ended leaves the other alone, and no port."""
    with marimo(tmp_path, CELLS, edit=False) as notebook:
        frames = [opened(notebook, new_context, "direct").locator("iframe[data-way=direct]") for _ in range(2)]
        for number, frame in enumerate(frames):
            connected(frame.content_frame)
            says(frame.content_frame, str(number))
            shows(frame.content_frame, [f"first {number}"])
        ports = [int(re.findall(r":(\d+)/", frame.get_attribute("src") or "")[0]) for frame in frames]
        frames[1].page.close()
        wait_until(lambda: not listens(ports[1]), "the end of the second session's app", 60)
        says(frames[0].content_frame, "alone")
        shows(frames[0].content_frame, ["first 0", "first alone"])


@contextmanager
def begun(port: int, name: str) -> Iterator[int]:
    """A session of `marimo run`, as its page begins and leaves it; the port of its app."""
    with connect(f"ws://127.0.0.1:{port}/ws?session_id={name}", max_size=None, open_timeout=seconds(60)) as socket:
        told = ""
        while not (found := re.search(r"nothing answers at http://127\.0\.0\.1:(\d+)", told)):
            told += str(socket.recv(seconds(60)))
        yield int(found[1])


def test_the_app_of_a_session_ends_with_it(tmp_path: Path) -> None:
    """Whoever looks besides keeps theirs."""
    with marimo(tmp_path, CELLS, edit=False) as notebook:
        with begun(notebook.port, "s_stays") as own:
            for number in range(3):
                with begun(notebook.port, f"s_leave{number}") as port:
                    assert port != own and listens(port)
                wait_until(lambda port=port: not listens(port), "the end of an app whose session has ended", 60)
            assert listens(own)
        wait_until(lambda: not listens(own), "the end of the last one's app", 60)
