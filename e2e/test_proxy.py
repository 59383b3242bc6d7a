"""Apps through Jupyter's own address: at `/`, under a prefix, in Notebook 7; isolated; away for a while."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from .jupyter import RESTARTED_LAB, RESTARTED_NOTEBOOK, JupyterServer, JupyterSettings
from .notebook import Notebook
from .promises import promised
from .relay import Relay
from .seeds import CHAT, HELLO
from .sockets import connected, own_socket_opens
from .test_chat import greet, lines, say, talk
from .timeouts import milliseconds

Open = Callable[..., Notebook]
NewContext = Callable[..., BrowserContext]
NOTEBOOK = Path(__file__).resolve().parent.parent / "nbs" / "examples/00_chat.ipynb"

ALICE = pytest.param(JupyterSettings(base_url="/user/alice/"), id="alice")
EVERYWHERE = pytest.mark.parametrize("jupyter", ["lab", ALICE, "notebook"], indirect=True)
AT_ALICES = pytest.mark.parametrize("jupyter", [ALICE], indirect=True)
OFF = ("--ServerApp.jpserver_extensions={'nbws.jupyter.extension': False}",)
BOTH_OFF = ("--ServerApp.jpserver_extensions={'nbws.jupyter.extension': False, 'jupyter_server_proxy': False}",)


def address(nb: Notebook, cell: int, number: int = 0) -> str:
    """The address that an iframe got."""
    frame = nb.output(cell).locator("iframe").nth(number)
    expect(frame).to_have_attribute("src", re.compile("."))
    return nb.page.evaluate("url => new URL(url, location.href).href", frame.get_attribute("src"))


def way(nb: Notebook, cell: int) -> str:
    """The way that was chosen for the first iframe of a cell."""
    frame = nb.output(cell).locator("iframe").first
    expect(frame).to_have_attribute("data-way", re.compile("."))
    return frame.get_attribute("data-way") or ""


def chat(nb: Notebook, jupyters: str) -> tuple[str, Page]:
    """Run the chat notebook below this Jupyter server; frames and a tab talk. The app's address, and the tab."""
    nb.run_all()
    serves = next(i for i in range(30) if nb.output(i).locator("iframe").count() == 1)
    shows = next(i for i in range(30) if nb.output(i).locator("iframe").count() == 2)
    assert way(nb, serves) == "proxied"
    url = address(nb, serves)
    assert url.startswith(f"{jupyters}nbws/{nb.kernel_id}/")
    tab = nb.page.context.new_page()
    tab.goto(url)
    pages = (nb.frame(shows, 0), nb.frame(shows, 1), nb.frame(serves), tab)
    connected(*pages)
    say(pages[0], "from a frame")
    expect(lines(tab).last).to_have_text("from a frame")
    say(tab, "from a tab")
    for shown in pages:
        expect(lines(shown)).to_have_text(["a word from the notebook", "from a frame", "from a tab"])
    return url, tab


@EVERYWHERE
def test_the_chat_notebook(open_notebook: Open, jupyter: JupyterServer) -> None:
    """Two iframes and a second tab talk, at Jupyter's own address, with no port of their own."""
    chat(open_notebook(NOTEBOOK), jupyter.url)


@AT_ALICES
def test_hello_behind_a_prefix(open_notebook: Open) -> None:
    """The other seed."""
    nb = open_notebook([HELLO])
    nb.run(0)
    greet(nb.frame(0))


# Tremolo's chat page, in its pieces: it knows nothing of prefixes, and asks for the host's root.
RAW = """
from nbws.common import *
app = FastHTML()

@app.route('/')
async def ws_handler(request, websocket=None):
    if websocket is not None:
        await websocket.accept()
        while True:
            message = await websocket.receive()
            await websocket.send('Guest: ' + message)
    yield b'<!DOCTYPE html><html lang="en"><head><title>WebSocket Chat</title></head><body><form>'
    yield b'<input type="text" id="message"><button type="button" id="send">Send</button></form>'
    yield b'<ul id="messages"></ul><script>'
    scheme = b'wss' if request.scheme == 'https' else b'ws'
    yield b"var socket = new WebSocket('%s://%s/');" % (scheme, request.host.encode())
    yield b'''
        socket.onmessage = function(event) {
            var message = document.createElement('li');
            message.textContent = event.data;
            document.getElementById('messages').append(message);
        };
        document.getElementById('send').onclick = function() { socket.send(document.getElementById('message').value); };
        </script></body></html>'''
serve()
"""


@AT_ALICES
def test_a_raw_page(open_notebook: Open) -> None:
    """Streamed HTML with `new WebSocket('ws://host/')` works unchanged."""
    nb = open_notebook([RAW])
    nb.run(0)
    page = nb.frame(0)
    own_socket_opens(page)
    page.get_by_role("textbox").fill("hi")
    page.get_by_role("button").click()
    expect(page.get_by_role("listitem")).to_have_text("Guest: hi")


PAGES = """
from nbws.common import *
app = FastHTML(exts=['ws', 'sse'])

@app.get('/')
def home():
    return Titled('Home', A('a link', href='/linked'),
        Form(Input(name='who'), Button('send'), method='post', action='/form'),
        Button('htmx', hx_get='/piece', hx_target='#piece'), Span(id='piece'),
        Button('fetch', onclick='get()'), Span(id='fetched'),
        Button('go', onclick="location.href = '/linked'"),
        Img(src='/picture.svg', alt='picture'), Button('redirect', hx_post='/hx'),
        Div(Div(id='live'), Form(Input(id='msg', aria_label='message'), ws_send=True), hx_ext='ws', ws_connect='/ws'),
        Div(hx_ext='sse', sse_connect='/events', sse_swap='message', id='events'),
        Script("async function get() { fetched.textContent = await (await fetch('/piece')).text() }"))
@app.get('/linked')
def linked(req): return Titled('Linked', P(req.cookies.get('mark', 'no mark')))
@app.get('/piece')
def piece(): return 'a piece'
@app.post('/form')
def form(who: str, req):
    req.set_cookie('mark', who)
    return RedirectResponse('/linked', 303)
@app.post('/hx')
def hx(): return HtmxResponseHeaders(redirect='/linked')
@app.get('/picture.svg')
def picture():
    return Response('<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>', media_type='image/svg+xml')
@app.get('/events')
async def events():
    async def tick(): yield 'data: an event\\n\\n'
    return EventStream(tick())
@app.ws('/ws')
def talk(msg: str):
    return Div(A('a late link', href='/linked'), Link(rel='stylesheet', href='/late.css'),
               Img(src='/picture.svg?late', alt='late'), id='live')
@app.get('/late.css')
def sheet(): return Response('#live { color: rgb(1, 2, 3) }', media_type='text/css')
serve()
"""


@AT_ALICES
def test_links_of_every_kind(open_notebook: Open, jupyter: JupyterServer) -> None:
    """Links, forms, redirects, cookies, htmx, fetch, images, events, `location`, and what comes through a socket."""
    nb = open_notebook([PAGES])
    nb.run(0)
    url = address(nb, 0)
    page = nb.page.context.new_page()
    page.goto(url)
    missed: list[str] = []
    page.on("response", lambda r: missed.append(r.url) if r.status >= 400 and "favicon" not in r.url else None)
    outside: list[str] = []
    page.on("request", lambda r: r.url.startswith(url) or "favicon" in r.url or outside.append(r.url))

    def back() -> None:
        page.goto(url)
        expect(page.get_by_role("heading")).to_have_text("Home")

    back()
    assert page.evaluate("() => document.querySelector('img').naturalWidth") == 7
    page.get_by_role("button", name="htmx").click()
    expect(page.locator("#piece")).to_have_text("a piece")
    page.get_by_role("button", name="fetch").click()
    expect(page.locator("#fetched")).to_have_text("a piece")
    expect(page.locator("#events")).to_have_text("an event")
    page.get_by_label("message").fill("x")
    page.get_by_label("message").press("Enter")
    expect(page.get_by_alt_text("late")).to_have_js_property("naturalWidth", 7)
    expect(page.locator("#live")).to_have_css("color", "rgb(1, 2, 3)")
    for link in ("a late link", "a link"):
        page.get_by_role("link", name=link).click()
        expect(page.get_by_role("heading")).to_have_text("Linked")
        assert page.url == url + "linked"
        back()
    page.get_by_role("button", name="go", exact=True).click()
    expect(page.get_by_role("heading")).to_have_text("Linked")
    back()
    page.get_by_role("button", name="redirect").click()
    expect(page.get_by_role("heading")).to_have_text("Linked")
    back()
    page.locator("input[name=who]").fill("ann")
    page.get_by_role("button", name="send").click()
    expect(page.get_by_role("paragraph")).to_have_text("ann")
    assert page.url == url + "linked"
    marks = [c["path"] for c in page.context.cookies() if c["name"] == "mark"]
    assert marks == [urlsplit(url).path]
    assert missed == outside == []


MODULES = """
from nbws.common import *
app = FastHTML(exts='ws')
OWN = '{"imports": {"own": "/js/own.js", "/js/old.js": "/js/new.js"}}'
MAIN = "import { name } from '/js/main.js'; document.getElementById('static').textContent = name"
LATE = "const late = async () => { const m = await import('/js/late.js'); show('late', m.name) }"
SHOW = "const show = (id, text) => { document.getElementById(id).textContent = text }"
USES = ("import { name } from 'own'; import { renamed } from '/js/old.js';"
        "addEventListener('load', () => show('own', name + renamed))")

def page(*head):
    sheet = Link(rel='stylesheet', href='/sheet.css'), Style('#styled { background: url(/a.svg) }')
    live = Div(Div(id='live'), Form(Input(id='msg', aria_label='message'), ws_send=True), hx_ext='ws', ws_connect='/ws')
    return Html(Head(*head, *sheet), Body(*(P(id=i) for i in ('static', 'late', 'own', 'styled', 'imported', 'sheet')),
        Div(id='attr', style="background: url('/b.svg')"), live, Script(SHOW), Script(MAIN, type='module'),
        Script(LATE), Button('late', onclick='late()')))
@app.get('/')
def plain(): return page(Script(src='/_nbws/htmx.min.js'), Script(src='/_nbws/ws.js'))
@app.get('/own')
def with_own_map(): return page(Script(OWN, type='importmap'), Script(USES, type='module'))

FILES = {
    '/js/main.js': "import { part } from '/js/part.js'; import { n } from './near.js'; export const name = part + n",
    '/js/part.js': "export { part } from '/js/deep.js'",
    '/js/deep.js': "export const part = 'from the root, '",
    '/js/near.js': "export const n = 'and from beside'",
    '/js/late.js': "import { part } from '/js/deep.js'; export const name = 'late ' + part",
    '/js/own.js': "import '/js/deep.js'; export const name = 'its own map, '",
    '/js/new.js': "export const renamed = 'renamed'",
    '/sheet.css': "@import '/more.css'; #sheet { background: url(/c.svg) }",
    '/more.css': "/* url(/no.svg) */ #imported { background: url( \\"/d.svg\\" ) }",
}
@app.get('/{name:path}')
def file(name: str):
    if name.endswith('.svg'): return Response('<svg xmlns="http://www.w3.org/2000/svg"/>', media_type='image/svg+xml')
    kind = 'text/css' if name.endswith('.css') else 'text/javascript'
    return Response(FILES['/' + name], media_type=kind) if '/' + name in FILES else Response('', 404)
@app.ws('/ws')
def talk(msg: str):
    return Div(Style('#one { background: url(/e.svg) }'), I(id='one'),
        I(id='two', style='background: url(/f.svg)'), id='live')
serve()
"""


@AT_ALICES
def test_modules_and_styles(open_notebook: Open, jupyter: JupyterServer) -> None:
    """What modules import, at once or later, with the page's own import map or without; and what CSS names."""
    nb = open_notebook([MODULES])
    nb.run(0)
    url = address(nb, 0)
    page = nb.page.context.new_page()
    missed: list[str] = []
    page.on("response", lambda r: missed.append(r.url) if r.status >= 400 and "favicon" not in r.url else None)
    background = "id => getComputedStyle(document.getElementById(id)).backgroundImage"
    for path in ("", "own"):
        page.goto(url + path)
        expect(page.locator("#static")).to_have_text("from the root, and from beside")
        page.get_by_role("button", name="late").click()
        expect(page.locator("#late")).to_have_text("late from the root,")
        for name, picture in (("styled", "a"), ("attr", "b"), ("sheet", "c"), ("imported", "d")):
            assert page.evaluate(background, name) == f'url("{url}{picture}.svg")'
    expect(page.locator("#own")).to_have_text("its own map, renamed")
    assert page.locator("script[type=importmap]").count() == 1
    page.goto(url)
    page.get_by_label("message").fill("x")
    page.get_by_label("message").press("Enter")
    expect(page.locator("#two")).to_be_attached()
    for name, picture in (("one", "e"), ("two", "f")):
        assert page.evaluate(background, name) == f'url("{url}{picture}.svg")'
    assert missed == []


def test_in_a_sandbox(open_notebook: Open) -> None:
    """The page has its socket and its requests, and cannot reach Jupyter's page."""
    nb = open_notebook([CHAT + "\nshow(sandbox=True)", "show(n=2, sandbox=True)"])
    nb.run_all()
    one, two = nb.frames(1, count=2)
    talk(one, two)
    tried = """() => { const told = [self.origin]
        try { told.push(typeof parent.jupyterapp) } catch (e) { told.push(e.name) }
        try { told.push(typeof document.cookie) } catch (e) { told.push(e.name) }
        return told }"""
    assert one.locator("body").evaluate(tried) == ["null", "SecurityError", "SecurityError"]
    assert one.locator("body").evaluate("() => fetch('/nothing').then(a => a.status)") == 404
    api = "url => fetch(url, {credentials: 'include'}).then(a => a.status, e => e.name)"
    assert one.locator("body").evaluate(api, f"{nb.server.url}api/kernels") == "TypeError"
    url = address(nb, 1)
    assert "/~" in url
    tab = nb.page.context.new_page()  # In a tab of its own, too
    tab.goto(url)
    assert tab.evaluate("() => self.origin") == "null"
    saved = nb.save()
    assert url.partition("/~")[2].partition("/")[0] not in str(saved)  # No ticket stays in the notebook


@pytest.mark.parametrize(
    ("jupyter", "expected"),
    [
        pytest.param(JupyterSettings(base_url="/user/alice/", flags=OFF), "jupyter-server-proxy", id="other-proxy"),
        pytest.param(JupyterSettings(flags=BOTH_OFF), "direct", id="direct"),
    ],
    indirect=["jupyter"],
)
def test_without_the_extension(open_notebook: Open, expected: str) -> None:
    """The next best way is found in the page."""
    nb = open_notebook([CHAT, "show()"])
    nb.run(0)
    # The first page is let in by its address, which loses the secret then; a page that has the cookie keeps it there.
    expect(nb.frame(0).get_by_role("textbox")).to_be_visible()
    nb.run(1)
    assert way(nb, 0) == expected
    talk(nb.frame(0), nb.frame(1))
    assert "nbws_token" not in nb.frame(0).locator("body").evaluate("() => location.href")


@EVERYWHERE
def test_the_doctor(open_notebook: Open) -> None:
    """Says which way was taken, and that answers and sockets pass."""
    nb = open_notebook([CHAT, "app.doctor()"])
    nb.run_all()
    expect(nb.output(1)).to_contain_text("The Jupyter server forwards")
    page = nb.frame(1)
    expect(page.locator("body")).to_contain_text("This page came through the Jupyter server")
    expect(page.locator("#http")).to_have_text(re.compile(r"HTTP: answers, [\d.]+ ms"))
    expect(page.locator("#socket")).to_have_text(re.compile(r"WebSocket: answers, [\d.]+ ms"))


def test_a_restarted_kernel(open_notebook: Open) -> None:
    """A page that is open finds its way back when the cell has run again; one that is opened meanwhile waits."""
    nb = open_notebook([CHAT])
    nb.run(0)
    url = address(nb, 0)
    tab = nb.page.context.new_page()
    tab.goto(url)
    say(tab, "before")
    expect(lines(tab)).to_have_text(["before"])
    nb.page.bring_to_front()
    nb.restart()
    late = nb.page.context.new_page()
    late.goto(url)
    expect(late.get_by_role("status")).to_contain_text("Run the cell with serve()")
    nb.page.bring_to_front()
    nb.run(0)
    for page, text in ((late, "late"), (tab, "after")):
        page.bring_to_front()
        expect(page.get_by_role("textbox")).to_be_visible()
        until_it_passes(page, text)
    expect(lines(late).filter(has_text="after").first).to_be_visible()


@pytest.mark.allow_jupyter_log("received signal 15, stopping")
@pytest.mark.parametrize(
    "jupyter",
    [pytest.param(RESTARTED_LAB, id="lab"), pytest.param(RESTARTED_NOTEBOOK, id="notebook")],
    indirect=True,
)
def test_a_restarted_jupyter_server(open_notebook: Open, jupyter: JupyterServer, new_context: NewContext) -> None:
    """Its kernels are gone, and the notebook gets a new one: pages that were open go there, whatever they looked at."""
    nb = open_notebook([CHAT])
    nb.run(0)
    url, old = address(nb, 0), nb.kernel_id
    tab, reloaded, second = (nb.page.context.new_page() for _ in range(3))
    for page in (tab, reloaded):
        page.goto(f"{url}?a=1#b")
    second.goto(f"{url}_nbws/as/2/")
    connected(tab, reloaded, second)
    say(tab, "before")
    for page in (tab, reloaded, second):
        expect(lines(page)).to_have_text(["before"])
    guest = new_context().new_page()  # Somebody whose login will not outlive the server
    guest.goto(f"{jupyter.url}api?token={jupyter.token}")
    guest.goto(url)
    expect(lines(guest)).to_have_text(["before"])
    jupyter.restart()
    guest.context.clear_cookies()
    second.get_by_role("textbox").fill("half typed")
    reloaded.reload()
    expect(reloaded.get_by_role("status")).to_contain_text("This kernel is not running any more")
    expect(tab.get_by_role("status")).to_have_text("the kernel has ended: run the notebook again")
    expect(guest.get_by_role("status")).to_contain_text("you are logged out of Jupyter")
    nb.page.bring_to_front()
    nb.reload()
    new = nb.kernel_id
    assert new != old
    nb.run(0)
    for page, text in ((tab, "one"), (reloaded, "two"), (second, "three")):
        page.bring_to_front()
        page.wait_for_url(f"**/{new}/**")
        if page is second:
            expect(page.get_by_role("textbox")).to_have_value("half typed")
        until_it_passes(page, text)
    now = url.replace(old, new)
    assert [tab.url, reloaded.url, second.url] == [f"{now}?a=1#b"] * 2 + [f"{now}_nbws/as/2/"]
    guest.get_by_role("button", name="Log in again").click()
    guest.locator("#password_input").fill(jupyter.token)
    guest.locator("#password_input").press("Enter")
    expect(guest).to_have_url(now)
    expect(lines(guest)).to_contain_text(["one", "two", "three"])  # Some of it twice, if it did not pass at once


def until_it_passes(page: Page | FrameLocator, text: str) -> None:
    """Say something as often as a person would, until the page is connected again."""
    for _ in range(20):
        say(page, text)
        try:
            expect(lines(page).filter(has_text=text).first).to_be_visible(timeout=milliseconds(1))
        except AssertionError:
            continue
        return
    raise AssertionError("the page did not find its way back")


@contextmanager
def by_relay(nb: Notebook, jupyter: JupyterServer) -> Iterator[tuple[Relay, Page]]:
    """The app of a notebook's first cell in a tab of its own, connected by a relay."""
    parts = urlsplit(address(nb, 0))
    network = Relay(parts.port or 0)
    try:
        page = nb.page.context.new_page()
        there = parts._replace(netloc=f"127.0.0.1:{network.port}", query=f"token={jupyter.token}")
        page.goto(urlunsplit(there))
        say(page, "before")
        expect(lines(page)).to_have_text(["before"])
        yield network, page
        page.close()
    finally:
        network.close()


@pytest.mark.allow_jupyter_log(r"proxy/\d+/|Traceback|\] \{$")  # What the other proxy says meanwhile
@pytest.mark.parametrize(
    ("jupyter", "expected"),
    [
        pytest.param("lab", "proxied", id="own-extension"),
        pytest.param(JupyterSettings(base_url="/user/alice/", flags=OFF), "jupyter-server-proxy", id="other-proxy"),
        pytest.param(JupyterSettings(flags=BOTH_OFF), "direct", id="direct"),
    ],
    indirect=["jupyter"],
)
def test_each_way_passes_many_messages_and_outlives_a_restart(open_notebook: Open, expected: str) -> None:
    """Short and long ones, in both directions; the page comes back when the kernel was started again."""
    nb = open_notebook([CHAT])
    nb.run(0)
    expect(nb.frame(0).get_by_role("textbox")).to_be_visible()
    assert way(nb, 0) == expected
    connected(nb.frame(0))
    for n in range(5):
        say(nb.frame(0), f"message {n} " + "and on " * (n * 400))
        expect(lines(nb.frame(0)).nth(n)).to_contain_text(f"message {n} ")
    nb.restart()
    nb.run(0)
    expect(nb.frame(0).get_by_role("textbox")).to_be_visible()
    until_it_passes(nb.frame(0), "after the restart")
    until_it_passes(nb.frame(0), "and once more")


STREAMS = """
from nbws.common import *
import asyncio
app = FastHTML(exts='sse')
seen = []

async def ticks(n, start):
    for i in range(start, start + 3): yield f'id: {i}\\nevent: tick\\ndata: {n}.{i} é\\n\\n'
    yield 'retry: 100\\n: a comment\\n\\ndata: two\\ndata: lines\\n\\n'
    if n: await asyncio.sleep(3600)

@app.get('/')
def page(): return [Div(hx_ext='sse', sse_connect=f'/ticks/{n}', sse_swap='tick', id=f's{n}') for n in range(1, 9)]
@app.get('/ticks/{n}')
def stream(n: int, request):
    last = request.headers.get('last-event-id', '')
    seen.append(last)
    return EventStream(ticks(n, int(last or 0) + 1 if last or n else 1))
@app.get('/plain')
def plain(): return 'plain'
serve()
"""
LISTEN = """() => new Promise(done => {
    const source = new EventSource('/ticks/0'), heard = []
    const at = new URL(source.url).pathname
    const facts = () => [source instanceof EventSource, source.readyState, at.endsWith('/ticks/0')]
    source.onopen = () => heard.push('open')
    source.addEventListener('tick', e => heard.push(e.data + ' ' + e.lastEventId))
    source.onmessage = e => heard.push(e.data)
    source.onerror = () => heard.push('error ' + source.readyState)
    const look = setInterval(() => {
        if (heard.filter(h => h === 'two\\nlines').length < 2) return
        clearInterval(look)
        const then = facts()
        source.close()
        done([heard, then, source.readyState])
    }, 20)
})"""
NONE = """() => new Promise(done => {
    const source = new EventSource('/none')
    source.onerror = () => done(source.readyState)
})"""


@AT_ALICES
def test_event_streams_do_not_take_jupyters_connections(open_notebook: Open) -> None:
    """Eight in one page, where a browser has six connections: the page and Jupyter go on."""
    nb = open_notebook([STREAMS, "print(seen)"])
    nb.run(0)
    frame = nb.frame(0)
    for n in range(1, 9):
        expect(frame.locator(f"#s{n}")).to_have_text(f"{n}.3 é")
    body = frame.locator("body")
    assert body.evaluate("() => fetch('/plain').then(a => a.text())") == "plain"
    heard, facts, closed = promised(body, LISTEN)
    first = ["open", "0.1 é 1", "0.2 é 2", "0.3 é 3", "two\nlines", "error 0"]
    again = ["open", "0.4 é 4", "0.5 é 5", "0.6 é 6", "two\nlines"]
    assert heard[: len(first) + len(again)] == first + again
    assert facts[0]
    assert facts[2]
    assert closed == 2
    assert promised(body, NONE) == 2
    nb.save()
    nb.run(1)
    assert "'3'" in nb.text_output(1)


def test_a_connection_is_forgotten_on_the_way(open_notebook: Open, jupyter: JupyterServer) -> None:
    """Nobody says so; the page asks by another connection, and comes back."""
    nb = open_notebook([CHAT])
    nb.run(0)
    with by_relay(nb, jupyter) as (network, page):
        network.forget()
        until_it_passes(page, "after")
        expect(page.get_by_role("status")).to_be_hidden()


def test_the_network_is_away_for_five_seconds(open_notebook: Open, jupyter: JupyterServer) -> None:
    """The page's socket comes back by itself."""
    nb = open_notebook([CHAT])
    nb.run(0)
    with by_relay(nb, jupyter) as (network, page):
        network.cut()
        page.wait_for_timeout(5000)  # What the issue asks for
        network.open = True
        until_it_passes(page, "after")


def test_an_error_while_the_network_is_away_is_shown_after_it(open_notebook: Open, jupyter: JupyterServer) -> None:
    """And once: a page whose line breaks again does not show what it has shown."""
    nb = open_notebook([CHAT, "async def tick(): 1/0\napp.run(tick());"])
    nb.run(0)
    with by_relay(nb, jupyter) as (network, page):
        network.cut()
        nb.run(1)
        expect(nb.output(1)).to_contain_text("ZeroDivisionError")
        network.open = True
        dialog = page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("ZeroDivisionError")
        dialog.get_by_role("button").click()
        network.cut()
        expect(page.get_by_role("status")).to_contain_text("reconnecting")
        network.open = True
        expect(page.get_by_role("status")).to_be_hidden()
        until_it_passes(page, "after")
        expect(dialog).to_be_hidden()
