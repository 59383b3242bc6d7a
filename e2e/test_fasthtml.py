"""The scripts that pages written for FastHTML count on, in elements of the page, of an answer and of a socket.

Each works in the page that came, in what htmx swaps in, in what comes over a socket, and after the code of the page has
changed under it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from .notebook import Notebook
from .scripts import Script
from .test_reload import save
from .timeouts import wait_until

Run = Callable[..., Script]
Open = Callable[..., Notebook]

# `part(text)` is what is looked at. It stands in the page, in an answer and in what a socket sends.
APP = """
from nbws.common import *
app, rt = fast_app(exts='ws', pico=False, OPTIONS)
def more(): return ()
SETUP
def part(text): return PART
@rt
def index(): return (H1('HEADING'), part('of the page'), Button('Ask', get=answer, hx_target='#answer'),
                     Div(id='answer'), Form(Input(name='msg'), Button('Send'), ws_send=True, id='form'), Div(id='told'))
@rt
def answer(): return part('of an answer')
@app.ws('/ws')
def ws(msg: str): return Div(part(msg), id='told'), *more()
app.pages.bodykw.update(hx_ext='ws', ws_connect='/ws')
"""
PLACES = ("of the page", "of an answer", "of a socket")


def write(folder: Path, part: str, setup: str = "", options: str = "", heading: str = "first") -> Path:
    """The app, as a file that is saved."""
    text = APP.replace("PART", part).replace("SETUP", setup).replace("OPTIONS", options).replace("HEADING", heading)
    save(folder / "page.py", text)
    return folder / "page.py"


def start(run_script: Run, page: Page, folder: Path, *given: str) -> Script:
    """The app under `nbws run --reload`, with what an answer and a socket bring in its page."""
    write(folder, *given)
    script = run_script("nbws", "run", "page.py", "--reload", cwd=folder)
    page.goto(script.url)
    bring(page)
    return script


def bring(page: Page) -> None:
    """Ask for an answer, and say something."""
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("textbox").fill(PLACES[2])
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answer")).not_to_be_empty()
    expect(page.locator("#told")).not_to_be_empty()


def change(page: Page, folder: Path, *given: str, heading: str = "second") -> None:
    """Save the app with another heading, and wait until the open page has it."""
    page.evaluate("() => { window.same = true }")
    write(folder, *given, heading=heading)
    expect(page.get_by_role("heading")).to_have_text(heading)
    assert page.evaluate("() => window.same"), "the page was loaded anew"


def test_surreal(run_script: Run, page: Page, tmp_path: Path) -> None:
    """A script in an element is that element's, wherever the element comes from; a click counts once."""
    script = ("me().on('click', e => { const b = me(e); b.dataset.n = 1 + Number(b.dataset.n || 0);"
              " b.innerText += '!' })")
    given = (f'Button(text, Script("{script}"), cls="b")', "", "")
    start(run_script, page, tmp_path, *given)
    for text in PLACES:
        page.get_by_role("button", name=text).click()
        expect(page.get_by_role("button", name=text)).to_have_text(f"{text}!")
    page.evaluate("() => { any('.b').classAdd('seen') }")
    assert page.locator(".b.seen").count() == 3
    change(page, tmp_path, *given)
    for text in PLACES:
        page.get_by_role("button", name=text).click()
    counts = [page.get_by_role("button", name=text).get_attribute("data-n") for text in PLACES]
    assert set(counts) <= {"1", "2"}, f"a click counted several times: {counts}"
    bring(page)
    brought = page.get_by_role("button", name=PLACES[2])
    expect(brought).to_have_text(PLACES[2])
    brought.click()
    expect(brought).to_have_attribute("data-n", "1")


def test_css_scope_inline(run_script: Run, page: Page, tmp_path: Path) -> None:
    """A style in an element is that element's; when its rules change, they change in the open page."""
    def given(green: int) -> tuple[str, str, str]:
        return f"Div(P(text), Style('me {{ color: rgb(0, {green}, 0) }} me p {{ margin: 7px }}'), cls='s')", "", ""

    start(run_script, page, tmp_path, *given(1))
    expect(page.locator(".s")).to_have_count(3)
    for text in PLACES:
        paragraph = page.get_by_text(text, exact=True)
        expect(paragraph).to_have_css("color", "rgb(0, 1, 0)")
        expect(paragraph).to_have_css("margin-top", "7px")
    expect(page.get_by_role("heading")).not_to_have_css("color", "rgb(0, 1, 0)")
    change(page, tmp_path, *given(2))
    expect(page.get_by_text(PLACES[0], exact=True)).to_have_css("color", "rgb(0, 2, 0)")
    bring(page)
    for text in PLACES[1:]:
        expect(page.get_by_text(text, exact=True)).to_have_css("color", "rgb(0, 2, 0)")


def test_fasthtmls_own_functions(run_script: Run, page: Page, tmp_path: Path) -> None:
    """`proc_htmx` takes each element once; elements are made of texts and parts; a form is sent by a script."""
    take = "proc_htmx('.p', e => { e.title = (e.title || '') + 'taken' })"
    setup = """
app.hdrs.append(Script(\"\"\"TAKE\"\"\"))
@rt
async def sent(file: UploadFile, note: str): return P(f'{note}: {(await file.read()).decode()}')
""".replace("TAKE", take)
    given = ("P(text, cls='p')", setup, "")
    start(run_script, page, tmp_path, *given)
    for text in PLACES:
        expect(page.get_by_text(text, exact=True)).to_have_attribute("title", "taken")
    page.evaluate("""() => {
        const two = $E('i', {cls: 'two', onclick: () => { window.hit = 1 }}, ['t'])
        document.body.append($H`<b id="made">${'one'}</b>`, two)
        _$('i.two').click()
        const file = new File(['content'], 'f.txt')
        return hx_multipart('/sent', {values: {file, note: 'a note'}, target: '#answer', swap: 'innerHTML'})
    }""")
    expect(page.locator("#made")).to_have_text("one")
    assert page.evaluate("() => [window.hit, _$$('i.two').length]") == [1, 1]
    expect(page.locator("#answer")).to_have_text("a note: content")
    change(page, tmp_path, *given)
    expect(page.get_by_text(PLACES[0], exact=True)).to_have_attribute("title", "taken")


def test_toasts(run_script: Run, page: Page, tmp_path: Path) -> None:
    """They come with a page, an answer and a socket, stay while the code changes, and leave by a click or in time."""
    setup = """
setup_toasts(app, duration=600_000)
@rt
def say(session, kind: str = 'info'):
    add_toast(session, f'a {kind}', kind, dismiss=True)
    return P('said')
@rt
def go(session):
    add_toast(session, 'with a page', 'success', dismiss=True)
    return Redirect('/')
def more():
    shown = Toast('goes', 'warning', duration=1), Toast('stays', duration=600_000)
    return [Div(*shown, hx_swap_oob=f'beforeend:#{tcid}')]
"""
    given = ("P(text)", setup, "")
    script = start(run_script, page, tmp_path, *given)
    toasts = page.locator(".fh-toast")
    expect(toasts).to_have_text("stays")
    page.evaluate("() => htmx.ajax('GET', '/say?kind=error', '#answer')")
    expect(page.locator(".fh-toast-error")).to_have_text("a error×")
    change(page, tmp_path, *given)
    expect(toasts).to_have_count(2)
    page.goto(f"{script.url}/go")
    expect(page.get_by_text("with a page")).to_be_visible()
    page.evaluate("() => htmx.ajax('GET', '/say?kind=error', '#answer')")
    expect(toasts).to_have_count(2)
    bring(page)
    expect(page.get_by_text("stays")).to_be_visible()
    expect(page.locator(".fh-toast-warning")).to_have_count(0)
    for left in (2, 1):
        page.locator(".fh-toast-dismiss").first.click()
        expect(toasts).to_have_count(left)
    page.reload()
    expect(page.get_by_role("heading")).to_be_visible()
    expect(toasts).to_have_count(0)


def test_the_id_of_a_window(run_script: Run, context: BrowserContext, page: Page, tmp_path: Path) -> None:
    """htmx sends it with every query; it stays with the window, and every window has its own."""
    setup = "app.hdrs.append(sid_scr)\n@rt\ndef who(sid: str = 'none', q: str = ''): return P(sid, q, id='sid')"
    given = ("P(text)", setup, "")
    script = start(run_script, page, tmp_path, *given)

    def sid(of: Page, path: str = "/who") -> str:
        of.evaluate("path => htmx.ajax('GET', path, '#answer')", path)
        expect(of.locator("#sid")).to_be_visible()
        text = of.locator("#sid").text_content()
        of.evaluate("() => htmx.find('#sid').remove()")
        return text or ""

    first = sid(page)
    assert len(first) == 32 and sid(page, "/who?q=more") == first + "more"
    change(page, tmp_path, *given)
    assert sid(page) == first
    page.reload()
    assert sid(page) == first
    another = context.new_page()
    another.goto(script.url)
    assert sid(another) not in ("none", first)


# Libraries that come from the network: their place is taken by modules of a few lines, which show that they were asked.

LIBRARIES = {
    "marked/lib/marked.esm.js": "export const marked = { parse: text => `<b>${text}</b>` }",
    "katex@0.16/dist/katex.mjs": "export default { renderToString: text => `<i>${text}</i>` }",
    "katex@0.16/dist/katex.min.css": "",
    "sortablejs/+esm": "export const Sortable = { create: (e, {ghostClass}) => { "
                       "e.dataset.sorts = Number(e.dataset.sorts || 0) + 1; e.title = ghostClass } }",
    "mermaid@11/dist/mermaid.esm.min.mjs":
        "export default { initialize() {}, render: async (id, text) => ({ svg: `<b>${text}</b>` }) }",
}
EACH = {
    "MarkdownJS()": ("Div(text, cls='marked')", ".marked b"),
    "KatexMarkdownJS()": ("Div('$' + text + '$', cls='marked')", ".marked b i"),
    "MermaidJS()": ("Pre(text, cls='language-mermaid')", ".language-mermaid b"),
}


def libraries(page: Page) -> None:
    """Answer what the page asks the network of copies for."""
    def answer(route: Route) -> None:
        name = route.request.url.partition("/npm/")[2]
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        route.fulfill(body=LIBRARIES[name], content_type=kind, headers={"access-control-allow-origin": "*"})

    page.route("https://cdn.jsdelivr.net/npm/**", answer)


@pytest.mark.allow_external("https://cdn.jsdelivr.net/npm/")
@pytest.mark.parametrize("use", EACH)
def test_what_is_made_of_text(use: str, run_script: Run, page: Page, tmp_path: Path) -> None:
    """Markdown, formulas and diagrams: wherever an element comes from, and whenever its text changes."""
    part, made = EACH[use]
    given = (part, f"app.hdrs.extend([*{use}] if isinstance({use}, (list, tuple)) else [{use}])", "")
    libraries(page)
    start(run_script, page, tmp_path, *given)
    for text in PLACES:
        expect(page.locator(made, has_text=text)).to_have_count(1)
    change(page, tmp_path, *given)
    for text in PLACES:
        expect(page.locator(made, has_text=text)).to_have_count(1)
    change(page, tmp_path, part.replace("text", "'another'", 1), *given[1:], heading="third")
    expect(page.locator(made, has_text="another")).to_have_count(1)
    expect(page.locator(f"{made} b")).to_have_count(0)


@pytest.mark.allow_external("https://cdn.jsdelivr.net/npm/")
def test_lists_to_sort(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Each list once."""
    libraries(page)
    given = ("Ul(Li(text), cls='sortable')", "app.hdrs.append(SortableJS(ghost_class='ghost'))", "")
    start(run_script, page, tmp_path, *given)
    lists = page.locator(".sortable")
    for n in range(3):
        expect(lists.nth(n)).to_have_attribute("data-sorts", "1")
        expect(lists.nth(n)).to_have_attribute("title", "ghost")
    change(page, tmp_path, *given)
    bring(page)
    for n in range(3):
        expect(lists.nth(n)).to_have_attribute("data-sorts", "1")


@pytest.mark.parametrize(("part", "options", "told"), [
    ("P(text, Script('me().title = 1'))", "surreal=False", "me() does nothing: it is from surreal.js"),
    ("P(text, Script(\"proc_htmx('p', e => e)\"))", "default_hdrs=False, hdrs=Script(src='/_nbws/htmx.min.js')",
     "proc_htmx() does nothing: it is from fasthtml.js"),
    ("P(text, Style('me { color: red }'))", "surreal=False", "me {} does nothing: it is from css-scope-inline.js"),
    ("P(text, Style('@media print { self > a { color: red } }'))", "surreal=False", "self {} does nothing"),
])
@pytest.mark.allow_page_error("is not defined")
def test_a_file_that_is_off(part: str, options: str, told: str, run_script: Run, page: Page, tmp_path: Path) -> None:
    """What a page counts on and does not have is said in the page and in the log, with what brings it."""
    write(tmp_path, part, "", options)
    script = run_script("nbws", "run", "page.py", "--reload", cwd=tmp_path, stderr_may=".")
    page.goto(script.url)
    notice = page.get_by_role("alertdialog")
    expect(notice).to_contain_text(told)
    expect(notice).to_contain_text("FastHTML(")
    wait_until(lambda: told in script.stderr + script.stdout, "the log")


def test_in_a_cell(open_notebook: Open) -> None:
    """The notice stands under the cell that made the page; the cell is run again with the file, and all is well."""
    def cell(options: str) -> str:
        return (f"from nbws.common import *\napp = FastHTML({options})\n@app.get('/')\n"
                "def home(): return Div(P('text'), Style('me { color: rgb(1, 2, 3) }'))\nserve()")

    nb = open_notebook([cell("surreal=False")])
    nb.run_all()
    expect(nb.frame(0).get_by_role("alertdialog")).to_contain_text("me {} does nothing")
    expect(nb.output(0)).to_contain_text("css-scope-inline.js")
    nb.edit(0, cell(""))
    expect(nb.frame(0).get_by_text("text")).to_have_css("color", "rgb(1, 2, 3)")
    expect(nb.frame(0).get_by_role("alertdialog")).to_have_count(0)
