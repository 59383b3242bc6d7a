"""`nbws run --reload` and `serve(reload=True)`: files are saved, and a page in an ordinary tab follows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from .notebook import write_notebook
from .scripts import Script
from .timeouts import wait_until

Run = Callable[..., Script]

APP = """
from nbws.common import *
import texts
app = FastHTML(ws_hdr=True, hdrs=Link(rel='stylesheet', href='/look.css'))
app.static('/', '.')

@app.get('/')
def home(): return (H1('HEADING'), P(texts.LINE), Div(id='out'), Div(style='height: 3000px'),
                    Form(Input(id='msg'), id='form', ws_send=True, hx_ext='ws', ws_connect='/ws'),
                    Div(style='height: 3000px'))

@app.ws('/ws')
async def ws(msg: str): return Div('HEADING ' + msg, id='out')

@app.get('/fail')
def fail(): return 1/0
"""


def save(path: Path, text: str) -> None:
    """As editors do: a new file takes the place of the old one."""
    new = path.with_name("new~")
    new.write_text(text)
    os.replace(new, path)


def write_app(folder: Path) -> Path:
    """The app and what it is made of."""
    (folder / "texts.py").write_text("LINE = 'first line'")
    (folder / "look.css").write_text("h1 { color: rgb(1, 2, 3) }")
    path = folder / "chat.py"
    path.write_text(APP)
    return path


def say(page: Page, text: str) -> None:
    """Type into the page's box and send."""
    page.get_by_role("textbox").fill(text)
    page.get_by_role("textbox").press("Enter")


def test_a_page_follows_what_is_saved(run_script: Run, page: Page, tmp_path: Path) -> None:
    """A handler, an imported module and a style sheet, one after the other, under a text that is half typed."""
    path = write_app(tmp_path)
    script = run_script("nbws", "run", "chat.py", "--reload", cwd=tmp_path)
    page.goto(script.url)
    say(page, "hi")
    expect(page.locator("#out")).to_have_text("HEADING hi")
    page.evaluate("() => { window.same = true }")
    box = page.get_by_role("textbox")
    box.clear()
    box.press_sequentially("half ty")
    where = box.bounding_box()
    assert page.evaluate("() => scrollY") > 1000

    save(path, APP.replace("HEADING", "version 2"))
    expect(page.get_by_role("heading")).to_have_text("version 2")
    save(tmp_path / "texts.py", "LINE = 'second line'")
    expect(page.locator("p")).to_have_text("second line")
    save(tmp_path / "look.css", "h1 { color: rgb(4, 5, 6) }")
    expect(page.get_by_role("heading")).to_have_css("color", "rgb(4, 5, 6)")

    expect(box).to_be_focused()
    box.press_sequentially("ped")
    assert page.evaluate("() => window.same")
    assert box.bounding_box() == where  # What is above it has another height now, and yet it stands where it stood
    box.press("Enter")
    expect(page.locator("#out")).to_have_text("version 2 half typed")
    expect(page.get_by_role("status")).to_be_hidden()


def test_what_is_chosen_stays(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Of what a visitor has filled in nothing is taken away; what is as it came follows the file."""
    page_of = """
from nbws.common import *
app = FastHTML()
sizes = [Option(size) for size in 'SML']

@app.get('/')
def home(): return (H1('one'), Select(sizes, id='first'), Select(Option('S', selected=True), Option('L'), id='marked'),
                    Select(sizes, id='several', multiple=True), Select(LEFT, id='left'),
                    Input(type='checkbox', id='tick'), Details(Summary('More'), P('words')))
"""
    path = tmp_path / "chosen.py"
    path.write_text(page_of.replace("LEFT", "sizes"))
    script = run_script("nbws", "run", "chosen.py", "--reload", cwd=tmp_path)
    page.goto(script.url)
    for name, values in ("first", ["M"]), ("marked", ["L"]), ("several", ["S", "L"]):
        page.locator(f"#{name}").select_option(values)
    page.get_by_role("checkbox").check()
    page.get_by_text("More").click()
    page.evaluate("() => { window.same = true }")

    save(path, page_of.replace("'one'", "'two'").replace("LEFT", "Option('T')"))
    expect(page.get_by_role("heading")).to_have_text("two")
    expect(page.locator("#first")).to_have_value("M")
    expect(page.locator("#marked")).to_have_value("L")
    expect(page.locator("#several")).to_have_values(["S", "L"])
    expect(page.locator("#left")).to_have_value("T")
    expect(page.get_by_role("checkbox")).to_be_checked()
    expect(page.get_by_text("words")).to_be_visible()
    assert page.evaluate("() => window.same")


def test_a_mistake_and_its_mending(run_script: Run, page: Page, tmp_path: Path) -> None:
    """What cannot be loaded changes nothing, and is told on the terminal and over the page, also to a page that comes
    later; the next save that can be loaded takes the message away."""
    path = write_app(tmp_path)
    script = run_script("nbws", "run", "chat.py", "--reload", cwd=tmp_path, stderr_may="")  # All of it
    page.goto(script.url)
    say(page, "hi")
    expect(page.locator("#out")).to_have_text("HEADING hi")
    save(path, APP.replace("def home()", "def home("))
    dialog = page.get_by_role("alertdialog")
    for _ in range(2):
        expect(dialog).to_contain_text("chat.py: not reloaded")
        expect(dialog).to_contain_text("SyntaxError")
        dialog.get_by_role("button").click()
        expect(dialog).to_be_hidden()
        say(page, "still there")
        expect(page.locator("#out")).to_have_text("HEADING still there")
        page.reload()
    assert "SyntaxError" in script.stderr
    expect(dialog).to_be_visible()
    save(path, APP.replace("HEADING", "mended"))
    expect(page.get_by_role("heading")).to_have_text("mended")
    expect(dialog).to_be_hidden()
    say(page, "and on")
    expect(page.locator("#out")).to_have_text("mended and on")
    page.goto(f"{script.url}/fail")
    expect(page.locator("main pre")).to_contain_text("ZeroDivisionError")


PLAIN = """
from nbws import App, serve
app = App(htmx=False)

@app.get('/')
def home(): return '''<!DOCTYPE html><title>plain</title><h1>HEADING</h1><input><output></output><script>
const box = document.querySelector('input'), socket = new WebSocket('ws://' + location.host + '/ws')
socket.onopen = () => { document.title = 'connected' }
socket.onmessage = event => { document.querySelector('output').textContent = event.data }
box.onchange = () => socket.send(box.value)
</script>'''

@app.ws('/ws')
async def ws(websocket):
    await websocket.accept()
    async for text in websocket: await websocket.send('HEADING ' + text)

if __name__ == '__main__': serve(reload=True)
"""


@pytest.mark.parametrize("htmx", [False, True])
def test_a_page_with_a_socket_of_its_own(run_script: Run, page: Page, tmp_path: Path, htmx: bool) -> None:
    """Its script has to run again, so the page is loaded again; what was typed stays. Served by the script itself."""
    text = PLAIN.replace("<input>", '<input><script src="/_nbws/htmx.min.js"></script>') if htmx else PLAIN
    path = tmp_path / "plain.py"
    path.write_text(text)
    script = run_script(path)
    page.goto(script.url)
    box = page.get_by_role("textbox")
    box.press_sequentially("half ty")
    save(path, text.replace("HEADING", "version 2"))
    expect(page.get_by_role("heading")).to_have_text("version 2")
    expect(box).to_have_value("half ty")
    expect(page).to_have_title("connected")
    box.press("End")
    box.press_sequentially("ped")
    box.press("Enter")
    expect(page.locator("output")).to_have_text("version 2 half typed")


def test_a_notebook_is_saved(run_script: Run, page: Page, tmp_path: Path) -> None:
    write_app(tmp_path)
    path = write_notebook(tmp_path / "chat.ipynb", [APP, "serve()"])
    script = run_script("nbws", "run", "chat.ipynb", "--reload", cwd=tmp_path)
    page.goto(script.url)
    page.get_by_role("textbox").fill("half typed")
    write_notebook(path, [APP.replace("HEADING", "version 2"), "serve()"])
    expect(page.get_by_role("heading")).to_have_text("version 2")
    page.get_by_role("textbox").press("Enter")
    expect(page.locator("#out")).to_have_text("version 2 half typed")


STYLED = """
from nbws.common import *
app = FastHTML()
@app.get('/')
def home(): return Div(Style('me { color: rgb(1, 2, 3) }'), P('first'), id='box', cls='one')
"""


def test_scoped_styles_apply_when_the_page_follows(run_script: Run, page: Page, tmp_path: Path) -> None:
    """The class by which css-scope-inline ties a style to its parent is the page's, not what the server has sent."""
    path = tmp_path / "styled.py"
    path.write_text(STYLED)
    page.goto(run_script("nbws", "run", "styled.py", "--reload", cwd=tmp_path).url)
    page.evaluate("() => { window.same = true }")
    box, text = page.locator("#box"), STYLED
    expect(box).to_have_css("color", "rgb(1, 2, 3)")
    for old, new, color in [
        ("first", "second", "rgb(1, 2, 3)"),
        ("cls='one'", "cls='two'", "rgb(1, 2, 3)"),
        ("rgb(1, 2, 3)", "rgb(4, 5, 6)", "rgb(4, 5, 6)"),
        ("second", "third", "rgb(4, 5, 6)"),
        ("P('third')", "P('third'), Style('me { width: 77px }')", "rgb(4, 5, 6)"),
    ]:
        text = text.replace(old, new)
        save(path, text)
        if "'" not in old and "rgb" not in old:
            expect(page.locator("p")).to_have_text(new)
        if "cls" in old:
            expect(box).to_have_class(re.compile(r"\btwo\b"))
        expect(box).to_have_css("color", color)
    expect(box).to_have_css("width", "77px")
    assert page.evaluate("() => window.same")


FLASK = """
from flask import Flask
app = Flask('flask')
@app.route('/')
def home(): return '<!DOCTYPE html><h1>HEADING</h1>'
"""


def test_other_peoples_pages_follow_too(run_script: Run, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "pages.py"
    path.write_text(FLASK)
    script = run_script("nbws", "run", "pages", "--reload", cwd=tmp_path)
    page.goto(script.url)
    save(path, FLASK.replace("HEADING", "version 2"))
    expect(page.get_by_role("heading")).to_have_text("version 2")


def test_a_page_that_still_loads_follows(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Its program makes it, and the next one answers when it has loaded."""
    path = tmp_path / "pages.py"
    path.write_text(FLASK.replace("</h1>", "</h1><img src=/held>"))
    script = run_script("nbws", "run", "pages", "--reload", cwd=tmp_path)
    held: list[Route] = []
    page.route("**/held", lambda route: held.append(route))
    with page.expect_request("**/held"):
        page.goto(script.url, wait_until="commit")
    save(path, FLASK.replace("HEADING", "version 2"))
    wait_until(lambda: "version 2" in page.request.get(script.url).text(), "the new program")
    expect(page.get_by_role("heading")).to_have_text("HEADING")
    held[0].abort()
    expect(page.get_by_role("heading")).to_have_text("version 2")


def test_no_page_follows_in_production(run_script: Run, page: Page, tmp_path: Path) -> None:
    write_app(tmp_path)
    script = run_script("nbws", "run", "chat.py", cwd=tmp_path, stderr_may="ZeroDivisionError")
    page.goto(script.url)
    expect(page.get_by_role("heading")).to_be_visible()
    assert "nbws.js" not in page.content()
    assert page.request.get(f"{script.url}/_nbws/live").status == 404
