"""Pages over the kernel's own messages: Jupyter has no nbws, and the browser does not reach the kernel's port.

JupyterLab and Notebook 7 are real, with our extension and jupyter-server-proxy off. That the port is out of reach is
played: what would ask there is refused in the browser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import FrameLocator, Route, expect

from .jupyter import JupyterServer, JupyterSettings
from .notebook import Notebook
from .promises import promised
from .sockets import connected
from .test_http_line import TALK
from .test_proxy import BOTH_OFF
from .timeouts import milliseconds, seconds

pytestmark = pytest.mark.timeout(seconds(120))

CELLS = [
    "from nbws.common import *\napp, rt = fast_app(exts='ws')\nsaid, done = app.room('said', history=20), []",
    """@rt('/')
def home(session):
    session['visits'] = session.get('visits', 0) + 1
    talk = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    ask = Button('ask', hx_get='/asked', hx_target='#asked')
    name = Form(Input(name='name', aria_label='name'), Button('greet'), method='post', action='/greet')
    return Titled('first', P(f'visit {session["visits"]}', id='visit'), Ul(id='said'), talk, ask, P(id='asked'), name,
                  A('elsewhere', href='/elsewhere'), hx_ext='ws', ws_connect='/ws')

@app.get('/asked')
def asked(): return 'asked'
@app.post('/greet')
def greet(name: str): return Titled(f'hello {name}', A('back', href='/'))
@app.get('/elsewhere')
def elsewhere(): return RedirectResponse('/', 303)""",
    """@app.ws('/ws', conn=said.join)
async def say(msg: str):
    if msg == 'done': done.append(msg)
    said.send(Ul(Li('first ' + msg), hx_swap_oob='beforeend:#said'))""",
    """@app.ws('/echo')
async def echo(websocket):
    await websocket.accept('chat')
    async for message in websocket:
        if message == 'bye': await websocket.close(4001, 'enough')
        elif message == 'many':
            for n in range(2000): await websocket.send(str(n))
        else: await websocket.send(message)
serve(app)""",
    "done.clear()\nwhile not done: pass\nprint('ended')",
    "app.doctor()",
]


ANOTHER = """html => { // Output in the notebook's page
  const place = Object.assign(document.createElement('div'), { id: 'another', innerHTML: html })
  document.body.append(place)
  for (const script of place.querySelectorAll('script:not([type])'))
    script.replaceWith(Object.assign(document.createElement('script'), { textContent: script.textContent }))
}"""


def says(page: FrameLocator, text: str) -> None:
    """Somebody sends a message by the page's form."""
    box = page.get_by_label("message")
    box.fill(text)
    box.press("Enter")


def shows(page: FrameLocator, texts: list[str]) -> None:
    """The page has all of it, once."""
    expect(page.locator("#said li")).to_have_text(texts, timeout=milliseconds(20))


def first_visit(page: FrameLocator) -> Any:
    """Someone says the first word, and the page's script opens a socket of its own: messages come whole and in order.

    2,000 come at once. Returns how the socket ended that the script has closed by itself.
    """
    expect(page.locator("#visit")).to_have_text("visit 1", timeout=milliseconds(20))
    connected(page)
    says(page, "one")
    shows(page, ["first one"])
    told: dict[str, Any] = promised(page.locator("body"), TALK, bound=30)
    in_order = [told[what] for what in ("inOrder", "isSame", "many")]
    assert (in_order, told["closed"]) == ([True] * 3, [4001, "enough", True])
    return told["own"]


@pytest.mark.parametrize(
    "jupyter",
    [JupyterSettings(flags=BOTH_OFF), JupyterSettings("notebook", "/user/alice/", flags=BOTH_OFF)],
    ids=["lab", "notebook"],
    indirect=True,
)
def test_through_the_kernel(open_notebook: Callable[..., Notebook], jupyter: JupyterServer) -> None:
    """The chat works, also while a cell computes; requests, forms, links and sessions too; cells run again."""
    nb = open_notebook(CELLS)

    def refuse(route: Route) -> None:
        port = re.search(r":(\d+)/", route.request.url)
        if port and f":{port[1]}/" not in jupyter.url:
            route.abort()
        else:
            route.continue_()

    nb.page.context.route(re.compile(r"^http://127\.0\.0\.1:\d+/_nbws/"), refuse)
    for index in range(4):
        nb.run(index)
    expect(nb.output(3).locator("iframe")).to_have_attribute("data-way", "kernel", timeout=milliseconds(20))
    page = nb.frame(3)
    assert first_visit(page) == [3001, "", True]
    many = """() => {
      const { nbwsSrc } = document.querySelector('script[data-nbws-src]').dataset
      return Promise.all(Array.from({ length: 120 }, () => fetch(nbwsSrc).then(a => a.status)))
    }"""
    assert promised(page.locator("body"), many, bound=30) == [200] * 120  # The kernel takes 100 at a time
    nb.start(4)
    says(page, "two")
    shows(page, ["first one", "first two"])
    page.get_by_role("button", name="ask").click()
    expect(page.locator("#asked")).to_have_text("asked")
    says(page, "done")
    nb.wait(4)
    assert nb.text_output(4) == "ended\n"
    nb.edit(2, CELLS[2].replace("'first '", "'second '"))
    says(page, "three")
    shows(page, ["first one", "first two", "first done", "second three"])
    if jupyter.settings.front_end == "lab":
        view = nb.view(3).locator("iframe").content_frame
        shows(view, ["first one", "first two", "first done", "second three"])
        expect(page.locator("#visit")).to_have_text("visit 1")
        nb.close_view()
    nb.edit(1, CELLS[1].replace("Titled('first'", "Titled('changed'"))
    expect(page.get_by_role("heading")).to_have_text("changed", timeout=milliseconds(20))
    page.get_by_label("name").fill("ann")
    page.get_by_role("button", name="greet").click()
    expect(page.get_by_role("heading")).to_have_text("hello ann", timeout=milliseconds(20))
    page.get_by_role("link", name="back").click()
    expect(page.locator("#visit")).to_have_text(re.compile("visit [2-9]"), timeout=milliseconds(20))
    before = page.locator("#visit").inner_text()
    page.get_by_role("link", name="elsewhere").click()
    expect(page.locator("#visit")).not_to_have_text(before, timeout=milliseconds(20))  # Another page is there
    connected(page)
    says(page, "four")
    expect(page.locator("#said li").last).to_have_text("second four", timeout=milliseconds(20))
    nb.restart()
    expect(page.locator("nbws-status [role=status]")).to_contain_text("reconnecting", timeout=milliseconds(60))
    for index in range(4):
        nb.run(index)
    page = nb.frame(3)
    expect(page.locator("#visit")).to_have_text("visit 1", timeout=milliseconds(20))
    connected(page)
    says(page, "five")
    shows(page, ["second five"])
    nb.run(5)
    expect(nb.frame(5).locator("#socket")).to_contain_text("WebSocket: answers", timeout=milliseconds(20))
    saved = nb.save()
    # Beside it may stand that another test's app has the port
    [output] = [output for output in saved.cells[3].outputs if output.output_type == "display_data"]
    examined = saved.cells[5].outputs
    assert max(len(each.data["text/html"].encode()) for each in (output, *examined)) <= 4096
    nb.reload()
    page = nb.frame(3)
    expect(page.locator("#visit")).to_have_text(re.compile("visit [2-9]"), timeout=milliseconds(20))
    connected(page)
    says(page, "six")
    shows(page, ["second five", "second six"])
    if jupyter.settings.front_end == "lab":
        copy = nb.duplicate()
        expect(copy.output(3)).to_contain_text("Run this cell to see the page", timeout=milliseconds(20))
        expect(copy.output(3).locator("iframe:visible")).to_have_count(0)
        nb.to_front()
        says(page, "seven")
        shows(page, ["second five", "second six", "second seven"])
    nb.page.evaluate(ANOTHER, output.data["text/html"].replace('"version":2', '"version":1'))
    expect(nb.page.locator("#another")).to_contain_text("this output was made by another version of nbws")
