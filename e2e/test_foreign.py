"""Applications of other frameworks under their cells: FastHTML, Starlette, FastAPI and Flask, by `serve(app)`."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import FrameLocator, expect

from .notebook import Notebook

Open = Callable[..., Notebook]

# No framework's page may ask a CDN here, so the page brings its own script. Its socket
# connects again when it is closed, and nobody can type before it is open.
PAGE = """
PAGE = '''<!doctype html><title>x</title><h1>HEADING</h1><input disabled><ul></ul><script>
const list = document.querySelector('ul'), box = document.querySelector('input')
const open = () => {
    window.socket = new WebSocket(location.href.replace('http', 'ws') + 'ws')
    socket.onopen = () => { box.disabled = false }
    socket.onmessage = event => { list.insertAdjacentHTML('beforeend', event.data) }
    socket.onclose = event => { if (event.code === 1012) location.reload() }
}
box.onchange = () => socket.send(box.value)
open()
</script>'''
from nbws import serve
"""

FASTHTML = """
from fasthtml.common import FastHTML, Li, NotStr
fast = FastHTML(default_hdrs=False)
users = {}
def on_conn(ws, send): users[str(id(ws))] = send
def on_disconn(ws): users.pop(str(id(ws)), None)

@fast.get('/')
def home(): return NotStr(PAGE.replace('HEADING', 'FastHTML').replace('box.value', 'JSON.stringify({msg: box.value})'))

@fast.ws('/ws', conn=on_conn, disconn=on_disconn)
async def ws(msg: str):
    for u in users.values(): await u(Li(msg))

serve(fast)
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

async def star_home(request): return HTMLResponse(PAGE.replace('HEADING', 'Starlette'))
async def star_ws(websocket):
    await websocket.accept()
    async for text in websocket.iter_text(): await websocket.send_text(f'<li>{text[::-1]}</li>')

star = Starlette(routes=[Route('/', star_home), WebSocketRoute('/ws', star_ws)])
serve(star)
"""

FASTAPI = """
from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse
api = FastAPI()
@api.get('/', response_class=HTMLResponse)
def api_home(): return PAGE.replace('HEADING', 'FastAPI')
@api.websocket('/ws')
async def api_ws(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text(): await websocket.send_text(f'<li>{text.upper()}</li>')
serve(api)
"""

FLASK = """
from flask import Flask
flask = Flask('flask')
@flask.route('/')
def flask_home(): return '<h1>Flask</h1>'
serve(flask)
"""


def say(frame: FrameLocator, text: str) -> None:
    """Type into the page's box and press Enter."""
    frame.get_by_role("textbox").fill(text)
    frame.get_by_role("textbox").press("Enter")


def test_four_frameworks_in_their_cells(open_notebook: Open) -> None:
    """Each has its page and its socket; run again, a cell's new application takes its place, and the page
    connects again."""
    nb = open_notebook([PAGE, FASTHTML, STARLETTE, FASTAPI, FLASK])
    nb.run_all()
    heard = {1: ("FastHTML", "hi"), 2: ("Starlette", "ih"), 3: ("FastAPI", "HI")}
    for index, (heading, answer) in heard.items():
        frame = nb.frame(index)
        expect(frame.get_by_role("heading")).to_have_text(heading)
        say(frame, "hi")
        expect(frame.get_by_role("listitem")).to_have_text(answer)
    expect(nb.frame(4).get_by_role("heading")).to_have_text("Flask")
    nb.edit(4, FLASK.replace("<h1>Flask", "<h1>Flask again"))
    expect(nb.frame(4).get_by_role("heading")).to_have_text("Flask again")
    page = nb.frame(3)
    nb.edit(3, FASTAPI.replace("'FastAPI'", "'FastAPI again'").replace("text.upper()", "text * 2"))
    expect(page.get_by_role("heading")).to_have_text("FastAPI again")
    say(page, "ab")
    expect(page.get_by_role("listitem")).to_have_text("abab")
