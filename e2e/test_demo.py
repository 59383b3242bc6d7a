"""What `make demo` opens, used as a person uses it in their first five minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import FrameLocator, expect

from .notebook import Notebook
from .sockets import connected
from .test_examples import NOTEBOOKS, find, picture, say

pytestmark = pytest.mark.fresh_page  # in a window of its own size


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, object]) -> dict[str, object]:
    """A window of the picture's size."""
    return {**browser_context_args, "viewport": {"width": 960, "height": 680}}


def test_five_minutes(open_notebook: Callable[..., Notebook]) -> None:
    """Run all; two people talk; the function changes while they do; a figure follows the slider and a cell."""
    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    served = find(nb, "serve(n=2)")
    ada, grace = nb.frames(served, count=2)
    connected(ada, grace)
    said = []
    for frame, name, text in [
        (ada, "Ada", "Is anybody here?"),
        (grace, "Grace", "Yes, in the other page."),
        (ada, "Ada", "<b>Then</b> we are two."),
    ]:
        say(frame, text)
        said.append(name + text)
        for each in (ada, grace):
            expect(each.locator("#talk li")).to_have_text(said)
        expect(frame.get_by_role("textbox")).to_have_value("")
        expect(frame.get_by_role("textbox")).to_be_focused()
    picture(nb, served, "demo", above=10)

    change = find(nb, "# Change me")
    source = nb._javascript("return cells()[argument].model.sharedModel.source;", change)
    nb.edit(change, source.replace("text,", "text.upper(),"))
    say(grace, "louder")
    said.append("GraceLOUDER")
    expect(ada.locator("#talk li")).to_have_text(said)

    figure = nb.frame(find(nb, "def wave"))
    curve = figure.locator("polyline")
    shown = curve.get_attribute("points")
    figure.get_by_role("slider").fill("7")
    expect(curve).not_to_have_attribute("points", shown or "")
    shown = curve.get_attribute("points")
    nb.run(find(nb, "for n in range"))
    expect(curve).not_to_have_attribute("points", shown or "")


def visible(frame: FrameLocator) -> list[str]:
    """The lines that a reader sees, at least in part: a list of more than its box can hold is scrolled."""
    seen: list[str] = frame.locator(".chat").evaluate(
        """box => [...box.querySelectorAll('li')].filter(line => {
        const [a, b] = [box, line].map(e => e.getBoundingClientRect())
        return b.bottom > a.top + 5 && b.top < a.bottom - 5
    }).map(line => line.lastChild.textContent)"""
    )
    return seen


def test_the_list_follows_its_end_unless_the_reader_has_scrolled_up(open_notebook: Callable[..., Notebook]) -> None:
    """A reader of old lines is left where they are."""
    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    ada, grace = nb.frames(find(nb, "serve(n=2)"), count=2)
    connected(ada, grace)
    for number in range(12):
        say(ada, f"line {number}")
        expect(grace.locator("#talk li")).to_have_count(number + 1)
    for each in (ada, grace):
        assert visible(each)[-1] == "line 11"
        assert "line 0" not in visible(each)
    grace.locator("#talk li").first.scroll_into_view_if_needed()
    read = visible(grace)
    say(ada, "one more")
    expect(grace.locator("#talk li")).to_have_count(13)
    assert read[0] == "line 0"
    assert visible(grace) == read
    expect(ada.locator("#talk li")).to_have_count(13)
    assert visible(ada)[-1] == "one more"
