"""What `make demo` opens, used as a person uses it in their first five minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .notebook import Notebook
from .sockets import connected
from .test_examples import NOTEBOOKS, find, picture, say

pytestmark = pytest.mark.fresh_page

@pytest.fixture
def browser_context_args(browser_context_args: dict[str, object]) -> dict[str, object]:
    return {**browser_context_args, "viewport": {"width": 1100, "height": 900}}


def test_demo(open_notebook: Callable[..., Notebook]) -> None:
    nb = open_notebook(NOTEBOOKS / "demo.ipynb")
    nb.run_all()
    served = find(nb, "serve(n=2")
    ann, bob = nb.frames(served, count=2)
    connected(ann, bob)
    for i, (frame, text) in enumerate([(ann, "Is anybody here?"), (bob, "Yes, in the other page."), (ann, "Then we are two.")]):
        say(frame, text)
        for each in (ann, bob):
            expect(each.locator("#talk li")).to_have_count(i + 1)
            expect(each.get_by_role("textbox")).to_have_value("")
    expect(bob.get_by_role("textbox")).to_be_visible()
    picture(nb, served, "demo", above=200)
    picture(nb, find(nb, "def wave"), "figure", above=20)
