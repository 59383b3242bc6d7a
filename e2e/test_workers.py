"""A chat served by several processes: pages on different ones talk, one process is killed, and nothing is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from .scripts import Script

APP = """
import os
from nbws.common import *
app, rt = fast_app(exts='ws')
room = app.room('all', history=100)
@rt('/')
def index():
    box = Form(Input(name='msg'), ws_send=True)
    return Titled('Chat', Ol(id='talk'), P(id='own'), box, hx_ext='ws', ws_connect='/ws')
@app.ws('/ws', conn=room.join)
def say(msg: str):
    if msg == 'who?': return P(os.getpid(), id='own')
    room.send(Ol(Li(msg), hx_swap_oob='beforeend:#talk'))
serve()
"""


def say(page: Page, text: str) -> None:
    page.locator("[name=msg]").fill(text)
    page.keyboard.press("Enter")


def process_of(page: Page) -> int:
    """Which process has its socket."""
    own = page.locator("#own")
    page.evaluate("document.querySelector('#own').textContent = ''")
    say(page, "who?")
    expect(own).not_to_be_empty()
    return int(own.text_content() or 0)


def test_a_worker_is_killed_while_pages_talk(
    run_script: Callable[..., Script], new_context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    (tmp_path / "chat.py").write_text(APP)
    arguments = "run", "chat.py", "--workers", "2"
    script = run_script("nbws", *arguments, cwd=tmp_path, stderr_may="ended by itself", bound=60)
    pages: dict[int, Page] = {}
    for _ in range(20):
        page = new_context().new_page()
        page.goto(script.url)
        if (process := process_of(page)) in pages:
            page.close()
        pages.setdefault(process, page)
        if len(pages) == 2:
            break
    (victim, one), (_, two) = pages.items()
    said: list[str] = []
    for page in (one, two) * 3:
        said.append(f"message {len(said)}")
        say(page, said[-1])
        for each in one, two:
            expect(each.locator("#talk li").last).to_have_text(said[-1])
    os.kill(victim, signal.SIGKILL)
    for _ in range(10):
        said.append(f"message {len(said)}")
        say(two, said[-1])
    for page in two, one:
        expect(page.locator("#talk li")).to_have_text(said)
    assert process_of(one) != victim
    say(one, "back")
    for page in one, two:
        expect(page.locator("#talk li")).to_have_text([*said, "back"])
