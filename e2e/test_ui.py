"""What a chat wants of its page: the input, the list, the stop button, Markdown as it streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import FrameLocator, Locator, Page, expect

from .notebook import Notebook
from .scripts import Script
from .sockets import connected

Open = Callable[..., Notebook]
Run = Callable[..., Script]

CHAT = r"""
from nbws.common import *
app, rt = fast_app(exts='ws')
@rt('/')
def index(): return Titled('Ask',
    ChatList(id='talk', style='height: 12rem'),
    ChatInput('q', StopButton(), placeholder='Question'),
    hx_ext='ws', ws_connect='/ask')
async def model(q):
    yield f'To **{q}**:\n\n'
    if 'code' in q: yield '```python\nhalf = 1\n'
    for n in range(1_000_000 if 'long' in q else 3):
        await asyncio.sleep(.02)
        yield f'line_{n}\n\n'
    if q == 'broken': raise ValueError('the model is away')
@app.ws('/ask', stoppable=True)
async def ask(q: str):
    yield ChatMessage(q, mine=True, to='talk')
    async for part in stream_markdown(model(q), to='talk'): yield part
serve()
"""
AT_END = "list => list.scrollHeight - list.scrollTop - list.clientHeight < 2"


def parts(page: Page | FrameLocator) -> tuple[Locator, Locator, Locator]:
    """The input, the list and the stop button."""
    return page.get_by_label("Question"), page.get_by_role("log"), page.get_by_role("button", name="Stop")


def use(page: Page | FrameLocator) -> None:
    """Ask for an endless answer, scroll, stop it, ask again."""
    connected(page)
    field, talk, stop = parts(page)
    expect(stop).to_be_disabled()
    field.fill("long code <b>one</b>")
    field.press("Enter")
    expect(field).to_have_value("")
    expect(field).to_be_focused()
    expect(talk.locator(".mine")).to_have_text("long code <b>one</b>")
    expect(talk.locator("strong")).to_have_text("long code <b>one</b>")  # A visitor's HTML is text
    expect(talk.locator("pre code.language-python")).to_contain_text("line_3")  # Not closed yet, and a code block
    expect(stop).to_be_enabled()
    stop.click()
    expect(stop).to_be_disabled()
    expect(talk.locator("[aria-busy]")).to_have_count(0)
    field.fill("short")
    page.get_by_role("button", name="Send").click()
    expect(field).to_be_focused()
    expect(talk.locator(".markdown").last).to_contain_text("line_2")
    expect(stop).to_be_disabled()


def test_chat_as_a_script(run_script: Run, page: Page, tmp_path: Path) -> None:
    """In a plain tab."""
    (tmp_path / "chat.py").write_text(CHAT)
    page.goto(run_script(tmp_path / "chat.py").url)
    use(page)


def test_chat_in_a_cell(open_notebook: Open) -> None:
    """Behind Jupyter's proxy."""
    nb = open_notebook([CHAT])
    nb.run(0)
    use(nb.frame(0))


def test_the_reader_has_scrolled_up(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Then the list stays where he reads, and follows again from its end on."""
    (tmp_path / "chat.py").write_text(CHAT)
    page.goto(run_script(tmp_path / "chat.py").url)
    connected(page)
    field, talk, stop = parts(page)
    field.fill("long")
    field.press("Enter")
    expect(talk).to_contain_text("line_20")
    assert talk.evaluate(AT_END)
    talk.hover()
    page.mouse.wheel(0, -10_000)
    page.wait_for_function("() => document.querySelector('.chat-list').scrollTop < 100")
    top = talk.evaluate("list => list.scrollTop")
    said = len(talk.inner_text())
    page.wait_for_function(f"() => document.querySelector('.chat-list').innerText.length > {said + 200}")
    assert talk.evaluate("list => list.scrollTop") <= top  # Where the wheel came to rest
    page.mouse.wheel(0, 1_000_000)
    page.wait_for_function(f"() => ({AT_END})(document.querySelector('.chat-list'))")
    said = len(talk.inner_text())
    page.wait_for_function(f"() => document.querySelector('.chat-list').innerText.length > {said + 200}")
    assert talk.evaluate(AT_END)
    stop.click()
    expect(stop).to_be_disabled()


def test_an_answer_breaks_off(open_notebook: Open) -> None:
    """The page says so, and goes on; the developer has the error."""
    nb = open_notebook([CHAT])
    nb.run(0)
    frame = nb.frame(0)
    connected(frame)
    field, talk, stop = parts(frame)
    field.fill("broken")
    field.press("Enter")
    expect(talk.get_by_role("alert")).to_have_text("The answer broke off.")
    expect(stop).to_be_disabled()
    field.fill("short")
    field.press("Enter")
    expect(talk.locator(".markdown").last).to_contain_text("line_2")
    expect(nb.output(0)).to_contain_text("the model is away")


LINES = """
from nbws.common import *
app, rt = fast_app()
def entry(): return ChatInput('text', rows=2, hx_post='/say', hx_target='#talk', hx_swap='beforeend',
    placeholder='Text')
@rt('/')
def index(): return Titled('Notes', ChatList(id='talk'), entry())
@rt('/say', methods='post')
def say(text: str): return ChatMessage(text) if text != 'no' else Response('no', 422)
serve()
"""


def test_a_field_of_lines_by_http(run_script: Run, page: Page, tmp_path: Path) -> None:
    """Enter sends, Shift+Enter does not; what was refused stays in the field."""
    (tmp_path / "notes.py").write_text(LINES)
    page.goto(run_script(tmp_path / "notes.py").url)
    field = page.get_by_label("Text")
    field.fill("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    field.press("Enter")
    expect(page.locator(".chat-message")).to_have_text("one\ntwo")
    expect(field).to_have_value("")
    expect(field).to_be_focused()
    field.fill("no")
    with page.expect_response("**/say") as answer:
        field.press("Enter")
    assert answer.value.status == 422
    expect(field).to_have_value("no")




WORK = """
from nbws.common import *
app, rt = fast_app(exts='ws', max_part_size=None)
setup_toasts(app)
login(app, {'ada': hash_password('correct horse')})
@rt('/')
def index(auth): return Titled(f'Hello {auth}',
    Div(Button('Work', ws_send=True), StopButton(), hx_ext='ws', ws_connect='/ws'),
    Form(Label('Picture', Input(name='picture', type='file')), UploadProgress(), Button('Upload'),
         hx_post='/upload', hx_encoding='multipart/form-data', hx_target='#size', id='upload'),
    P(id='size'), A('Scores', href='/scores'), LogoutButton())
@app.ws('/ws', stoppable=True)
async def work():
    yield toast('Begun', 'success')
    for n in progress(range(1_000_000), 'Working'): await asyncio.sleep(.05)
@rt('/upload', methods='post')
def upload(picture: UploadFile): return f'{picture.size} bytes' if picture.size < 2_000_000 else Response('no', 413)
@rt('/scores')
def scores(): return Download('name,n\\nada,3\\n', 'scores.csv')
serve()
"""


def test_a_login_a_bar_a_toast_an_upload_and_a_file(run_script: Run, page: Page, tmp_path: Path) -> None:
    """As a visitor meets them, one after the other."""
    (tmp_path / "work.py").write_text(WORK)
    url = run_script(tmp_path / "work.py").url
    page.goto(f"{url}/?x=1")
    for password in ("wrong", "correct horse"):
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        if password == "wrong":
            expect(page.get_by_role("alert")).to_have_text("That name and password do not fit.")
    expect(page.get_by_role("heading")).to_have_text("Hello ada")
    expect(page).to_have_url(f"{url}/?x=1")
    connected(page)
    page.get_by_role("button", name="Work").click()
    expect(page.get_by_text("Begun")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Working")).to_be_visible()
    page.wait_for_function("() => document.querySelector('.progress-bar progress').value > 2")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".progress-bar")).to_have_count(0)
    for size, told in ((1_000_000, "1000000 bytes"), (3_000_000, "")):
        file = {"name": "a.png", "mimeType": "image/png", "buffer": b"x" * size}
        page.get_by_label("Picture").set_input_files([file])
        page.get_by_role("button", name="Upload").click()
        if told:
            expect(page.locator("#size")).to_have_text(told)
            expect(page.locator(".upload-progress")).to_be_hidden()
        else:
            expect(page.get_by_text("It is too large.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Scores").click()
    assert download.value.suggested_filename == "scores.csv"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading")).to_have_text("Log in")
    page.goto(url)
    expect(page.get_by_role("heading")).to_have_text("Log in")


NAMES = """
from nbws.common import *
app, rt = fast_app(exts='ws')
ask_name(app)
room = app.room('talk')
@rt('/')
def index(session): return Titled(session['name'], ChatList(id='talk'), ChatInput('text'),
    hx_ext='ws', ws_connect='/ws')
@app.ws('/ws', conn=room.join)
def said(text: str, session): room.send(ChatMessage(text, by=session['name'], to='talk'))
serve()
"""


def test_a_name_in_a_cell(open_notebook: Open) -> None:
    """Behind Jupyter's proxy; who is there is told in the next cell."""
    nb = open_notebook([NAMES, "visitors()"])
    nb.run(0)
    frame = nb.frame(0)
    frame.get_by_label("Name").fill("Zoë")
    frame.get_by_role("button", name="Go on").click()
    expect(frame.get_by_role("heading")).to_have_text("Zoë")
    connected(frame)
    frame.get_by_label("text").fill("hello")
    frame.get_by_label("text").press("Enter")
    expect(frame.locator(".chat-message")).to_contain_text("hello")
    nb.run(1)
    expect(nb.output(1)).to_contain_text("Zoë")
