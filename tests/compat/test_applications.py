"""What public FastHTML applications do, in our own words: each of these made one of them break."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from starlette.responses import FileResponse as StarletteFile

from nbws.common import Div, RedirectResponse, Td, Tr, fast_app, sid_scr, to_xml, with_sid
from nbws.testing import Client

fastcore = pytest.importorskip('fastcore.xml')


def test_an_import_before_the_star_stays() -> None:
    code = ('from random import random\nimport datetime\nfrom nbws.common import *\n'
            'assert 0 <= random() < 1 and datetime.datetime.now()')
    subprocess.run([sys.executable, '-c', code], check=True, timeout=BOUND)


def test_fastcores_notstr_is_html_as_it_stands() -> None:
    assert to_xml(Div(fastcore.NotStr('<b>x</b>'))) == '<div><b>x</b></div>'


def test_attributes_that_are_set_later_mean_what_the_keywords_mean() -> None:
    app, rt = fast_app()

    @rt
    def page(idx: int = 0) -> Any:
        row = Tr(Td('x'))
        row.attrs.update({'get': f'page?idx={idx + 1}', 'hx-trigger': 'revealed'})
        return row

    with Client(app) as client: answer = client.get('/page', headers={'HX-Request': 'true'})
    assert answer.text == '<tr hx-get="/page?idx=1" hx-trigger="revealed"><td>x</td></tr>'


def test_a_file_of_starlettes_that_is_not_there_is_404(tmp_path: Path) -> None:
    (tmp_path/'here.txt').write_text('hello')
    app, rt = fast_app()

    @rt('/files/{name}')
    def get(name: str) -> Any: return StarletteFile(tmp_path/name)

    with Client(app) as client:
        assert client.get('/files/here.txt').text == 'hello'
        assert client.get('/files/gone.txt').status_code == 404


def test_the_page_of_with_sid_and_the_devtools_take_posts_too() -> None:
    app, _ = fast_app(hdrs=[sid_scr])
    with_sid(app, '/content')
    app.devtools_json()
    with Client(app) as client:
        assert 'hx-get="/content"' in client.post('/').text
        assert client.post('/.well-known/appspecific/com.chrome.devtools.json').json()['workspace']['root']


def test_a_path_leaves_to_the_next_parameter_what_that_can_take() -> None:
    app, rt = fast_app()

    @rt('/files/{folder:path}{name}.{kind:static}')
    def get(folder: str, name: str, kind: str) -> str: return f'{folder}|{name}|{kind}'

    with Client(app) as client:
        assert client.get('/files/a/b/photo.small.png').text == 'a/b/|photo.small|png'
        many = 'x/' * 400
        assert client.get(f'/files/{many}photo.png').text == f'{many}|photo|png' # Longer than a regex is asked for


def test_a_star_that_is_not_used_gets_nothing() -> None:
    app, rt = fast_app()

    @rt
    def page(a: int, *_: Any, **__: Any) -> str: return str(a)

    with Client(app) as client: assert client.get('/page?a=1').text == '1'


def test_a_redirect_to_what_a_visitor_typed_is_a_url() -> None:
    app, rt = fast_app()

    @rt
    def search(q: str) -> Any: return RedirectResponse(f'/results/{q}?a=1#b', 303)

    with Client(app) as client:
        answer = client.get('/search', params={'q': 'é "x" <y>%20'})
    assert answer.headers['location'] == '/results/%C3%A9%20%22x%22%20%3Cy%3E%20?a=1#b'


MONSTER = '''
import sys, types
{before}
from nbws.common import App, Beforeware, RedirectResponse, fast_app
from monsterui import core
def guard(req): return RedirectResponse('/login', 303)
app, rt = core.fast_app(before=Beforeware(guard, skip=['/login']))
assert type(app) is App
@rt
def index(): return 'secret'
from nbws.testing import Client
answer = Client(app).get('/')
assert (answer.status_code, 'secret' in answer.text) == (303, False)
'''


@pytest.mark.parametrize('before', ['', 'import monsterui.core'])
def test_monsteruis_app_is_ours_with_its_guard(before: str, tmp_path: Path) -> None:
    "A stand-in with MonsterUI's one seam: its functions read what makes an app from `fh`."
    (tmp_path/'monsterui').mkdir()
    (tmp_path/'monsterui/__init__.py').write_text('')
    (tmp_path/'monsterui/core.py').write_text('fh = None\ndef fast_app(*args, **options): '
                                              'return fh.fast_app(*args, pico=False, **options)\n')
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r})' + MONSTER.format(before=before)
    subprocess.run([sys.executable, '-c', code], check=True, timeout=BOUND)
