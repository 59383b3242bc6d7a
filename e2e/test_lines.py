"""How a page's sockets end, are missed and come back, where nothing of a notebook or of `--reload` is in the page."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .relay import Relay
from .scripts import Script
from .sockets import connected
from .timeouts import milliseconds

Run = Callable[..., Script]

APP = """
from nbws.common import *
app = FastHTML(exts='ws')
people = app.room('people')
@app.get('/')
def home():
    form = Form(Input(name='msg', aria_label='message'), ws_send=True)
    return Div(Ul(id='list'), form, hx_ext='ws', ws_connect='/ws')
@app.ws('/ws', conn=people.join)
async def said(msg: str): people.send(Ul(Li(msg), hx_swap_oob='beforeend:#list'))
serve()
"""
SOCKET = "document.querySelector('[ws-connect]')['htmx-internal-data'].webSocket.socket"
WATCH = f"() => {{ window.first = {SOCKET} }}"
ANOTHER = f"() => {SOCKET} !== window.first && {SOCKET}.readyState === 1"


def say(page: Page, text: str) -> None:
    """Send a message and see it come."""
    page.get_by_label("message").fill(text)
    page.get_by_label("message").press("Enter")
    expect(page.get_by_role("listitem").filter(has_text=text)).to_have_count(1)


@contextmanager
def behind_relay(script: Script, page: Page) -> Iterator[Relay]:
    """The page, connected by a network that can be broken."""
    network = Relay(script.port)
    try:
        page.goto(f"http://127.0.0.1:{network.port}/")
        connected(page)
        say(page, "before")
        page.evaluate(WATCH)
        yield network
        page.goto("about:blank")
    finally:
        network.close()


@pytest.fixture
def script(run_script: Run, tmp_path: Path) -> Script:
    """The app as it is served to the world."""
    (tmp_path / "chat.py").write_text(APP)
    return run_script(tmp_path / "chat.py")


def test_the_network_is_cut(script: Script, page: Page) -> None:
    """However long: browsers let sockets wait that have failed often, and htmx waits for up to a minute."""
    with behind_relay(script, page) as network:
        network.cut()
        page.wait_for_timeout(8000)
        network.open = True
        begin = time.monotonic()
        page.wait_for_function(ANOTHER, timeout=milliseconds(5))
        print(f"alive after {time.monotonic() - begin:.2f} s")
        say(page, "after")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_is_started_again(
    script: Script, run_script: Run, page: Page, tmp_path: Path, number: signal.Signals
) -> None:
    """In order, with a word to its clients, or without; what was typed stays, and what was sent meanwhile arrives."""
    with behind_relay(script, page) as network:
        page.get_by_label("message").fill("half typed")
        script.stop(number, -9 if number == signal.SIGKILL else 0)
        page.wait_for_function(f"() => {SOCKET}.readyState > 1")
        page.get_by_label("message").press("Enter")
        page.get_by_label("message").fill("and more")
        network.target = run_script(tmp_path / "chat.py").port
        page.wait_for_function(ANOTHER, timeout=milliseconds(5))
        expect(page.get_by_role("listitem").filter(has_text="half typed")).to_have_count(1)
        expect(page.get_by_label("message")).to_have_value("and more")
        say(page, "after")


@pytest.mark.parametrize("sends", [True, False])
def test_a_connection_is_forgotten_on_the_way(script: Script, page: Page, sends: bool) -> None:
    """Nobody says so: the page notices when it sends, or after some seconds without a message."""
    with behind_relay(script, page) as network:
        network.forget()
        if sends:
            page.get_by_label("message").fill("into the void")
            page.get_by_label("message").press("Enter")
        page.wait_for_function(ANOTHER, timeout=milliseconds(30))
        say(page, "after")


def test_a_busy_server_is_not_left(script: Script, page: Page) -> None:
    """It answers nothing for some seconds, and the page keeps its socket."""
    with behind_relay(script, page):
        script.child.process.send_signal(signal.SIGSTOP)
        page.get_by_label("message").fill("patience")
        page.get_by_label("message").press("Enter")
        page.wait_for_timeout(7000)
        script.child.process.send_signal(signal.SIGCONT)
        expect(page.get_by_role("listitem").filter(has_text="patience")).to_have_count(1)
        page.wait_for_timeout(1000)
        assert page.evaluate(f"() => {SOCKET} === window.first && first.readyState === 1")


def test_a_close_that_is_meant(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Codes of the app's own and 1000 are for the page to keep to."""
    closes = "async def said(msg: str, ws): await ws.close(int(msg)) if msg.isdigit() else "
    (tmp_path / "chat.py").write_text(APP.replace("async def said(msg: str): ", closes))
    script = run_script(tmp_path / "chat.py")
    with behind_relay(script, page):
        page.evaluate(f"() => {{ {SOCKET}.addEventListener('close', e => {{ window.code = e.code }}) }}")
        page.get_by_label("message").fill("4001")
        page.get_by_label("message").press("Enter")
        page.wait_for_function("() => window.code === 4001")
        page.wait_for_timeout(1500)
        assert page.evaluate(f"() => {SOCKET} === window.first")


CHANGES = {
    "a class of its own": "document.querySelector('[ws-connect]').classList.add('wide')",
    "a class of what is around it": "document.querySelector('[ws-connect]').parentElement.classList.add('dark')",
    "two classes at once": "document.querySelectorAll('body, [ws-connect]').forEach(e => e.classList.add('new'))",
}


@pytest.mark.parametrize("bodykw", ["{}", "{'hx-ext': 'ws'}"])
def test_an_element_that_htmx_processes_anew_keeps_its_socket(
    bodykw: str, run_script: Run, page: Page, tmp_path: Path
) -> None:
    """A script sets a class, and htmx processes the page: one socket, the same, and each message comes once."""
    (tmp_path / "classes.py").write_text(APP.replace("exts='ws'", f"ws_hdr=True, bodykw={bodykw}"))
    page.goto(run_script(tmp_path / "classes.py").url)
    connected(page)
    say(page, "before")
    page.evaluate(WATCH)
    for name, change in CHANGES.items():
        page.evaluate(f"() => {{ {change}; htmx.process(document.body) }}")
        say(page, f"after {name}")
        assert page.evaluate(f"() => {SOCKET} === window.first"), name
    page.evaluate("() => htmx.find('[ws-connect]').setAttribute('ws-connect', '/ws?again')")
    page.evaluate("() => htmx.process(document.body)")
    connected(page)
    assert page.evaluate("() => window.first.readyState") > 1
    say(page, "elsewhere")
    page.evaluate(WATCH)
    page.evaluate("() => { htmx.find('[ws-connect]').removeAttribute('ws-connect'); htmx.process(document.body) }")
    page.wait_for_function("() => window.first.readyState > 1")
    page.goto("about:blank")
