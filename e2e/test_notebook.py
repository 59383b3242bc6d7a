"""What a person meets in a notebook besides the happy path: busy cells, streams, many re-runs, mistakes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import FrameLocator, Locator, expect

from .notebook import Notebook
from .promises import promised
from .seeds import CHAT, HELLO
from .timeouts import seconds

Open = Callable[..., Notebook]

IMPORTS = "from nbws.common import *"


def say(frame: FrameLocator, text: str) -> None:
    """Type into the page's box and press Enter."""
    frame.get_by_role("textbox").fill(text)
    frame.get_by_role("textbox").press("Enter")


# While a cell runs

SLEEPS = "import time\ntime.sleep(600)"
COMPUTES = "n = 0\nwhile True: n += 1"


@pytest.mark.parametrize("busy", [SLEEPS, COMPUTES], ids=["sleeps", "computes"])
def test_a_page_answers_while_a_cell_runs(open_notebook: Open, busy: str) -> None:
    """An open socket, and a page that is asked for meanwhile."""
    nb = open_notebook([HELLO, busy])
    nb.run(0)
    frame = nb.frame(0)
    say(frame, "before")
    expect(frame.locator("#notifications")).to_have_text("Hello before")
    nb.start(1)
    expect(nb.prompt(1)).to_have_text("[*]:")
    say(frame, "during")
    expect(frame.locator("#notifications")).to_have_text("Hello during")
    status = frame.locator("body").evaluate("() => fetch('/').then(answer => answer.status)")
    assert status == 200
    expect(nb.prompt(1)).to_have_text("[*]:")  # it was during that cell
    nb.interrupt()
    nb.wait(1, fails=True)
    assert "KeyboardInterrupt" in nb.text_output(1)


# Many runs, many messages

COUNTER = """
version = globals().get('version', 0) + 1
@app.ws('/count')
async def count(n: int, v=version): return {'n': n, 'v': v}
"""

# Messages go out in hands of ten, while a cell is running; what comes back is kept.
CONNECT = """() => new Promise((resolve, reject) => {
    const socket = window.counting = new WebSocket(location.href.replace('http', 'ws') + 'count')
    window.heard = []
    socket.onmessage = event => window.heard.push(JSON.parse(event.data))
    socket.onclose = event => window.heard.push({closed: event.code})
    socket.onopen = resolve
    socket.onerror = reject
})"""
SEND = "(body, first) => { for (let n = first; n < first + 10; n++) window.counting.send(JSON.stringify({n})) }"
HEARD = """(body, count) => new Promise(resolve => {
    const look = () => window.heard.length >= count ? resolve(window.heard) : setTimeout(look, 20)
    look()
})"""
RUN_AGAIN = """
    panel().content.activeCellIndex = argument;
    window.nbwsRun = app.commands.execute('notebook:run-cell');
"""


def connected(nb: Notebook) -> Locator:
    """The body of the first cell's page, with a socket to `/count`."""
    frame = nb.frame(0)
    expect(frame.locator("#notifications")).to_be_attached()  # before that it may be the frame's first, empty document
    promised(frame.locator("body"), CONNECT)
    return frame.locator("body")


def test_300_messages_in_30_runs(open_notebook: Open) -> None:
    """None is lost, none comes out of order, the socket stays open."""
    nb = open_notebook([HELLO, COUNTER])
    nb.run_all()
    body = connected(nb)
    for run in range(30):
        nb._javascript(RUN_AGAIN, 1)
        body.evaluate(SEND, run * 10)
        nb._javascript("await window.nbwsRun;")
    heard: list[dict[str, Any]] = promised(body, HEARD, 300)
    assert [message.get("n") for message in heard] == list(range(300))
    versions = [message["v"] for message in heard]
    assert versions == sorted(versions)
    assert versions[-1] >= 30
    assert body.evaluate("() => window.counting.readyState") == 1


# An answer word by word


def test_a_streamed_answer(open_notebook: Open) -> None:
    """It is seen growing; the input is empty for the next question; another visitor sees nothing of it."""
    nb = open_notebook([f"{IMPORTS}\nfrom nbws.examples.llm import app\nserve(n=2)"])
    nb.run(0)
    one, two = nb.frames(0, count=2)
    answers = ".chat-message:not(.mine)"  # The first one is a greeting
    one.locator("#talk").evaluate("""talk => { window.lengths = new Set()
        new MutationObserver(() => {
            const text = talk.querySelectorAll('.chat-message:not(.mine)')[1]?.textContent
            if (text) window.lengths.add(text.length)
        }).observe(talk, {childList: true, subtree: true}) }""")
    say(one, "What is a table?")
    expect(one.get_by_role("textbox")).to_have_value("")
    say(one, "And code?")
    say(two, "You?")
    expect(one.locator(".mine")).to_contain_text(["What is a table?", "And code?"])
    expect(one.locator(answers).nth(1)).to_contain_text("both")
    expect(one.locator(answers).nth(2)).to_contain_text("its page appears under it.")
    assert len(one.locator("body").evaluate("() => [...window.lengths]")) > 5
    expect(two.locator(".mine")).to_contain_text(["You?"])
    expect(two.locator(answers).nth(1)).to_contain_text("change the cell of model, and run it")
    expect(one.locator(answers)).to_have_count(3)


# What is shown


def test_show(open_notebook: Open) -> None:
    """A path, a function that answers one, and a component: in a page of the app, where htmx works."""
    button = "Button('more', hx_get='/more', hx_swap='outerHTML')"
    nb = open_notebook(
        [
            IMPORTS,
            "show(Div('no app', id='bare'))",
            "app, rt = fast_app()\n@rt\ndef more(): return P('some more')\nserve()",
            f"show({button})",
            "show(more)",
            "show((H1('two'), P('elements')))",
            "show(len)",
            "len([r for r in app.routes if r.name == 'show'])",
        ]
    )
    for index in range(6):
        nb.run(index)
    expect(nb.output(1).locator("#bare")).to_have_text("no app")
    nb.frame(3).get_by_role("button", name="more").click()
    expect(nb.frame(3).get_by_text("some more")).to_be_visible()
    expect(nb.frame(4).get_by_text("some more")).to_be_visible()
    expect(nb.frame(5).get_by_role("heading")).to_have_text("two")
    nb.run(6, fails=True)
    assert "len() answers no path" in nb.text_output(6)
    nb.run(3)  # A page of its own again, in the other one's place
    expect(nb.frame(3).get_by_role("button", name="more")).to_be_visible()
    nb.run(7)
    assert nb.text_output(7).strip() == "2"


# Mistakes


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


MISTAKES = {
    "two-apps": ("one, two = FastHTML(), FastHTML()\nserve()", "there are several apps, one, two: say which"),
    "no-app": ("serve()", "there is no app to serve: make one with `app = App()`"),
    "show-first": ("show()", "no app is being served: call serve() first"),
    "star": ("app = FastHTML()\n@app.ws('/ws')\ndef ws(*args): pass", "ws takes *args, but values are bound by name"),
    "unknown-type": ("app = FastHTML()\n@app.get('/')\ndef home(x: 'Nothing'): pass", "'Nothing' is not defined"),
    "send-in-a-page": ("app = FastHTML()\n@app.get('/')\ndef home(send): pass", "only sockets can send"),
    "pattern": ("app = FastHTML()\n@app.get('/chat/{room')\ndef home(): pass", "'/chat/{room'"),
    "pattern-type": ("app = FastHTML()\n@app.get('/chat/{room:number}')\ndef home(): pass", "'number'"),
}


@pytest.mark.timeout(seconds(240))
def test_mistakes_are_told_in_the_cell(open_notebook: Open, taken: int) -> None:
    """What cannot work says so in the cell, at once, and in few lines."""
    port = (f"app = FastHTML()\nserve(port={taken})", f"port {taken}")
    mistakes = [*MISTAKES.values(), port]
    nb = open_notebook([IMPORTS, *[source for source, _ in mistakes]])
    nb.run(0)
    wrong = []
    for index, (_, message) in enumerate(mistakes, 1):
        if index > 1:
            nb.edit(0, "app = one = two = None")
        nb.run(index, fails=True)
        told = nb.text_output(index)
        if message not in told.splitlines()[-1] or len(told.splitlines()) > 15:
            wrong.append(f"{message!r} in:\n{told}")
    assert not wrong, "\n".join(wrong)


BAD_MESSAGES = [
    ("hello", "the message is not JSON"),
    ("[1]", "the message is a JSON list"),
    ('{"other": 1}', "no value for 'n'"),
    ('{"n": "many"}', "n='many' cannot be read as int"),
]


def test_bad_messages_are_told_and_the_socket_stays_open(open_notebook: Open) -> None:
    """Each is told in the cell of its handler; the client hears nothing of it, and goes on."""
    nb = open_notebook([HELLO, "@app.ws('/count')\nasync def count(n: int): return {'n': n}"])
    nb.run_all()
    body = connected(nb)
    for text, told in BAD_MESSAGES:
        body.evaluate("(body, text) => window.counting.send(text)", text)
        expect(nb.output(1)).to_contain_text(told)
        expect(nb.output(0)).not_to_contain_text(told)
    body.evaluate("() => window.counting.send('{\"n\": 7}')")
    assert promised(body, HEARD, 1) == [{"n": 7}]
    assert "Traceback" not in nb.text_output(1)


def test_stop_and_serve_again(open_notebook: Open) -> None:
    """`stop()` leaves neither server nor thread; the next `serve()` is a new one, and show() says so in between."""
    threads = "import threading; print([t.name for t in threading.enumerate() if 'nbws' in t.name])"
    nb = open_notebook([CHAT, "stop()", threads, "show()", "serve()"])
    nb.run(0)
    nb.run(2)
    assert nb.text_output(2) != "[]\n"
    nb.run(1)
    nb.run(2)
    assert nb.text_output(2) == "[]\n"
    nb.run(3, fails=True)
    nb.run(4)
    say(nb.frame(4), "again")
    expect(nb.frame(4).locator("#msg-list li")).to_have_text(["again"])
