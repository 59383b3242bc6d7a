"""Cells that are run again: routes, open sockets, output and pages follow them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from .jupyter import JupyterServer
from .notebook import Notebook
from .promises import promised
from .test_chat import say

Open = Callable[..., Notebook]

APP = """
from nbws.common import *
app = FastHTML(ws_hdr=True)
@app.get('/')
def home(): return Div(Div(id='out'), Form(Input(id='msg'), id='form', ws_send=True), hx_ext='ws', ws_connect='/ws')
"""

ECHO = """
@app.ws('/ws')
async def ws(msg: str): return Div('{} ' + msg, id='out')
"""


def test_handler_changes_under_open_socket_and_server_stays(open_notebook: Open) -> None:
    counts = "len(app.conns), app.table.match('WS', '/ws')[0].stats.hits"
    nb = open_notebook([APP, ECHO.format("v1"), "serve()", "'another cell'", counts])
    nb.run_all()
    frame = nb.frame(2)
    say(frame, "a")
    expect(frame.locator("#out")).to_have_text("v1 a")
    nb.edit(1, ECHO.format("v2"))
    say(frame, "b")
    expect(frame.locator("#out")).to_have_text("v2 b")
    nb.run(4)
    assert nb.text_output(4).startswith("(1, 1)")


TICKER = """
async def ticker():
    for n in range(10**9):
        {}
        room.send(Div(f'{} {{n}}', id='out'))
        await asyncio.sleep(.05)
app.run(ticker())
"""


def test_a_ticker_is_replaced_and_fails_in_its_cell(open_notebook: Open) -> None:
    live = "room = app.room('all')\n@app.ws('/ws', conn=room.join)\nasync def ws(): ..."
    nb = open_notebook([APP, live, "serve()", TICKER.format("", "v1"), "'another cell'"])
    nb.run_all()
    out = nb.frame(2).locator("#out")
    expect(out).to_contain_text("v1")
    expect(nb.output(3)).to_contain_text("<ticker is running>")
    nb.edit(3, TICKER.format("print('tick', n, 1 / (10 - n))", "v2"))
    nb.run(4)
    expect(nb.output(3)).to_contain_text("tick 9 1.0")
    expect(nb.output(3)).to_contain_text("ZeroDivisionError")
    expect(nb.frame(2).get_by_role("alertdialog")).to_contain_text("app.run (ticker)")
    expect(out).to_have_text("v2 9")  # the first ticker would have gone on
    assert nb.text_output(4).strip() == "'another cell'"


def test_error_goes_to_its_cell_and_over_the_page(open_notebook: Open) -> None:
    nb = open_notebook([APP, "@app.ws('/ws')\nasync def ws(msg: str): return 1/0", "serve()", "1 + 1"])
    nb.run_all()
    nb.run(3)
    frame = nb.frame(2)
    say(frame, "boom")
    expect(nb.output(1)).to_contain_text("ZeroDivisionError")
    expect(nb.output(1)).to_contain_text("return 1/0")
    expect(nb.output(3)).not_to_contain_text("ZeroDivisionError")
    dialog = frame.get_by_role("alertdialog")
    expect(dialog).to_contain_text("ZeroDivisionError")
    # The page's own layers stay below it
    frame.locator("body").evaluate(
        "e => e.insertAdjacentHTML('beforeend', '<p id=above style=\"position: fixed; inset: 0; z-index: 9\">')"
    )
    dialog.get_by_role("button").click()
    expect(dialog).to_be_hidden()
    frame.locator("#above").evaluate("e => e.remove()")
    nb.edit(1, ECHO.format("mended"))
    say(frame, "x")
    expect(frame.locator("#out")).to_have_text("mended x")


def hold(page: Page) -> Callable[[], None]:
    """Keep a page with the image `held` from having loaded, until what this returns is called."""
    held: list[Route] = []
    page.route("**/held", lambda route: held.append(route))
    image = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    return lambda: held[0].fulfill(content_type="image/svg+xml", body=image)


def test_an_error_before_the_page_has_loaded_is_shown_too(open_notebook: Open) -> None:
    """A page's own sockets open while it loads, and what `conn=` raises is there before the line that tells it."""
    socket = "@app.ws('/ws', conn=lambda ws: 1/0)\nasync def ws(msg: str): ..."
    nb = open_notebook([APP.replace("Div(Div(", "Div(Img(src='held'), Div("), socket, "serve()"])
    let_go = hold(nb.page)
    with nb.page.expect_request("**/held"):
        nb.run_all()
    expect(nb.output(1)).to_contain_text("ZeroDivisionError")
    dialog = nb.frame(2).get_by_role("alertdialog")
    expect(dialog).to_be_hidden()
    let_go()
    expect(dialog).to_contain_text("ZeroDivisionError")


def test_page_follows_the_code_and_keeps_what_was_typed(open_notebook: Open) -> None:
    nb = open_notebook([APP, ECHO.format("v1"), "serve()"])
    nb.run_all()
    frame = nb.frame(2)
    say(frame, "first")
    expect(frame.locator("#out")).to_have_text("v1 first")
    frame.get_by_role("textbox").fill("half typed")
    nb.insert(3, APP.split("\n", 3)[3].replace("Div(Div(id='out')", "Div(H2('new heading'), Div(id='out')"))
    nb.run(3)
    expect(frame.get_by_role("heading")).to_have_text("new heading")
    expect(frame.get_by_role("textbox")).to_have_value("half typed")
    frame.get_by_role("textbox").press("Enter")
    expect(frame.locator("#out")).to_have_text("v1 half typed")


def test_a_page_that_still_loads_follows_too(open_notebook: Open) -> None:
    """As with Run All: the route that made the page is gone before the page has opened its line."""
    home = "@app.get('/')\ndef home(): return P('version {}'){}\n"
    nb = open_notebook([APP + home.format(1, ", Img(src='held')") + "serve()", home.format(2, "")])
    let_go = hold(nb.page)
    with nb.page.expect_request("**/held"):
        nb.run(0)
    nb.run(1)
    expect(nb.frame(0).get_by_text("version 1")).to_be_visible()
    let_go()
    expect(nb.frame(0).get_by_text("version 2")).to_be_visible()


PULL = """
@app.ws('/pull')
async def pull(websocket):
    await websocket.accept()
    await websocket.send('{0} is here')
    async for m in websocket: await websocket.send('{0} ' + m)
"""

RAW = """
@app.get('/raw')
def raw(): return Div(Div(id='log'), Script('''
const socket = new WebSocket('ws://' + location.host + '/pull')
socket.onmessage = e => document.getElementById('log').append(e.data + ';')
window.say = text => socket.send(text)
'''))
"""


def test_pull_style_handler_is_handed_over(open_notebook: Open) -> None:
    nb = open_notebook([APP, PULL.format("v1"), RAW, "serve(path='/raw')"])
    nb.run_all()
    frame = nb.frame(3)
    log = frame.locator("#log")
    expect(log).to_have_text("v1 is here;")
    log.evaluate("() => say('a')")
    expect(log).to_have_text("v1 is here;v1 a;")
    nb.edit(1, PULL.format("v2"))
    expect(log).to_have_text("v1 is here;v1 a;v2 is here;")
    log.evaluate("() => say('b')")
    expect(log).to_have_text("v1 is here;v1 a;v2 is here;v2 b;")


CONNS = """
here = []
def on_conn(ws, send):
    here.append(send)
    return Div('{0} welcomes', id='out')
def on_disconn(ws, send): here.remove(send)
@app.ws('/ws', conn=on_conn, disconn=on_disconn)
async def ws(msg: str):
    for send in here: await send(Div('{0} ' + msg, id='out'))
"""


def test_conn_and_disconn_change_on_open_sockets(open_notebook: Open) -> None:
    nb = open_notebook([APP, CONNS.format("v1"), "serve()", "show()", "len(here)"])
    nb.run_all()
    first, second = nb.frame(2), nb.frame(3)
    expect(first.locator("#out")).to_have_text("v1 welcomes")
    expect(second.locator("#out")).to_have_text("v1 welcomes")
    nb.edit(1, CONNS.format("v2"))  # `here` is empty now, and yet nobody is forgotten
    expect(first.locator("#out")).to_have_text("v2 welcomes")
    say(second, "hi")
    expect(first.locator("#out")).to_have_text("v2 hi")
    expect(second.locator("#out")).to_have_text("v2 hi")
    nb.run(4)
    assert nb.text_output(4).strip() == "2"


def test_renamed_route_leaves_nothing_stale(open_notebook: Open) -> None:
    fetch = """
import urllib.request, urllib.error
def status(path):
    try: return urllib.request.urlopen(str(show(path)), timeout=5).status
    except urllib.error.HTTPError as e: return e.code
status('/old'), status('/new')
"""
    nb = open_notebook([APP, "@app.get('/old')\ndef old(): return 'x'", "serve(port=0)", fetch])
    for i in range(4):
        nb.run(i)
    assert nb.text_output(3).strip() == "(200, 404)"
    nb.edit(1, "@app.get('/new')\ndef new(): return 'x'")
    nb.run(3)
    assert nb.text_output(3).strip() == "(404, 200)"
    nb.edit(1, "1/0", fails=True)  # A cell that fails removes nothing
    nb.run(3)
    assert nb.text_output(3).strip() == "(404, 200)"


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_prints_go_to_the_defining_cell_while_another_runs(open_notebook: Open) -> None:
    handler = """
import logging, warnings
@app.ws('/ws')
def ws(msg: str):
    print('printed', msg)
    warnings.warn('warned ' + msg)
    logging.getLogger('mine').warning('logged %s', msg)
    display(P('displayed ' + msg))
    return Div('done', id='out')
"""
    nb = open_notebook([APP, handler, "serve()", "import time\ntime.sleep(600)", "from IPython.display import display"])
    for i in (0, 4, 1, 2):
        nb.run(i)
    nb.start(3)
    say(nb.frame(2), "now")
    expect(nb.frame(2).locator("#out")).to_have_text("done")  # While the cell sleeps
    for text in ("printed now", "warned now", "logged now", "displayed now"):
        expect(nb.output(1)).to_contain_text(text)
    nb.interrupt()
    nb.wait(3, fails=True)
    expect(nb.output(3)).not_to_contain_text("now")


def test_flood_of_prints_does_not_choke_the_notebook(open_notebook: Open) -> None:
    flood = """
@app.ws('/ws')
async def ws(msg: str):
    for i in range(20_000): print('line', i)
    return Div('flooded', id='out')
"""
    nb = open_notebook([APP, flood, "serve()", "len(app.log), app.log[-1].text"])
    for i in range(3):
        nb.run(i)
    say(nb.frame(2), "x")
    expect(nb.frame(2).locator("#out")).to_have_text("flooded")
    expect(nb.output(1)).to_contain_text("line 0")
    nb.run(3)
    assert nb.text_output(3).strip() == "(1000, 'line 19999')"
    assert len(nb.text_output(1).splitlines()) < 1000


def test_serve_ten_times_is_one_server(open_notebook: Open) -> None:
    count = "from nbws.notebook.served import SERVED\nlen(SERVED), len(app.conns)"
    nb = open_notebook([APP + ECHO.format("v1"), "serve()", "show()", count])
    nb.run_all()
    outer = nb.frame(2)
    say(outer, "before")
    expect(outer.locator("#out")).to_have_text("v1 before")
    for _ in range(10):
        nb.run(1)
    say(outer, "after")
    expect(outer.locator("#out")).to_have_text("v1 after")
    expect(nb.frame(1).get_by_role("textbox")).to_be_visible()
    nb.run(3)
    assert nb.text_output(3).startswith("(1, ")


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_restarted_kernel_is_found_again(open_notebook: Open) -> None:
    nb = open_notebook([APP + ECHO.format("v1"), "serve()"])
    nb.run_all()
    frame = nb.frame(1)
    say(frame, "a")
    expect(frame.locator("#out")).to_have_text("v1 a")
    frame.get_by_role("textbox").fill("half typed")
    nb.restart()
    expect(frame.get_by_role("status")).to_have_text("reconnecting: run the cell with serve()")
    nb.edit(0, APP + ECHO.format("v2"))
    # In another cell and without showing it, so that the old iframe stays
    nb.insert(2, "from nbws.notebook import serve as notebook\nnotebook.display = lambda page: None\nserve()")
    nb.run(2)
    expect(frame.get_by_role("status")).to_be_hidden()
    expect(frame.get_by_role("textbox")).to_have_value("half typed")
    say(frame, "b")
    expect(frame.locator("#out")).to_have_text("v2 b")


def test_cells_talk_to_the_browser(open_notebook: Open) -> None:
    cells = [
        APP + ECHO.format("v1"),
        "serve()",
        "app.to('/ws', Div('from a cell', id='out'))",
        """
import threading
t = threading.Thread(target=lambda: app.conns[0].send(Div('from a thread', id='out')))
t.start(); t.join()""",
        """
async def on_loop(): return await app.conns[0].send(Div('from the loop', id='out'))
await app.run(on_loop())""",
        """
room = app.room('all')
for ws in app.conns: room.join(ws)
room.send(Div('from a room', id='out')); room""",
        "app.conns",
    ]
    nb = open_notebook(cells)
    nb.run(0)
    nb.run(1)
    out = nb.frame(1).locator("#out")
    say(nb.frame(1), "x")
    for i, text in enumerate(("cell", "thread", "loop", "room"), 2):
        nb.run(i)
        expect(out).to_have_text(f"from a {text}" if text != "loop" else "from the loop")
    nb.run(6)
    expect(nb.output(6).locator("table")).to_contain_text("/ws")


def test_page_says_that_the_kernel_is_busy(open_notebook: Open) -> None:
    # A C call that keeps the interpreter to itself: nothing in Python can answer meanwhile, but the page knows.
    nb = open_notebook([APP + ECHO.format("v1"), "serve()", "import ctypes\nctypes.PyDLL(None).sleep(6)"])
    nb.run(0)
    nb.run(1)
    frame = nb.frame(1)
    say(frame, "a")
    expect(frame.locator("#out")).to_have_text("v1 a")
    nb.start(2)
    expect(frame.get_by_role("status")).to_have_text("the kernel is busy")
    expect(frame.get_by_role("status")).to_be_hidden()
    say(frame, "b")
    expect(frame.locator("#out")).to_have_text("v1 b")


def test_round_trips_stay_quick_while_a_cell_computes(open_notebook: Open) -> None:
    timed = """
@app.get('/timed')
def timed(): return Div(Div(id='result'), Script('''
const socket = new WebSocket('ws://' + location.host + '/echo')
window.measure = async n => {
  const times = []
  for (let i = 0; i < n; i++) {
    const start = performance.now()
    await new Promise(ok => { socket.onmessage = ok; socket.send('{"x": 1}') })
    times.push(performance.now() - start)
  }
  return times.sort((a, b) => a - b)[n >> 1]
}
socket.onopen = () => document.getElementById('result').textContent = 'open'
'''))
@app.ws('/echo')
async def echo(x: int): return str(x)
"""
    nb = open_notebook([APP + timed, "serve(path='/timed')", "while True: pass"])
    nb.run(0)
    nb.run(1)
    result = nb.frame(1).locator("#result")
    expect(result).to_have_text("open")
    idle = promised(result, "() => measure(100)", bound=20)
    nb.start(2)
    expect(nb.prompt(2)).to_have_text("[*]:")
    busy = promised(result, "() => measure(100)", bound=60)
    assert busy < 100 + 20 * idle  # ms; some 2 on an idle machine
    nb.interrupt()
    nb.wait(2, fails=True)


def test_module_follows_autoreload(open_notebook: Open, jupyter: JupyterServer) -> None:
    module = """
from nbws.common import *
app = FastHTML(ws_hdr=True)
@app.get('/')
def home(): return Div(H1('{0}'), Div(id='out'), Form(Input(id='msg'), id='form', ws_send=True), hx_ext='ws',
                       ws_connect='/ws')
@app.ws('/ws')
async def ws({1}: str): return Div('{0} ' + {1}, id='out')
"""
    name = "followed_module"
    path = jupyter.root / f"{name}.py"
    path.write_text(module.format("v1", "msg"))
    path_first = f"import sys\nsys.path.insert(0, {str(jupyter.root)!r})"
    cells = [f"%load_ext autoreload\n%autoreload 2\n{path_first}\nimport {name}",
             f"from nbws.common import serve\nserve({name}.app)", "1"]
    nb = open_notebook(cells)
    nb.run(0)
    nb.run(1)
    frame = nb.frame(1)
    say(frame, "a")
    expect(frame.locator("#out")).to_have_text("v1 a")
    path.write_text(module.format("version 2", "msg"))
    nb.run(2)
    expect(frame.get_by_role("heading")).to_have_text("version 2")
    say(frame, "b")
    expect(frame.locator("#out")).to_have_text("version 2 b")


def test_clients_side_by_side_have_sessions_of_their_own(open_notebook: Open) -> None:
    names = """
@app.get('/me')
def me(sess): return P('I am ' + sess.get('name', 'nobody'), id='who')
@app.get('/login')
def login(sess, name: str):
    sess['name'] = name
    return Redirect('/me')
@app.ws('/ws')
async def ws(msg: str, sess): return Div(sess.get('name', 'nobody') + ' says ' + msg, id='out')
"""
    nb = open_notebook([APP + names, "serve()", "show(n=2)"])
    nb.run(0)
    nb.run(1)
    # The page of serve() and the first of the two are one visitor. Two sockets of a visitor who has no cookie yet
    # begin a session each, so the first page has to be there before the second one comes.
    say(nb.frame(1), "hi")
    expect(nb.frame(1).locator("#out")).to_have_text("nobody says hi")
    nb.run(2)
    one, two = nb.frames(2, count=2)
    for frame, name in ((one, "Ann"), (two, "Bob")):
        expect(frame.get_by_role("textbox")).to_be_visible()
        frame.locator("body").evaluate(f"() => fetch('/login?name={name}').then(a => a.text())")
    for frame, name in ((one, "Ann"), (two, "Bob")):
        text = frame.locator("body").evaluate("() => fetch('/me').then(a => a.text())")
        assert f"I am {name}" in text
        say(frame, "hi")
        # The socket is older than the session's first word, and yet knows it
        expect(frame.locator("#out")).to_have_text(f"{name} says hi")


def test_page_of_plain_text_is_tied_to_the_notebook_too(open_notebook: Open) -> None:
    """No component, no htmx: a handler that streams its page by hand."""
    page = """
from nbws.common import *
app = App()
@app.get('/')
def home():
    yield '<!doctype html><html><head><title>by hand</title></head><body>'
    yield '<div style="height: 500px">{0}</div></body></html>'
"""
    nb = open_notebook([page.format("v1") + "serve()", "1"])
    nb.run(0)
    frame = nb.frame(0)
    expect(frame.get_by_text("v1")).to_be_visible()
    expect(nb.output(0).locator("iframe")).to_have_css("height", "518px")
    nb.set_source(0, page.format("v2"))
    nb.edit(1, page.format("v2").split("\n", 3)[3])
    expect(frame.get_by_text("v2")).to_be_visible()
