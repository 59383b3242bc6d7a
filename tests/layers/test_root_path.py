"""Below a prefix a page works as it was written: under every server, for every kind of app, whatever the proxy does."""
from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import BOUND, Process, asgi_server, nbws, running

from nbws.core.html import A
from nbws.core.errors import NbwsError
from nbws.core.response import RedirectResponse, Response
from nbws.layers.gate import Gate
from nbws.server.listener import Server
from nbws.testing import Client
from nbws.app import App

SERVERS = ['nbws', 'uvicorn', 'hypercorn', 'granian']
TAKEN, LEFT = '', '/x' # The proxy takes the prefix off the path, or leaves it there
APPS = '''
from flask import Flask, redirect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Mount, Route
from tornado.web import Application, RequestHandler
from nbws import App
from nbws.common import A, Div, EventStream
from nbws.core.response import Response
from nbws.tremolo import Tremolo

PAGE = '<!DOCTYPE html><html><head></head><body><a href="/page">page</a></body></html>'

ours = App()
@ours.get('/')
def home(): return A('page', href='/page'), Div(hx_post='/send', style='background: url(/a.png)')
@ours.get('/go')
def go(response=None):
    answer = Response(b'', 303, [('location', '/page'), ('link', '</s.css>; rel=preload')])
    answer.set_cookie('a', 'b', path='/')
    return answer
@ours.get('/where')
def where(request): return {'root': request.root_path, 'path': request.path, 'url': request.url}
@ours.get('/stream')
def stream():
    yield '<!DOCTYPE html><html><head></head><a hr'
    yield 'ef="/page">'
@ours.get('/s.css')
def css(): return Response('a { background: url(/a.png) }', media_type='text/css')
@ours.get('/ticks')
def ticks(): return EventStream(iter(['data: 1\\n\\n']))
@ours.ws('/ws')
def ws(msg: str): return msg

flask_app = Flask('below')
@flask_app.get('/')
def flask_home(): return PAGE
@flask_app.get('/go')
def flask_go(): return redirect('/page')
@flask_app.get('/<path:path>')
def anything(path): return 'flask has ' + path

class Home(RequestHandler):
    def get(self): self.redirect('/page') if self.request.path == '/go' else self.write(PAGE)
tornado_app = Application([('/|/go', Home)])

async def page(request): return HTMLResponse(PAGE)
async def elsewhere(request): return RedirectResponse('/page')
starlette_app = Starlette(routes=[Route('/', page), Route('/go', elsewhere), Mount('/below', ours)])

tremolo_app = Tremolo()
@tremolo_app.route('/')
async def tremolo_home(**server): return PAGE
@tremolo_app.route('/go')
async def tremolo_go(response, **server):
    response.set_status(303)
    response.set_header('Location', '/page')
    return ''
if __name__ == '__main__': tremolo_app.run('127.0.0.1', 0, root_path='/x')
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('apps')
    (path/'below.py').write_text(APPS)
    return path


@pytest.fixture(scope='module', params=SERVERS)
def below(request: pytest.FixtureRequest, folder: Path) -> Iterator[Process]:
    with asgi_server(request.param, 'below:ours', folder, '/x') as process: yield process


def head(process: Process, path: str) -> tuple[int, dict[str, str]]:
    "Status and header fields of a GET, their names in lower case."
    with closing(http.client.HTTPConnection('127.0.0.1', process.port, timeout=BOUND)) as connection:
        connection.request('GET', path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def works(process: Process, path: str = '') -> None:
    "A page is below `/x`, and what it asks for is there."
    status, page = process.get(f'{path}/', {'accept': 'text/html', 'sec-fetch-dest': 'document'})
    assert status == 200
    assert 'href="/x/page"' in page
    assert page.count('/_nbws/prefix.js"') == 1
    script = re.search(r'<script src="/x(/_nbws/prefix\.js)" data-host="127\.0\.0\.1:\d+">', page)
    assert script, page
    for asked in script[1], f'/x{script[1]}':
        status, text = process.get(asked)
        assert status == 200
        assert 'window.nbwsPrefix' in text
    assert head(process, f'{path}/go')[1]['location'] == '/x/page'


@pytest.mark.parametrize('path', [TAKEN, LEFT])
def test_our_app(below: Process, path: str) -> None:
    works(below, path)
    assert 'url(/x/a.png)' in below.get(f'{path}/')[1]
    assert below.get(f'{path}/s.css')[1] == 'a { background: url(/x/a.png) }'
    assert 'href="/x/page"' in below.get(f'{path}/stream')[1]
    fields = head(below, f'{path}/go')[1]
    assert 'path=/x/' in fields['set-cookie'].lower()
    assert fields['link'] == '</x/s.css>; rel=preload'
    assert json.loads(below.get(f'{path}/where')[1]) == {'root': '/x', 'path': '/where',
                                                         'url': f'http://127.0.0.1:{below.port}/x/where'}


@pytest.mark.parametrize('path', [TAKEN, LEFT])
def test_sockets_of_our_app(below: Process, path: str) -> None:
    with below.ws(f'{path}/ws') as socket:
        socket.send('{"msg": "hi"}')
        assert socket.recv(BOUND) == 'hi'
    with below.ws(f'{path}/_nbws/events?url=/ticks') as socket:
        assert [socket.recv(BOUND), socket.recv(BOUND)] == ['open', b'data: 1\n\n']


def test_visitors_side_by_side(below: Process) -> None:
    page = below.get('/x/_nbws/as/2/')[1]
    assert 'href="/x/_nbws/as/2/page"' in page
    assert json.loads(below.get('/_nbws/as/2/where')[1])['root'] == '/x/_nbws/as/2'
    assert 'window.nbwsPrefix' in below.get('/x/_nbws/as/2/_nbws/prefix.js')[1]


@pytest.mark.parametrize('app', ['flask_app', 'tornado_app', 'starlette_app', 'tremolo_app'])
def test_other_kinds(app: str, folder: Path) -> None:
    with asgi_server('nbws', f'below:{app}', folder, 'x/') as process:
        for path in TAKEN, LEFT: works(process, path)


@pytest.mark.parametrize('option', [['--workers', '2'], ['--reload']])
def test_with_children(option: list[str], folder: Path) -> None:
    with running(nbws('run', 'below:flask_app', '--port', '0', '--root-path', '/x', *option), cwd=folder) as process:
        process.serves()
        for path in TAKEN, LEFT: works(process, path)


def test_reload_adds_its_script_in_the_same_pass(folder: Path) -> None:
    command = nbws('run', 'below:ours', '--port', '0', '--root-path', '/x', '--reload')
    with running(command, cwd=folder) as process:
        process.serves()
        page = process.get('/', {'accept': 'text/html', 'sec-fetch-dest': 'document'})[1]
        sources = re.findall(r'<script src="([^"]+)"', page)
        assert sources[:3] == ['/x/_nbws/prefix.js', '/x/_nbws/sockets.js', '/x/_nbws/nbws.js']
        for source in sources:
            if source.startswith('/x/_nbws/'): assert process.get(source)[0] == 200


def test_tremolos_option(folder: Path) -> None:
    with running([sys.executable, 'below.py'], cwd=folder) as process:
        process.serves()
        for path in TAKEN, LEFT: works(process, path)


# ---------------------------------------------------------------- without a process

def app() -> App:
    app = App()
    @app.get('/')
    def home() -> A: return A('page', href='/page')
    @app.get('/go')
    def go() -> Response: return RedirectResponse('/page')
    @app.ws('/ws')
    def ws(msg: str) -> str: return msg
    return app


def test_the_test_client() -> None:
    with Client(app(), root_path='/x') as client:
        for path in TAKEN, LEFT:
            assert 'href="/x/page"' in client.get(f'{path}/').text
            assert client.get(f'{path}/go').headers['location'] == '/x/page'
            assert 'window.nbwsPrefix' in client.get(f'{path}/_nbws/prefix.js').text
            with client.ws(f'{path}/ws') as socket:
                socket.send_json({'msg': 'hi'})
                assert socket.receive() == 'hi'
        assert client.post('/', headers={'origin': 'https://evil.example'}).status == 403


def test_without_a_prefix_nothing_moves() -> None:
    with Client(app()) as client:
        assert client.get('/').text.count('prefix.js') == 0
        assert 'href="/page"' in client.get('/').text
        assert client.get('/go').headers['location'] == '/page'


def test_a_mounted_app_is_where_its_author_has_put_it() -> None:
    "Addresses in its pages are its author's, and below the server's prefix."
    outer = App()
    outer.mount('/inner', app())
    with Client(outer) as client: assert 'href="/page"' in client.get('/inner/').text
    with Client(outer, root_path='/x') as client: assert 'href="/x/page"' in client.get('/inner/').text


def test_below_somebody_elses_application(folder: Path) -> None:
    with asgi_server('uvicorn', 'below:starlette_app', folder) as process:
        page = process.get('/below/')[1]
        assert 'href="/page"' in page
        assert 'prefix.js' not in page
        assert json.loads(process.get('/below/where')[1])['root'] == '/below'


def test_a_root_path_is_a_path() -> None:
    with pytest.raises(NbwsError, match='is a URL'): Server(app(), root_path='https://hub.example/x', gate=Gate())
    with Client(app(), root_path='my app') as client:
        for path in '/', '/my%20app/': assert 'href="/my%20app/page"' in client.get(path).text
