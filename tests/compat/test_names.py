"""What `from fasthtml.common import *` brings, `from nbws.common import *` brings, and it can be used."""
from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from bound import BOUND

from nbws import common
from nbws.common import (Div, P, Path, add_toast, basic_logout, clear, cookie, database, fast_app, fill_dataclass,
                         html2ft, jsd, run_js, to_xml)
from nbws.core.html import FT, render
from nbws.fasthtml import svg
from nbws.fasthtml.later import Later, MissingError
from nbws.testing import Client

# Constants that only FastHTML's own code reads, and what has no meaning here
NOT_HERE = set('''defaults type_map htmx_resps hx_attrs_annotations Inf annotations htmx4src
    attrmap_x Lifespan respond toast_after DEF_MAXPART evt_attrs hx_evt_attrs inum_methods num_methods named
    rnum_methods
    hx_attrs_4only hx_evts hx_evts_4only marked_imp spark_chars strtyps'''.split())
ISSUE = '''APIRouter Client Mount Beforeware user_pwd_auth basic_logout setup_toasts add_toast MarkdownJS
    HighlightJS SortableJS KatexMarkdownJS ScriptX StyleX run_js On AnyNow Prev jsd File html2ft hx_attrs
    fill_dataclass Socials picolink clear signal_shutdown FastHTMLWithLiveReload cors_allow Redirect
    NotFoundError str2bool flexiclass with_sid reg_re_param patch noop L threaded str_enum first'''.split()


def star(module: str) -> set[str]:
    "The names that a star import of a module brings, in a process of its own: such imports change classes."
    code = f'names = {{}}; exec("from {module} import *", names); print(*(n for n in names if n[:2] != "__"))'
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, capture_output=True, text=True,
                         timeout=BOUND)
    return set(run.stdout.split())


def test_every_name_of_fasthtml_is_here() -> None:
    assert star('fasthtml.common') - star('nbws.common') <= NOT_HERE


@pytest.mark.parametrize('name', ISSUE)
def test_a_name_that_public_apps_use(name: str) -> None:
    assert name in common.__all__ and getattr(common, name) is not None


def test_other_libraries_are_not_loaded_before_they_are_used() -> None:
    code = ('from nbws.common import *; import sys; print([m for m in ("fastcore", "starlette", "httpx", "fastlite", '
            '"bs4") if m in sys.modules]); print(L([1, 2]).map(str), isinstance(Mount("/x", noop), Route))')
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout.splitlines() == ['[]', "['1', '2'] False"], run.stderr


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'fastlite', None)
    with pytest.raises(MissingError, match=r"database is fastlite's.*nbws\[fasthtml\]"): database(':memory:')
    with pytest.raises(MissingError): fast_app('x.db', name=str)


def test_a_later_name_among_bases_annotations_and_checks() -> None:
    later: Any = Later('collections', 'OrderedDict')
    kind = type('Kind', (), {})
    class Sub(later): ...
    assert issubclass(Sub, later) and isinstance(Sub(), later) and not isinstance(kind(), later)
    app, rt = fast_app()
    @rt('/{day}')
    def get(day: Later('datetime', 'date')) -> Any: return day.isoformat()  # type: ignore[valid-type]
    with Client(app) as client: assert client.get('/2026-11-28').text == '2026-11-28'


def test_errors_of_another_library_can_be_caught() -> None:
    catch = """try: raise AuthenticationError('x')
except WebSocketException: print('another')
except AuthenticationError as e: print(type(e).__module__)"""
    def run(*lines: str) -> str:
        told = subprocess.run([sys.executable, '-W', 'ignore', '-c', '\n'.join(lines)], capture_output=True, text=True,
                              timeout=BOUND)
        assert not told.returncode, told.stderr
        return told.stdout.strip()
    for module in ('nbws.common', 'nbws.core', 'nbws.starlette'):
        assert run(f'from {module} import *', catch) == 'starlette.authentication'
    assert run('import nbws.common as fh', catch.replace('Auth', 'fh.Auth').replace('WebSocketE', 'fh.WebSocketE')) == \
        'starlette.authentication'
    assert run('from nbws.common import *', 'import sys; print("starlette" in sys.modules)') == 'False'
    cells = ('import builtins; builtins.get_ipython = None', 'exec("from nbws.common import *")')
    assert run(*cells, 'exec("""', catch, '""")') == 'starlette.authentication' # A later cell names it
    gone = ('import sys; sys.modules["starlette"] = None', 'from nbws.common import *')
    assert run(*gone, 'try: raise ValueError', 'except (AuthenticationError, ValueError) as e: print(e.__class__)') == \
        "<class 'ValueError'>"
    assert 'nbws[fasthtml]' in run(*gone, 'try: raise AuthenticationError("x")', 'except ImportError as e: print(e)')


@pytest.mark.parametrize('module', ['components', 'xtend', 'js', 'pico', 'svg'])
def test_every_name_of_a_module_is_in_the_module_here(module: str) -> None:
    assert star(f'fasthtml.{module}') - star(f'nbws.{module}') - {'g', 'show'} <= NOT_HERE


def test_the_modules_own_paths() -> None:
    for module in ('all', 'core', 'components', 'fastapp', 'ft', 'starlette', 'basics', 'live_reload'):
        names: dict[str, Any] = {}
        exec(f'from nbws.{module} import *\nfrom nbws.{module} import Div', names)
        assert names['Div'] is Div, module
    code = ('from nbws.core import APIRouter, Redirect, fast_app, L; from nbws.core import *; import nbws.core, sys; '
            'c = nbws.core; print(FastHTML is nbws.common.FastHTML, c.serve is serve, c.html is '
            'sys.modules["nbws.core.html"])')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout.split() == ['True', 'True', 'True'], run.stderr
    light = 'import sys; from nbws.core import html, routing; print("nbws.common" in sys.modules)'
    run = subprocess.run([sys.executable, '-c', light], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout.strip() == 'False', run.stderr


def test_uvicorn_comes_with_the_star() -> None:
    code = ('from nbws.common import *; import sys; print("uvicorn" in sys.modules, '
            'uvicorn.Config(FastHTML()).port)')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout.split() == ['False', '8000'], run.stderr


def test_tables_beside_the_app(tmp_path: Path) -> None:
    pytest.importorskip('fastlite')
    app, rt, notes, Note = fast_app(str(tmp_path/'a.db'), render=lambda n: P(n.text), id=int, text=str, pk='id')
    notes.insert(Note(text='first'))
    @rt('/')
    def get() -> Any: return Div(*notes())
    with Client(app) as client: assert '<div><p>first</p></div>' in client.get('/').text
    with pytest.raises(common.NotFoundError): notes[99]
    more = fast_app(str(tmp_path/'b.db'), people={'id': int, 'pk': 'id'}, places={'id': int, 'pk': 'id'})
    assert [len(table) for table in more[2:]] == [2, 2]


def test_any_tag_by_its_name() -> None:
    from nbws.common import Marquee, Sl_button  # type: ignore[attr-defined]
    from nbws.fasthtml.components import UkIcon  # type: ignore[attr-defined]
    assert render(Marquee('x'), Sl_button()) == '<marquee>x</marquee><sl-button></sl-button>'
    assert render(UkIcon(a=1)) == '<uk-icon a="1"></uk-icon>'
    with pytest.raises(AttributeError): _ = common.nothing_of_this_name
    assert render(svg.LinearGradient(id='g')) == '<linearGradient id="g"></linearGradient>'


def test_messages_come_with_the_next_page() -> None:
    app, rt = fast_app()
    common.setup_toasts(app, duration=10)
    @rt('/say')
    def say(session: Any) -> Any:
        add_toast(session, '<b>Saved</b>', 'success', dismiss=True)
        return common.Redirect('/')
    @rt('/')
    def index() -> Any: return P('page')
    @rt('/json')
    def json() -> Any: return {'a': 1}
    with Client(app) as client:
        assert 'fh-toast-success' not in client.get('/').text
        client.post('/say')
        assert client.get('/json').json() == {'a': 1}
        page = client.get('/').text
        told = ('&lt;b&gt;Saved', 'fh-toast-success', 'data-duration="10"', 'toasts.js')
        assert [part for part in told if part not in page] == []
        assert 'fh-toast-success' not in client.get('/').text


def test_html_as_python_and_back() -> None:
    html = '<div class="a b"><p for="x" data-n="1">text</p><br><sl-x @click="go()">y</sl-x></div>'
    names = {**vars(common), 'Sl_x': partial(common.ft, 'sl-x')}
    for attr1st in (False, True):
        assert render(eval(html2ft(html, attr1st), names)) == html, html2ft(html, attr1st)


def test_small_ones() -> None:
    assert cookie('a', 'b', 60).v.startswith('a=b; Path=/; Max-Age=60')
    assert to_xml(clear('x')) == '<div hx-swap-oob="innerHTML" id="x"></div>'
    assert jsd('o', 'r', 'dist', 'x.js', typ='url') == 'https://cdn.jsdelivr.net/gh/o/r/dist/x.js'
    def caller() -> FT: return run_js('f({x})', x='"')
    assert to_xml(caller()) == '<script id="caller" hx-swap-oob="true">f("\\"")</script>'
    from dataclasses import dataclass
    @dataclass
    class Point:
        x: int = 0
    assert fill_dataclass(Point(3), Point()).x == 3
    class Asked:
        url, headers = type('URL', (), {'scheme': 'http'}), {'host': 'a:1'}
    assert basic_logout(Asked) == 'http://logout:logout@a:1/'
