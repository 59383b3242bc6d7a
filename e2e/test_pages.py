"""What open pages do when cells run again, sockets drop, and something came that only the page can notice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect

from .notebook import Notebook
from .scripts import Script
from .timeouts import wait_until

Open = Callable[..., Notebook]

IMPORTS = "from nbws.common import *\n"


def say(frame: FrameLocator, text: str) -> None:
    """Type into the page's box and send."""
    frame.get_by_role("textbox").fill(text)
    frame.get_by_role("textbox").press("Enter")


def height(nb: Notebook, index: int) -> float:
    """Of the cell's iframe, in pixels."""
    return nb.output(index).locator("iframe").evaluate("frame => frame.getBoundingClientRect().height")


# The height of an iframe

SETTLE = """() => new Promise(done => {
    let n = 10
    const step = () => n-- ? requestAnimationFrame(step) : done()
    step()
})"""
MORE = """() => {
    window.more = document.createElement('div')
    more.style.height = '900px'
    const full = document.querySelector('[style*="120vh"]') || document.querySelector('[style*="100vh"]')
    ;(full || document.body).append(more)
}"""
TALL = {
    "words": ("return 'plain words'", 20, 60),
    "no-doctype": ("return '<p>one</p><p>two</p>'", 40, 110),
    "streamed": ("yield '<p>one</p>'\n    yield '<p>two</p>'", 40, 110),
    "full-height": ("return Div('full', style='min-height: 100vh')", 20, 180),
    "quirks-full-height": ("return '<div style=\"min-height: 100vh; padding: 20px\">full</div>'", 30, 200),
    "centred": ("return Div('full', style='height: 100vh; display: grid; place-items: center')", 20, 180),
    "footer": (
        "return Div(Div('top', style='flex: 1'), Footer('end'),"
        " style='min-height: 100vh; padding: 16px; display: flex; flex-direction: column')", 60, 250),
    "taller": ("return Div('full', style='height: 120vh')", 20, 180),
    "taller-below": (
        "return Main(P('top'), Div(P('in it'), style='height: 120vh'), style='min-height: 100vh; min-height: 100dvh')",
        60, 250),
    "fixed": ("return Div('over the page', style='position: fixed; inset: 0')", 100, 180),
    "almost-full": ("return Div('app', style='height: calc(100vh - 40px); overflow: auto')", 40, 180),
    "half": ("return Div(Div(style='height: 50vh'), Div(style='height: 300px'))", 590, 660),
    "long": ("return Div(Div(style='height: 700px'), style='min-height: 100vh')", 700, 730),
    "usual": ("return Div(style='height: 500px')", 500, 530),
}


def test_an_iframe_is_as_high_as_its_content(open_notebook: Open) -> None:
    """It does not grow by itself; it grows with what is added, and shrinks when that is taken away."""
    nb = open_notebook([""])
    for name, (body, least, most) in TALL.items():
        nb.edit(0, f"{IMPORTS}app = FastHTML()\n@app.get('/')\ndef home():\n    {body}\nserve()")
        follows_its_content(nb, name, least, most)
    over = "outputs => outputs.map(output => output.scrollWidth - output.clientWidth)"
    assert nb.output(0).locator(".jp-OutputArea-output").evaluate_all(over) == [0], "a scroll bar below the iframe"


def follows_its_content(nb: Notebook, name: str, least: float, most: float) -> None:
    """The height of the iframe of a notebook's first cell."""
    page = nb.loaded(0)
    page.evaluate(SETTLE)
    wait_until(lambda: least <= height(nb, 0) <= most, f"{name}: {least} to {most}, not {height(nb, 0)}")
    before = height(nb, 0)
    for _ in range(3):
        page.evaluate(SETTLE)
    assert abs(height(nb, 0) - before) <= 1, name
    page.evaluate(MORE)
    if name != "almost-full":  # It scrolls by itself
        limit = 2010 if name == "half" else before + 960
        wait_until(lambda: 900 <= height(nb, 0) <= limit, f"{name}: room for what was added")
    page.evaluate(SETTLE)
    page.evaluate("() => more.remove()")
    if name != "footer":  # Its end is where the frame's end is
        wait_until(lambda: abs(height(nb, 0) - before) <= 40, f"{name}: {before} as before, not {height(nb, 0)}")


# What sockets put into a page

CHAT = IMPORTS + """
app = FastHTML(exts='ws')
people = app.room('people', history=20)
"""
HOME = """
@app.get('/')
def home(): return Titled('HEADING', Ul(id='said'), Form(Input(id='msg'), id='form', ws_send=True),
                          hx_ext='ws', ws_connect='/ws')
"""
WS = """
@app.ws('/ws', conn=people.join)
def ws(msg: str): people.send(Ul(Li(msg), hx_swap_oob='beforeend:#said'))
"""


def lines(frame: FrameLocator) -> Locator:
    """What was said."""
    return frame.locator("#said li")


def test_what_sockets_put_into_a_page_outlives_a_change_of_it(open_notebook: Open) -> None:
    nb = open_notebook([CHAT, HOME, WS, "serve()"])
    nb.run_all()
    frame = nb.frame(3)
    for text in ("one", "two"):
        say(frame, text)
    expect(lines(frame)).to_have_text(["one", "two"])
    nb.edit(1, HOME.replace("HEADING", "another heading"))
    expect(frame.get_by_role("heading")).to_have_text("another heading")
    expect(lines(frame)).to_have_text(["one", "two"])
    nb.edit(1, HOME.replace("Ul(id='said')", "Ul(Li('welcome'), id='said', cls='list')"))
    expect(lines(frame)).to_have_text(["welcome", "one", "two"])
    expect(frame.locator("ul.list")).to_have_count(1)
    say(frame, "three")
    expect(lines(frame)).to_have_text(["welcome", "one", "two", "three"])
    nb.screenshot("morphed")


def test_what_the_server_tells_itself_is_not_doubled(open_notebook: Open) -> None:
    """A page that is made from the same list that the sockets are told of."""
    home = """
@app.get('/')
def home(): return Titled('HEADING', Ul(*[Li({}) for m in msgs], id='said'),
                          Form(Input(id='msg'), id='form', ws_send=True), hx_ext='ws', ws_connect='/ws')
"""
    keeps = WS.replace("people.send", "msgs.append(msg); people.send")
    nb = open_notebook([CHAT.replace(", history=20", "") + "msgs = []", home.format("m"), keeps, "serve()"])
    nb.run_all()
    frame = nb.frame(3)
    for text in ("one", "two"):
        say(frame, text)
    expect(lines(frame)).to_have_text(["one", "two"])
    nb.edit(1, home.format("B(m)").replace("HEADING", "again"))
    expect(frame.get_by_role("heading")).to_have_text("again")
    expect(lines(frame)).to_have_text(["one", "two"])
    expect(frame.locator("#said b")).to_have_text(["one", "two"])


def test_a_socket_that_comes_back_gets_what_it_missed_and_nothing_twice(open_notebook: Open) -> None:
    """Closed with 1012; something is said meanwhile, part of it no history; a handler that leaves and joins again."""
    cut = """
async def cut():
    for ws in list(people): ws.close(1012)
    people.send(Ul(Li('while it was away'), hx_swap_oob='beforeend:#said'))
    people.send(Ul(Li('somebody is here'), hx_swap_oob='beforeend:#said'), keep=False)
await app.run(cut())
"""
    nb = open_notebook([CHAT, HOME, WS, "serve()", cut, "show()"])
    for index in range(4):
        nb.run(index)
    frame = nb.frame(3)
    say(frame, "one")
    expect(lines(frame)).to_have_text(["one"])
    for times in 1, 2, 3:
        nb.run(4)
        say(frame, "back")
        expect(lines(frame).filter(has_text="back")).to_have_count(times)  # What is said while it is away waits
    texts = lines(frame).all_text_contents()
    assert [t for t in texts if t != "somebody is here"] == ["one", *["while it was away", "back"] * 3]
    nb.run(5)  # One who comes late gets all of the history, and nothing else
    expect(lines(nb.frame(5))).to_have_text(["one", *["while it was away", "back"] * 3])
    leaves = "def came(ws): people.join(ws)\ndef left(ws): people.leave(ws)\n"
    leaves += WS.replace("people.join", "came, disconn=left")
    for _ in range(2):
        nb.edit(2, leaves)
    say(frame, "after")
    expect(lines(frame).last).to_have_text("after")
    expect(lines(frame)).to_have_count(len(texts) + 1)


# The app's cell alone


def test_the_apps_cell_alone(open_notebook: Open) -> None:
    """Imports and `FastHTML()`: rooms with members and history, and what other cells add, stay; the head follows."""
    state = "app.state.told = 7\n@app.exception_handler(404)\ndef nothing(req, exc): return P('nothing here')"
    later = "people.send(Ul(Li('from a cell'), hx_swap_oob='beforeend:#said'))\n"
    later += "len(people), app.state.told, len(app.conns)"
    nb = open_notebook([CHAT, HOME, WS, state, "serve()", later, "serve()"])
    for index in range(5):
        nb.run(index)
    frame = nb.frame(4)
    say(frame, "one")
    expect(lines(frame)).to_have_text(["one"])
    frame.locator("body").evaluate("() => { window.stayed = true }")
    nb.edit(0, CHAT.replace("exts='ws'", "exts='ws', hdrs=Style('h1 { color: rgb(1, 2, 3) }'), htmlkw={'lang': 'en'}"))
    nb.run(5)
    assert nb.text_output(5).endswith("(1, 7, 1)\n")
    expect(lines(frame)).to_have_text(["one", "from a cell"])
    say(frame, "two")
    expect(lines(frame)).to_have_text(["one", "from a cell", "two"])
    nb.run(6)
    second = nb.frame(6)
    expect(lines(second)).to_have_text(["one", "from a cell", "two"])
    expect(second.get_by_role("heading")).to_have_css("color", "rgb(1, 2, 3)")
    say(second, "three")
    expect(lines(frame)).to_have_text(["one", "from a cell", "two", "three"])
    assert frame.locator("body").evaluate("() => window.stayed")
    assert "nothing here" in frame.locator("body").evaluate("() => fetch('/nowhere').then(a => a.text())")


# What a page is made of


def test_a_page_follows_what_its_handler_is_made_of(open_notebook: Open) -> None:
    """A helper in another cell, a constant, a class, a module under %autoreload."""
    helper = "NAME = '{}'\ndef greet(): return H2('hello ' + NAME)\n"
    helper += "class Card:\n    def __ft__(self): return P('card {}')"
    home = """
import made_of_parts
count = [0]
@app.get('/')
def home():
    count[0] += 1
    return Titled('parts', greet(), Card(), P(made_of_parts.line(), id='line'), P(str(count[0]), id='count'),
                  Input(id='i'))
"""
    begin = "%load_ext autoreload\n%autoreload 2\n" + CHAT
    nb = open_notebook([begin, helper.format("one", "a"), home, "serve()", "1"])
    module = nb.folder / "made_of_parts.py"
    module.write_text("WORD = 'first'\ndef line(): return WORD\n")
    for index in range(4):
        nb.run(index)
    frame = nb.frame(3)
    expect(frame.get_by_role("heading", level=2)).to_have_text("hello one")
    frame.get_by_role("textbox").fill("half typed")
    nb.edit(1, helper.format("two", "b"))
    expect(frame.get_by_role("heading", level=2)).to_have_text("hello two")
    expect(frame.get_by_text("card b")).to_be_visible()
    module.write_text("WORD = 'the second'\ndef line(): return WORD + ' line'\n")
    nb.run(4)
    expect(frame.locator("#line")).to_have_text("the second line")
    module.write_text("WORD = 'the third one'\ndef line(): return WORD + ' line'\n")
    nb.run(4)
    expect(frame.locator("#line")).to_have_text("the third one line")
    expect(frame.get_by_role("textbox")).to_have_value("half typed")
    seen = frame.locator("#count").text_content()
    nb.edit(4, "app.refresh()")  # When one wants it oneself
    assert nb.text_output(4).strip() == "1"
    expect(frame.locator("#count")).not_to_have_text(seen or "")


# Another view, another notebook


def test_another_view_of_an_output_leaves_the_first_alone(open_notebook: Open) -> None:
    nb = open_notebook([CHAT + HOME + WS + "serve()"])
    nb.run(0)
    frame = nb.frame(0)
    say(frame, "one")
    expect(lines(frame)).to_have_text(["one"])
    frame.get_by_role("textbox").fill("half typed")
    frame.locator("body").evaluate("() => { window.stayed = true }")
    view = nb.view(0).locator("iframe").content_frame
    expect(lines(view)).to_have_text(["one"])
    expect(frame.get_by_role("textbox")).to_have_value("half typed")
    assert frame.locator("body").evaluate("() => window.stayed")
    say(view, "two")
    expect(lines(frame)).to_have_text(["one", "two"])
    nb.screenshot("view")


@pytest.mark.fresh_page
@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_a_copy_of_a_notebook_does_not_show_the_app_of_the_first(open_notebook: Open, tmp_path: Path) -> None:
    """It says to run the cell; then it has an app of its own."""
    nb = open_notebook([CHAT + HOME + WS + "serve()"])
    nb.run(0)
    say(nb.frame(0), "one")
    expect(lines(nb.frame(0))).to_have_text(["one"])
    nb.save()
    copy = open_notebook(Path(shutil.copy(nb.path, tmp_path / "copy.ipynb")))
    expect(copy.output(0)).to_contain_text("Run this cell to see the page: the app that was saved here")
    expect(copy.output(0).locator("iframe:visible")).to_have_count(0)
    copy.screenshot("copy")
    copy.run(0)
    expect(copy.frame(0).get_by_role("heading")).to_have_text("HEADING")
    expect(lines(copy.frame(0))).to_have_text([])
    nb.reload()
    expect(lines(nb.frame(0))).to_have_text(["one"])


# What only a page can notice


def test_rows_arrive_beside_other_things(open_notebook: Open) -> None:
    """Over a socket, to a room, in an answer to htmx."""
    home = """
app, people = FastHTML(exts='ws'), None
people = app.room('people')
@app.get('/')
def home(): return Titled('rows', Div('?', id='count'), Table(Tbody(Tr(Td('none'), id='row'), id='rows')),
                          Div(Button('ask', ws_send=True, name='msg', value='1'), hx_ext='ws', ws_connect='/ws'),
                          Button('fetch', hx_get='/fetched', hx_target='#count', hx_swap='outerHTML'))
@app.ws('/ws', conn=people.join)
def ws(msg: str):
    people.send(Div('2', id='count'), Tr(Td('by the room'), id='row'))
    return Div('3', id='count'), [Tr(Td('by itself'), id='row')], Tbody(Tr(Td('added')), hx_swap_oob='beforeend:#rows')
@app.get('/fetched')
def fetched(): return Div('4', id='count'), Tr(Td('fetched'), id='row', hx_swap_oob='true')
serve()
"""
    nb = open_notebook([IMPORTS + home])
    nb.run(0)
    frame = nb.frame(0)
    frame.get_by_role("button", name="ask").click()
    expect(frame.locator("td")).to_have_text(["by itself", "added"])
    expect(frame.locator("#count")).to_have_text("3")
    frame.get_by_role("button", name="fetch").click()
    expect(frame.locator("td")).to_have_text(["fetched", "added"])
    expect(frame.locator("#count")).to_have_text("4")
    expect(frame.get_by_role("alertdialog")).to_be_hidden()


OPEN = "import time\nwhile not app.conns: time.sleep(.01)\n"
NOTICED = {
    "no-socket": ("Div(hx_ext='ws', ws_connect='/wz')", "",
                  "nothing answers sockets at /wz: there is no @app.ws('/wz'), but there is /ws"),
    "no-attribute": ("Div(ws_connect='/ws')", "",
                     "ws-connect='/ws' does nothing: write hx_ext='ws' on this element"),
    "no-extension": ("Div(hx_ext='sse', sse_connect='/s')", "",
                     "sse-connect='/s' does nothing: load htmx's extension with the app: FastHTML(exts='sse')"),
    "no-id": ("Div(hx_ext='ws', ws_connect='/ws')", f"{OPEN}app.to('/ws', Div('lost', id='nowhere'))",
              "the page has no element with the id 'nowhere', so htmx has dropped what came for it: "
              '<div id="nowhere">lost'),
    "status": ("Button('go', hx_post='/big')", "CLICK",
               "POST /big was answered with 413, so htmx has changed nothing"),
    "target": ("Button('go', hx_post='/big', hx_target='#away')", "CLICK", "the page has no #away"),
    "cut": ("Script(\"window.s = new WebSocket('ws://' + location.host + '/ws')\")",
            f"{OPEN}app.conns[0].close(4001, 'no more')",
            "the socket at /ws was closed with 4001: no more"),
}


def test_what_only_the_page_notices_is_told(open_notebook: Open) -> None:
    """In the cell that made the page, and in the page."""
    rest = "@app.post('/big')\ndef big(): return Response('', 413)\n@app.ws('/ws')\ndef ws(msg: str): pass\nserve()"
    nb = open_notebook([IMPORTS, "", rest, ""])
    nb.run(0)
    for name, (body, act, told) in NOTICED.items():
        app = "stop()\napp = FastHTML(exts='ws')\n"
        nb.edit(1, f"{app}@app.get('/')\ndef home(): return Titled('{name}', {body})")
        nb.run(2)
        frame = nb.frame(2)
        expect(frame.get_by_role("heading")).to_have_text(name)
        if act == "CLICK":
            frame.get_by_role("button", name="go").click()
        elif act:
            nb.edit(3, act)
        expect(nb.output(1)).to_contain_text(told)
        expect(frame.get_by_role("alertdialog")).to_contain_text(told)
    nb.screenshot("noticed")


def test_what_is_as_it_should_be_is_told_nowhere(open_notebook: Open) -> None:
    """A chat, whose cells are run again."""
    nb = open_notebook([CHAT, HOME, WS, "serve()"])
    nb.run_all()
    frame = nb.frame(3)
    say(frame, "one")
    for index in (0, 1, 2):
        nb.run(index)
    say(frame, "two")
    expect(lines(frame)).to_have_text(["one", "two"])
    expect(frame.get_by_role("alertdialog")).to_be_hidden()
    assert [nb.text_output(index) for index in range(3)] == [""] * 3


def test_a_socket_that_is_lost_is_no_error(open_notebook: Open) -> None:
    """It comes back by itself, and nobody's code is to blame."""
    nb = open_notebook([CHAT, HOME, WS, "serve()", "for ws in list(people): ws.close(1013)"])
    nb.run_all()
    frame = nb.frame(3)
    connection = frame.locator("[ws-connect]")
    for text in ("one", "two"):
        say(frame, text)
        expect(lines(frame).last).to_have_text(text)
        connection.evaluate("element => { window.before = element['htmx-internal-data'].webSocket.socket }")
        nb.run(4)
        # What a page says before it hears of the end is lost, for the server has closed the socket
        wait_until(lambda: connection.evaluate("() => window.before.readyState") > 1, "the end of the socket", 20)
    say(frame, "three")
    expect(lines(frame).last).to_have_text("three")
    expect(frame.get_by_role("alertdialog")).to_be_hidden()
    assert [nb.text_output(index) for index in range(3)] == [""] * 3


def test_a_socket_that_its_app_has_closed_is_not_lost(open_notebook: Open) -> None:
    """The page keeps what stands in it when its line to the kernel opens again: it does not begin anew."""
    home = """
app = FastHTML()
opens = Script("window.s = new WebSocket('ws://' + location.host + '/ws')")
@app.get('/')
def home(): return Titled('closed', P('as it came', id='said'), opens)
@app.ws('/ws')
def ws(msg: str): pass
serve()"""
    nb = open_notebook([IMPORTS + home, f"{OPEN}app.conns[0].close(4001, 'no more')", "stop()", "serve()"])
    nb.run(0)
    frame = nb.frame(0)
    expect(frame.locator("#said")).to_have_text("as it came")
    nb.run(1)
    expect(frame.get_by_role("alertdialog")).to_contain_text("closed with 4001: no more")
    page = nb.loaded(0)
    page.evaluate("said.textContent = 'changed by hand'")
    nb.run(2)
    expect(frame.get_by_role("status")).to_be_visible()
    nb.run(3)
    expect(frame.get_by_role("status")).to_be_hidden()
    expect(frame.locator("#said")).to_have_text("changed by hand")


CUT = """
@app.get('/cut')
async def cut():
    for ws in list(people): ws.close(1012)
    people.send(Ul(Li('while it was away'), hx_swap_oob='beforeend:#said'))
    return 'cut'
serve()
"""


Run = Callable[..., Script]


def test_in_production_nothing_comes_twice_either(run_script: Run, page: Page, tmp_path: Path) -> None:
    """A script, in an ordinary tab."""
    file = tmp_path / "chat.py"
    file.write_text(CHAT + HOME + WS + CUT)
    url = run_script(file).url
    page.goto(url)
    said = page.locator("#said li")
    page.get_by_role("textbox").fill("one")
    page.get_by_role("textbox").press("Enter")
    expect(said).to_have_text(["one"])
    for times in (1, 2):
        assert page.request.get(f"{url}/cut").status == 200
        expect(said).to_have_text(["one", *["while it was away"] * times])
    page.get_by_role("textbox").press("Enter")
    expect(said).to_have_text(["one", *["while it was away"] * 2, "one"])
    page.reload()
    expect(said).to_have_text(["one", *["while it was away"] * 2, "one"])
