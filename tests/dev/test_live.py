"What open pages hear of: changes of what their handler is made of, and what only they can notice."
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from bound import BOUND

from nbws.app import App
from nbws.common import Redirect
from nbws.dev.changes import made_of
from nbws.dev.live import LivePages
from nbws.sockets.rooms import Room
from nbws.testing import Client

FIRST = '''
NAME = 'a'
items = [1]
def helper(n=1): return NAME * n
def deep(): return [helper() for _ in items]
class Card:
    size = 1
    def __ft__(self): return self.inner()
    def inner(self): return 'card'
card = Card()
def home(): return deep(), Card(), card.inner(), parts.line()
'''
PARTS = "WORD = 'w'\ndef line(): return WORD\ndef other(): return 0\n"


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Any:
    "A program that is run piece by piece, and a module of its user."
    parts = ModuleType('users_parts')
    parts.__file__ = '/home/user/users_parts.py'
    main: dict[str, Any] = {'parts': parts, '__name__': 'users_main'}
    module = ModuleType('users_main')
    module.__file__ = '/home/user/users_main.py'
    for each in (parts, module): monkeypatch.setitem(sys.modules, each.__name__, each)
    def run(source: str, variables: dict[str, Any] = main) -> None:
        exec(compile(source, '/home/user/x.py', 'exec'), variables)
    run(PARTS, vars(parts))
    run(FIRST)
    return SimpleNamespace(run=run, main=main, parts=parts)


@pytest.mark.parametrize(('source', 'changes'), [
    ("NAME = 'b'", True), ("NAME = 'a'", False), ('items = [1]', True), ('items.append(2)', False),
    ('def helper(n=1): return NAME * n + 1', True), ('def helper(n=2): return NAME * n', True),
    ('def unused(): return 1', False), ("parts.WORD = 'x'", True), ('parts.line = lambda: 1', True),
    ('parts.other = lambda: 1', False), ("Card.inner = lambda self: 'changed'", True), ('card = Card()', True),
    ('x = 1', False)])
def test_what_a_page_is_made_of(cells: Any, source: str, changes: bool) -> None:
    before = made_of(cells.main['home'])
    assert made_of(cells.main['home']) == before
    cells.run(source)
    assert (made_of(cells.main['home']) != before) == changes


def test_code_that_is_replaced_in_place_and_wrapped_functions(cells: Any) -> None:
    "As %autoreload does; and the same cell again changes nothing."
    helper = cells.main['helper']
    for around in (helper, partial(helper, 2), lru_cache(helper)):
        cells.run('def home(): return tool()')
        cells.main['tool'] = around
        before, code = made_of(cells.main['home']), helper.__code__
        helper.__code__ = (lambda n=1: 'another').__code__
        assert made_of(cells.main['home']) != before
        helper.__code__ = code
        assert made_of(cells.main['home']) == before
    cells.run(FIRST)
    before = made_of(cells.main['deep'])
    cells.run('\n\n\ndef helper(n=1): return NAME * n') # On the line on which it stood
    assert made_of(cells.main['deep']) == before


@pytest.mark.parametrize(('facts', 'told'), [
    ({'what': 'oob', 'id': 'x', 'element': '<p id="x">'}, "the page has no element with the id 'x'"),
    ({'what': 'socket', 'path': '/nothing'}, "there is no @app.ws('/nothing'), but there is /ws"),
    ({'what': 'socket', 'path': '/ws'}, '/ws (ws), or something in between, refused it'),
    ({'what': 'socket', 'path': '/ws', 'opened': True, 'code': 4001}, 'the socket at /ws was closed with 4001'),
    ({'what': 'response', 'verb': 'POST', 'path': '/big', 'status': 413}, 'POST /big was answered with 413'),
    ({'what': 'connect', 'attribute': 'ws-connect', 'path': '/ws', 'reason': 'extension'}, "FastHTML(exts='ws')"),
    ({'what': 'connect', 'attribute': 'ws-send', 'reason': 'outside'}, 'ws-send does nothing: it needs'),
    ({'what': 'file', 'name': 'me()', 'file': 'surreal.js'}, "into the page's head"),
    ({'what': 'file'}, 'None does nothing'),
    ({'what': 'what', 'name': 'x' * 10**6}, 'htmx says xxx'), ({}, 'htmx says')])
def test_what_a_page_has_noticed(facts: dict[str, Any], told: str, expect_log: Callable[..., None]) -> None:
    "It is told to the developer and to that page; what it says is bounded."
    expect_log('the page|socket|answered|does nothing|htmx', times=1)
    app = App()
    live = LivePages(app)
    @app.get('/')
    def home() -> str: return ''
    @app.ws('/ws')
    def ws(msg: str) -> None: pass
    answer = live.noticed('/', facts)
    assert answer and told in answer['text'] and len(answer['text']) < 1000
    assert told in app.log[-1].text and app.log[-1].where == '/ (home)'


@pytest.mark.parametrize(('options', 'file', 'way'), [
    ({'surreal': False}, 'surreal.js', 'FastHTML(surreal=True)'),
    ({'surreal': False, 'default_hdrs': False}, 'css-scope-inline.js', 'FastHTML(surreal=True, default_hdrs=True)'),
    ({'htmx': False}, 'fasthtml.js', 'FastHTML(htmx=True)'),
    ({}, 'fasthtml.js', "Script(src='/_nbws/fasthtml.js') into the page's head")])
def test_a_file_that_a_page_lacks(options: Any, file: str, way: str, expect_log: Callable[..., None]) -> None:
    "The app's parameter that leaves it out is named; that of a mounted app, where the page is its own."
    expect_log('does nothing', times=2)
    app, outer = App(**options), App()
    app.get('/')(lambda: '')
    outer.mount('/inner', app)
    for live, page in ((LivePages(app), '/'), (LivePages(outer), '/inner/')):
        answer = live.noticed(page, {'what': 'file', 'name': 'me()', 'file': file})
        assert answer and way in answer['text'], answer


def test_an_app_takes_over_rooms() -> None:
    "Those of its own name become one with them; who holds one of the two has both."
    old, new = App(), App()
    kept, mine, theirs = old.room('kept', history=3), new.room('both', history=1), old.room('both', history=5)
    theirs.send('old')
    mine.send('new')
    new.rooms.take_over(old.rooms)
    assert new.room('kept') is kept
    assert [k.data for k in mine.history] == [k.data for k in theirs.history] == ['old', 'new']
    assert new.room('both').epoch == mine.epoch == theirs.epoch
    assert isinstance(new.rooms['both'], Room)


def test_a_page_before_the_login_is_connected_and_hears_nothing() -> None:
    "It does not say that it reconnects; errors of the code are for those whom the app lets in."
    app = App(secret_key='key', before=lambda session: None if session.get('auth') else Redirect('/login'))
    pages = LivePages(app)
    with Client(app) as client, client.ws('/_nbws/live?page=/login') as stranger:
        assert json.loads(stranger.receive(BOUND))['type'] == 'hello'
        own = '; '.join(f'{k}={v}' for k, v in app.session_cookies(auth='ada').items())
        with client.ws('/_nbws/live?page=/', headers={'cookie': own}) as known:
            assert json.loads(known.receive(BOUND))['type'] == 'hello'
            assert len(pages.pages) == 1
        stranger.send('{"type": "noticed", "what": "error", "text": "made up"}')
        assert json.loads(stranger.receive(BOUND)) == {'type': 'pong'}
