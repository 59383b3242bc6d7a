"""The seven apps for people who work with data: their notebooks in JupyterLab. Their pictures are taken here, too.

`NBWS_PICTURES=1 pytest e2e/test_apps.py` writes them to nbs/images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, expect

from .notebook import Notebook
from .promises import promised
from .sockets import connected
from .test_examples import NOTEBOOKS, find, say
from .timeouts import milliseconds

Open = Callable[..., Notebook]
PATIENCE = milliseconds(30)  # for the first figure of a library that is only now imported


def opened(open_notebook: Open, name: str) -> Notebook:
    """The notebook of an app, all of whose cells have run."""
    nb = open_notebook(NOTEBOOKS / "examples" / f"{name}.ipynb")
    nb.run_all()
    return nb


def picture(nb: Notebook, index: int, name: str, height: int = 640, width: int = 960) -> None:
    """With NBWS_PICTURES, a small picture of a cell for README.md and the notebook."""
    if "NBWS_PICTURES" not in os.environ:
        return
    from PIL import Image

    before = nb.page.viewport_size
    nb.page.set_viewport_size({"width": width, "height": height})
    nb._javascript("app.shell.collapseLeft();")
    nb.cell(index).evaluate("cell => cell.scrollIntoView({block: 'start', behavior: 'instant'})")
    nb.page.wait_for_timeout(1500)  # for the eye: figures take their new size
    shot = Image.open(nb.screenshot(name)).convert("RGB")
    shot.quantize(128, dither=Image.Dither.NONE).save(NOTEBOOKS / "images" / f"{name}.png", optimize=True)
    if before:
        nb.page.set_viewport_size(before)


def test_rooms(open_notebook: Open) -> None:
    """Two people give their names, see each other, what was said before, and what they say."""
    nb = opened(open_notebook, "03_rooms")
    served = find(nb, "#| export\nserve(n=2)")
    ada, grace = nb.frames(served, count=2)
    for frame, name in ((ada, "Ada"), (grace, "Grace")):
        expect(frame.get_by_role("heading")).to_have_text("What is your name?")
        say(frame, name)
        expect(frame.get_by_role("heading")).to_have_text("Lounge")
    connected(ada, grace)
    for frame in (ada, grace):
        expect(frame.locator("#people, [id^=people-]")).to_contain_text("Here: Ada, Grace")
        expect(frame.locator(".chat-message")).to_have_text(["The notebookGood morning!"])
    say(ada, "Is <b>anybody</b> here?")
    expect(grace.locator(".chat-message")).to_have_count(2)  # Two people's messages have no order between them
    say(grace, "Yes, in the other page.")
    for frame in (ada, grace):
        expect(frame.locator(".chat-message")).to_contain_text(["morning", "Is <b>anybody</b>", "GraceYes"])
    expect(ada.locator(".mine")).to_have_text("AdaIs <b>anybody</b> here?")
    picture(nb, served, "rooms", 800)
    grace.get_by_role("link", name="Garden").click()
    expect(grace.get_by_role("heading")).to_have_text("Garden")
    expect(ada.locator("[id^=people]")).to_contain_text("Here: Ada")
    expect(ada.get_by_role("link", name="Garden")).to_have_text("Garden (1)")


def test_llm(open_notebook: Open) -> None:
    """Markdown as it comes; a second answer is stopped; the third is whole."""
    nb = opened(open_notebook, "02_llm")
    served = find(nb, "#| export\nserve()")
    frame = nb.frame(served)
    connected(frame)
    answers, stop = frame.locator(".markdown"), frame.get_by_role("button", name="Stop")
    say(frame, "Show me some code")
    expect(answers.first.locator("pre")).to_contain_text("def index()")
    expect(answers.first.locator("strong")).to_have_text("under it")
    expect(stop).to_be_disabled()
    model = find(nb, "async def model")
    source = nb._javascript("return cells()[argument].model.sharedModel.source;", model)
    nb.edit(model, source.replace("sleep(.06)", "sleep(.5 if 'What' in messages[-1]['content'] else .01)"))
    say(frame, "What can I do?")
    expect(answers.nth(1)).to_contain_text("While I answer")
    picture(nb, served, "llm", 740)
    stop.click()
    expect(stop).to_be_disabled()
    expect(answers.nth(1)).not_to_contain_text("change the cell")
    say(frame, "A table, please")
    expect(answers.nth(2).locator("td").last).to_have_text("both")
    expect(frame.get_by_role("textbox")).to_be_focused()


@pytest.mark.parametrize(("name", "line"), [("04_dashboard", "polyline"), ("08_figures", "path")])
def test_dashboard(open_notebook: Open, name: str, line: str) -> None:
    """Three figures and a table; a thread, a cell and a slider move them."""
    nb = opened(open_notebook, name)
    served = find(nb, "#| export\nserve()")
    frame = nb.frame(served)
    expect(frame.locator(f"#line svg {line}").first).to_be_attached(timeout=PATIENCE)
    expect(frame.locator("#histogram .main-svg").first).to_be_visible(timeout=PATIENCE)
    expect(frame.locator("#dots canvas, #dots svg").first).to_be_visible(timeout=PATIENCE)
    last = frame.locator("#table tr").last
    before = last.inner_text()
    expect(last).not_to_have_text(before, use_inner_text=True)  # the thread goes on
    picture(nb, served, name[3:], 940, 1100)
    drawn = "element => element._fullData[0].x.length"
    expect_drawn(frame, "#histogram .js-plotly-plot", f"({drawn})(element) > 30")  # the cell has measured, too
    frame.get_by_label("Readings").fill("20")
    expect_drawn(frame, "#histogram .js-plotly-plot", f"({drawn})(element) === 20")


def expect_drawn(frame: FrameLocator, selector: str, test: str) -> None:
    """Wait until a test of the element is true."""
    drawn = """(element, test) => new Promise(resolve => {
        const right = new Function('element', 'return ' + test)
        const look = () => right(element) ? resolve() : setTimeout(look, 20)
        look()
    })"""
    promised(frame.locator(selector), drawn, test)


def test_upload(open_notebook: Open) -> None:
    """A picture and what is made of it; then a file that is none."""
    from PIL import Image

    nb = opened(open_notebook, "05_upload")
    served = find(nb, "#| export\nserve()")
    frame = nb.frame(served)
    data = BytesIO()
    disc, hues = Image.radial_gradient("L"), Image.linear_gradient("L")
    Image.merge("HSV", (hues.rotate(90), hues, disc.point(lambda v: 255 - v))).convert("RGB").save(data, "PNG")
    frame.locator("input[type=file]").set_input_files(
        [{"name": "disc.png", "mimeType": "image/png", "buffer": data.getvalue()}]
    )
    frame.get_by_role("button", name="Upload").click()
    expect(frame.locator("#gallery img")).to_have_count(6)
    expect(frame.locator("#gallery small")).to_have_text(["As it is", "Grey", "Negative", "Poster", "Edges", "Soft"])
    picture(nb, served, "upload", 760)
    frame.locator("input[type=file]").set_input_files(
        [{"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear Ada"}]
    )
    frame.get_by_role("button", name="Upload").click()
    expect(frame.get_by_role("alert")).to_have_text("letter.txt is no picture that Pillow knows.")


def test_quiz(open_notebook: Open, new_context: Callable[..., BrowserContext]) -> None:
    """Two students answer at the shared address; the teacher's chart follows; a cell asks something new."""
    nb = open_notebook(NOTEBOOKS / "examples/06_quiz.ipynb")
    asks = find(nb, "QUIZ.append")
    served = find(nb, "#| export\nprint(")
    for index in range(asks):
        if nb._javascript("return cells()[argument].model.type === 'code'", index):
            nb.run(index)
    teacher = nb.frame(served)
    shown = nb.output(served).get_by_role("link", name="nbws_token")  # not the port that `serve()` may tell of
    link = shown.first.get_attribute("href") or ""
    shared = re.sub(r"//[^:/]+", "//127.0.0.1", link)  # the same server, with the secret of its address
    students = [new_context().new_page() for _ in range(2)]
    for page, answer in zip(students, ("The server", "Either of them"), strict=True):
        page.goto(shared)
        page.get_by_role("button", name=answer).click()
    expect(teacher.locator("#chart label")).to_have_text(["The browser: 0", "The server: 1", "Either of them: 1"])
    students[0].get_by_role("button", name="Either of them").click()
    expect(teacher.locator("#chart label")).to_have_text(["The browser: 0", "The server: 0", "Either of them: 2"])
    students[0].get_by_role("button", name="The browser").click()
    expect(teacher.locator("#chart label")).to_have_text(["The browser: 1", "The server: 0", "Either of them: 1"])
    picture(nb, served, "quiz", 760)
    teacher.get_by_role("button", name="Show").click()
    for page in students:  # also on the button that has the focus
        expect(page.locator("#question button").nth(2)).to_have_text("Either of them ✓")
        expect(page.locator("#question button").first).to_be_disabled()
    nb.run(asks)
    for page in students:
        expect(page.get_by_role("heading", level=2)).to_have_text("What is 6 times 7?")
    expect(teacher.locator("#chart label")).to_have_text(["36: 0", "42: 0", "48: 0"])


def test_labels(open_notebook: Open) -> None:
    """Labels by button and by key, one taken back; a later cell reads them, and the file has them."""
    nb = opened(open_notebook, "07_labels")
    served = find(nb, "#| export\nserve()")
    frame = nb.frame(served)
    frame.get_by_role("button", name="good").click()
    expect(frame.locator("#task article")).to_contain_text("It never arrived.")
    frame.locator("body").press("2")
    expect(frame.locator("#task article")).to_contain_text("Exactly what I wanted!")
    frame.locator("body").press("3")
    expect(frame.locator("#table tbody tr")).to_have_count(3)
    picture(nb, served, "labels")
    frame.get_by_role("button", name="Undo").click()
    expect(frame.locator("#table tbody tr")).to_have_text([re.compile("good"), re.compile("bad")])
    later = find(nb, "groupby('label'")
    nb.run(later)
    assert re.search(r"bad\s+1\s+good\s+1\s+NaN\s+4", nb.text_output(later)), nb.text_output(later)
    assert (Path(nb.folder) / "labels.db").exists()
