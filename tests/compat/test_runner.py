"""The parts of `make compat` that decide: what counts as the same, what is renamed, what the list says."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from compat.compare import differences
from compat.sources import applications, renamed

HEAD = '<title>T</title><link rel="stylesheet" href="/mine.css"><script src="/mine.js"></script>'
THEIRS = f'<!doctype html>\n<html><head><meta charset="utf-8">{HEAD}<script src="https://x/npm/htmx.org@2"></script></head>'
OURS = f'<!doctype html><html><head>{HEAD}<script src="/_nbws/htmx.min.js"></script></head>'


def step(body: str, status: int = 200, kind: str = 'text/html', **more: Any) -> dict[str, Any]:
    return {'method': 'GET', 'url': '/', 'status': status, 'type': kind, 'body': body, **more}


@pytest.mark.parametrize(('theirs', 'ours'), [
    (f'{THEIRS}<body>\n  <p class="a b">hi\n there</p></body></html>',
     f'{OURS}<body><p class="b a">hi there</p></body></html>'),
    ('<input checked="1" name="n">', '<input name=n checked>'),
    ('<p id="_Zp0aJ1Q3SdqrYkTz8c9PVg">x</p>', '<p id="_0123456789abcdefghijkl">x</p>'),
])
def test_the_same_page(theirs: str, ours: str) -> None:
    assert differences([step(theirs)], None, [step(ours)]) == []


@pytest.mark.parametrize(('theirs', 'ours', 'why'), [
    (step('<p>a</p>'), step('<p>b</p>'), 'body'),
    (step('<p hx-get="/x">a</p>'), step('<p get="/x">a</p>'), 'body'),
    (step(f'{THEIRS}<p>a</p>'), step(OURS.replace('/mine.css', '/other.css') + '<p>a</p>'), 'body'),
    (step('a'), step('a', 500), 'status 200 -> 500'),
    (step('', 303, location='/login'), step('', 303, location='/'), 'location'),
    (step('{"a": 1}', kind='application/json'), step('{"a": 2}', kind='application/json'), 'body'),
    (step('a', cookies=['mine']), step('a', cookies=[]), 'cookies'),
    (step('hi', 101, 'websocket', end='open'), step('hi', 101, 'websocket', end='closed 1011'), 'end'),
])
def test_what_a_visitor_would_notice(theirs: dict[str, Any], ours: dict[str, Any], why: str) -> None:
    (_, how), = differences([theirs], None, [ours])
    assert how.startswith(why)


def test_chance_and_their_failures_are_left_out() -> None:
    assert differences([step('a')], [step('b')], [step('c')]) == []
    assert differences([step('', 500)], None, [step('a')]) == []
    texts = ('data: a\n\ndata: 1\n', 'data: a\n', 'data: a\n\ndata: 2')
    streams = [step(text, kind='text/event-stream') for text in texts]
    assert differences(streams[:1], streams[1:2], streams[2:]) == []
    assert len(differences(streams[:1], streams[:1], streams[2:])) == 1


def test_imports_are_renamed_and_texts_are_not() -> None:
    source = 'import fasthtml.common as fh\nfrom fasthtml import FastHTML # fasthtml\nx = "fasthtml"\n'
    assert renamed(source) == 'import nbws.common as fh\nfrom nbws import FastHTML # fasthtml\nx = "fasthtml"\n'
    assert renamed('from fasthtml import (') == 'from fasthtml import ('


def test_imports_of_tremolo_are_renamed() -> None:
    source = 'from tremolo import Application # tremolo\n    import tremolo\nfrom tremolo.utils import html_escape\n'
    assert renamed(source) == ('from nbws.tremolo import Application # tremolo\n    import nbws.tremolo as tremolo\n'
                               'from nbws.tremolo.utils import html_escape\n')


def test_the_list_is_pinned_and_names_files() -> None:
    found = applications()
    assert len(found) >= 137
    assert len(set(found)) == len(found)
    assert all(re.fullmatch('[0-9a-f]{40}', a.commit) and Path(a.path).suffix == '.py' for a in found)
