"""Sockets where no upgrade passes: pages behind a reverse proxy that passes requests on and nothing else.

The proxy is real HTTP and this file's own. It stands for nginx without the two lines for upgrades, and for Colab's
proxy, as far as that is known: other Host, no upgrades, whole answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .http_only import HttpOnlyProxy
from .notebook import Notebook
from .promises import promised
from .relay import Relay
from .scripts import Script
from .sockets import connected
from .timeouts import milliseconds, seconds

NewContext = Callable[..., BrowserContext]
StartProxy = Callable[..., HttpOnlyProxy]
Run = Callable[..., Script]

pytestmark = pytest.mark.timeout(seconds(120))

APP = """
from nbws.common import *
app, rt = fast_app(exts='ws')
people = app.room('people', history=20)

@rt('/')
def home():
    form = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    return Titled('first', Ul(id='said'), form, hx_ext='ws', ws_connect='/ws')

@app.ws('/ws', conn=people.join)
async def said(msg: str): people.send(Ul(Li(msg), hx_swap_oob='beforeend:#said'))

@app.ws('/echo')
async def echo(websocket):
    await websocket.accept('chat')
    async for message in websocket:
        if message == 'bye': await websocket.close(4001, 'enough')
        elif message == 'many':
            for n in range(2000): await websocket.send(str(n))
        else: await websocket.send(message)

@app.get('/closed')
def closed(): return 'none'

serve()
"""

# A socket of the page's own script, with all that a socket can do.
TALK = """async () => {
    const connect = (path, ...protocols) => {
        const socket = new WebSocket('ws://' + location.host + path, protocols), told = []
        let moved = () => {}
        socket.binaryType = 'arraybuffer'
        for (const type of ['open', 'message', 'error', 'close']) socket.addEventListener(type, e => {
            told.push(type === 'message' ? e.data : type === 'close' ? [e.code, e.reason, e.wasClean] : type)
            moved()
        })
        const until = async n => { while (told.length < n) await new Promise(ok => { moved = ok }) }
        return { socket, told, until }
    }
    const { socket, told, until } = connect('/echo', 'other', 'chat')
    const early = socket.readyState
    let refusal = ''
    try { socket.send('early') } catch (e) { refusal = e.name }
    await until(1)
    const open = [socket.readyState, socket.protocol, socket instanceof WebSocket, socket.url.endsWith('/echo')]
    for (let n = 0; n < 100; n++) socket.send(String(n))
    const large = new Uint8Array(2 ** 20).map((_, n) => n % 251)
    socket.send(large)
    socket.send(new Blob(['bl', 'ob']))
    socket.send('end')
    await until(104)
    const texts = told.slice(1, 101), [back, blob, end] = told.slice(101)
    const inOrder = texts.every((text, n) => text === String(n))
    const isSame = back.byteLength === 2 ** 20 && new Uint8Array(back).every((byte, n) => byte === n % 251)
    const left = socket.bufferedAmount
    socket.send('many')
    await until(2104)
    const many = told.slice(104).every((text, n) => text === String(n))
    socket.send('bye')
    await until(2105)
    const closed = told[2104], refused = connect('/closed')
    await refused.until(2)
    const own = connect('/echo', 'chat')
    await own.until(1)
    own.socket.close(3001, 'done')
    await own.until(2)
    return { early, refusal, open, inOrder, isSame, many, blob: new TextDecoder().decode(blob), end, left, closed,
             state: socket.readyState, refused: refused.told, own: own.told[1] }
}"""


def says(page: Page, text: str) -> None:
    """Somebody sends a message by the page's form."""
    box = page.get_by_label("message")
    box.fill(text)
    box.press("Enter")


def shows(pages: list[Page], texts: list[str]) -> None:
    """Each page has all of it, once."""
    for page in pages:
        expect(page.locator("#said li")).to_have_text(texts, timeout=milliseconds(20))


@pytest.mark.parametrize("buffers", [True, False], ids=["buffering", "streaming"])
def test_behind_a_proxy(
    run_script: Run, start_proxy: StartProxy, new_context: NewContext, tmp_path: Path, buffers: bool
) -> None:
    """The chat, a socket with all that it can do, a cut network, and a server that starts again."""
    file = tmp_path / "chat.py"
    file.write_text(APP)
    script = run_script(file)
    proxy = start_proxy(script.port, buffers=buffers)
    network = Relay(proxy.port)
    context = new_context()
    page, direct = context.new_page(), context.new_page()
    direct.goto(script.url)
    page.goto(f"http://127.0.0.1:{network.port}/")
    connected(page, direct)
    for _ in range(5):  # A stream whose first byte takes longer than a second is taken for one that is held back
        way = page.evaluate("[typeof nbwsLine, sessionStorage['nbws line ']?.split(' ')[0]]")
        if buffers or way[1] == "stream":
            break
        page.evaluate("sessionStorage.clear()")
        page.reload()
        connected(page)
    assert way == ["object", "poll" if buffers else "stream"]
    assert direct.evaluate("typeof nbwsLine") == "undefined"
    says(page, "one")
    shows([page, direct], ["one"])
    says(direct, "two")
    shows([page, direct], ["one", "two"])
    by_requests, natively = (promised(each, TALK, bound=30) for each in (page, direct))
    assert by_requests == natively
    assert by_requests == {
        "early": 0,
        "refusal": "InvalidStateError",
        "open": [1, "chat", True, True],
        "inOrder": True,
        "isSame": True,
        "many": True,
        "blob": "blob",
        "end": "end",
        "left": 0,
        "closed": [4001, "enough", True],
        "state": 3,
        "refused": ["error", [1006, "", False]],
        "own": [3001, "", True],
    }
    network.cut()
    says(direct, "three")
    shows([direct], ["one", "two", "three"])
    says(page, "four")
    network.open = True
    shows([page, direct], ["one", "two", "three", "four"])
    assert len([asked for asked in proxy.asked if "url=%2Fws%3F" in asked]) == 1, "it went on after the cut"
    script.stop()
    script = run_script(file)
    proxy.target = script.port
    direct.goto(script.url)
    connected(page, direct)
    says(direct, "again")
    shows([direct], ["again"])
    says(page, "and again")
    shows([direct], ["again", "and again"])
    shows([page], ["one", "two", "three", "four", "again", "and again"])
    network.close()


CELLS = [
    "from nbws.common import *\napp, rt = fast_app(exts='ws')\nsaid = app.room('said', history=20)",
    """@rt('/')
def home():
    form = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    return Titled('first', Ul(id='said'), form, hx_ext='ws', ws_connect='/ws')""",
    """@app.ws('/ws', conn=said.join)
async def say(msg: str): said.send(Ul(Li('first ' + msg), hx_swap_oob='beforeend:#said'))""",
    "serve(app, port=0)",
    "from nbws.notebook import exposure, served\nprint(exposure.url_of(served.SERVED[0].server))",
    "app.doctor()",
]


def test_a_notebooks_page_behind_a_proxy(
    open_notebook: Callable[..., Notebook], start_proxy: StartProxy, new_context: NewContext
) -> None:
    """Cells run again under its open sockets, the doctor names the way, and a kernel starts again."""
    nb = open_notebook(CELLS)

    def address() -> tuple[int, str]:
        nb.run_all()
        found = re.search(r":(\d+)(/\?\S+)", nb.text_output(4))
        assert found
        return int(found[1]), found[2]

    port, query = address()
    proxy = start_proxy(port)
    page = new_context().new_page()
    page.goto(proxy.url + query[1:])
    connected(page)
    says(page, "one")
    shows([page], ["first one"])
    nb.edit(2, CELLS[2].replace("'first '", "'second '"))
    says(page, "two")
    shows([page], ["first one", "second two"])
    nb.edit(1, CELLS[1].replace("'first'", "'changed'"))
    expect(page.get_by_role("heading")).to_have_text("changed", timeout=milliseconds(20))
    says(page, "three")
    shows([page], ["first one", "second two", "second three"])
    assert len([asked for asked in proxy.asked if "url=%2Fws%3F" in asked]) == 1, "no socket was opened again"
    doctor = new_context().new_page()
    doctor.goto(f"{proxy.url}_nbws/doctor{query[1:]}")
    way = r"WebSocket: answers, .* by requests \(long polls\)\. A proxy changes the Host field"
    expect(doctor.locator("#socket")).to_have_text(re.compile(way), timeout=milliseconds(20))
    doctor.close()
    nb.restart()
    proxy.target, query = address()
    page.goto(proxy.url + query[1:])
    connected(page)
    says(page, "four")
    shows([page], ["second four"])
