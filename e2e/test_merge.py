"""What becomes of a page when the server sends it anew: `nbws/static/merge.js` in a browser, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

import nbws

SCRIPT = Path(nbws.__path__[0]) / "static" / "merge.js"
MERGE = """([before, now, fresh]) => {
    const [was, is, comes] = [before, now, fresh].map(text => {
        const root = document.createElement('main')
        root.innerHTML = text
        return root
    })
    document.createElement('div').append(comes)
    const root = comes.parentNode
    nbws.merge(was, is, comes)
    return root.firstChild.innerHTML
}"""
# As the server has sent it, as it is now, as the server sends it: what the page is to become
CASES = {
    "the server changes": ("<h1>a</h1>", "<h1>a</h1>", "<h1>b</h1>", "<h1>b</h1>"),
    "the page changes": ("<h1>a</h1>", "<h1>b</h1>", "<h1>a</h1>", "<h1>b</h1>"),
    "both change": ("<h1>a</h1>", "<h1>b</h1>", "<h1>c</h1>", "<h1>c</h1>"),
    "an attribute by each": (
        "<p class='a' title='t'>x</p>", "<p class='b' title='t'>x</p>", "<p class='a' title='u'>x</p>",
        '<p class="b" title="u">x</p>'),
    "an attribute that the page has taken away": ("<p hidden>x</p>", "<p>x</p>", "<p hidden>y</p>", "<p>y</p>"),
    "an attribute that the page has put in": ("<p>x</p>", "<p hidden>x</p>", "<p>y</p>", '<p hidden="">y</p>'),
    "a list that grows": (
        "<ul></ul>", "<ul><li>1</li><li>2</li></ul>", "<ul class='l'></ul>",
        '<ul class="l"><li>1</li><li>2</li></ul>'),
    "what was put in comes behind what it stood behind": (
        "<ul><li>a</li><li>b</li></ul>", "<ul><li>a</li><li>new</li><li>b</li></ul>",
        "<ul><li>welcome</li><li>a</li><li>b</li></ul>",
        "<ul><li>welcome</li><li>a</li><li>new</li><li>b</li></ul>"),
    "what was put in at the beginning": (
        "<ul><li>a</li></ul>", "<ul><li>new</li><li>a</li></ul>", "<ul><li>a</li><li>end</li></ul>",
        "<ul><li>new</li><li>a</li><li>end</li></ul>"),
    "the server tells itself now what was put in": (
        "<ul></ul>", "<ul><li>one</li><li>two</li></ul>", "<ul><li><b>one</b></li><li><b>two</b></li></ul>",
        "<ul><li><b>one</b></li><li><b>two</b></li></ul>"),
    "the same by its id": (
        "<div></div>", "<div><p id='x'>now</p></div>", "<div><p id='x'>later</p></div>",
        '<div><p id="x">later</p></div>'),
    "what the page has taken out stays out": (
        "<p>a</p><div>gone</div><p>b</p>", "<p>a</p><p>b</p>", "<p>a</p><div>gone</div><p>c</p>", "<p>a</p><p>c</p>"),
    "unless the server has changed it": (
        "<p>a</p><div>gone</div>", "<p>a</p>", "<p>a</p><div>again</div>", "<p>a</p><div>again</div>"),
    "what the server takes out goes": ("<p>a</p><div>b</div>", "<p>a</p><div>b</div>", "<p>a</p>", "<p>a</p>"),
    "moved by its id": (
        "<p id='a'>a</p><p id='b'>b</p>", "<p id='a'>A</p><p id='b'>b</p>", "<p id='b'>b</p><p id='a'>a</p>",
        '<p id="b">b</p><p id="a">A</p>'),
    "a class by each": (
        "<p class='a b'>x</p>", "<p class='a page'>x</p>", "<p class='a b new'>x</p>", '<p class="a new page">x</p>'),
    "a class that the page has added where there was none": (
        "<p>x</p>", "<p class='page'>x</p>", "<p class='new'>x</p>", '<p class="new page">x</p>'),
    "what a script has made of a style that the server changes": (
        "<style>me{top:0}</style>", "<style ready>.me__1{top:0}</style>", "<style>me{top:1px}</style>",
        "<style>me{top:1px}</style>"),
    "text beside elements": ("one <b>x</b> two", "one <b>y</b> two", "three <b>x</b> two", "three <b>y</b> two"),
}


@pytest.fixture
def merging(page: Page) -> Page:
    """A page that has loaded the script."""
    page.evaluate("() => { window.nbws = {} }")
    page.add_script_tag(path=SCRIPT)
    return page


def test_merge(merging: Page) -> None:
    """What each of them has changed stays; where both have, the server is right."""
    found = {name: merging.evaluate(MERGE, texts) for name, (*texts, _) in CASES.items()}
    assert found == {name: becomes for name, (*_, becomes) in CASES.items()}


def test_the_comparisons_of_a_long_list_are_as_many_as_its_lines(merging: Page) -> None:
    """And not the square of that: pages may have thousands of lines."""
    count = """n => {
        const list = more => '<ul>' + Array.from({ length: n + more }, (_, i) => `<li>${i}</li>`).join('') + '</ul>'
        const original = Node.prototype.isEqualNode
        let calls = 0
        Node.prototype.isEqualNode = function (...args) { calls++; return original.apply(this, args) }
        const roots = [list(0), list(1), list(0) + '<p>new</p>'].map(text => {
            const root = document.createElement('main')
            root.innerHTML = text
            return root
        })
        document.createElement('div').append(roots[2])
        nbws.merge(...roots)
        Node.prototype.isEqualNode = original
        return calls
    }"""
    assert merging.evaluate(count, 1000) < 10_000
