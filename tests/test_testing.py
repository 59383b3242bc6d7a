"""Clients without a network, and the fixtures that pytest finds."""
from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND

from nbws.app import App
from nbws.core.html import Div
from nbws.loading import LoadFailed, NothingThere
from nbws.core.messages import WebSocketDisconnect
from nbws.testing import AsyncClient, Client, Refused, notebook_app

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def app() -> App:
    app = App(secret_key='a test')

    @app.get('/')
    def home(session: dict, name: str = 'you') -> Any:
        session['n'] = session.get('n', 0) + 1
        return Div(f'{name} {session["n"]}')

    @app.post('/sum')
    def total(a: int, b: int) -> Any: return {'sum': a + b}

    @app.get('/stream')
    def stream() -> Any:
        for i in range(3): yield str(i)

    @app.get('/never')
    async def never() -> Any: await asyncio.Event().wait()

    @app.ws('/ws', subprotocols=['chat'])
    async def ws(msg: str, ws: Any) -> Any:
        if msg == 'bye': ws.close(4000, 'bye')
        return Div(msg)

    return app


def test_requests(nbws_client: Any, app: App) -> None:
    client = nbws_client(app)
    reply = client.get('/', params={'name': 'Ada & Bob'}, headers={'HX-Request': 'true'})
    assert reply.text == '<div>Ada &amp; Bob 1</div>'
    assert 'you 2' in client.get('/').text
    assert client.cookies
    for body in 'data', 'json': assert client.post('/sum', **{body: {'a': 1, 'b': 2}}).json() == {'sum': 3}
    assert client.get('/stream').text == '012'
    assert client.head('/').text == ''
    reply = client.get('/nothing')
    assert (reply.status, reply.headers['content-type'].partition(';')[0]) == (404, 'text/plain')


def test_socket(nbws_client: Any, app: App) -> None:
    client = nbws_client(app)
    with client.ws('/ws', subprotocols=['soap', 'chat']) as socket:
        assert socket.subprotocol == 'chat'
        socket.send_json({'msg': 'hi'})
        assert socket.receive() == '<div>hi</div>'
        with pytest.raises(TimeoutError, match=r'no message within 0\.02 s'): socket.receive(0.02)
        socket.send_json({'msg': 'bye'})
        assert socket.closed() == 4000
        with pytest.raises(WebSocketDisconnect, match='4000 bye'): socket.receive()
    with pytest.raises(Refused, match='404'): client.ws('/nothing')
    assert not app.sockets


def test_a_handler_that_does_not_answer_is_a_timeout(app: App) -> None:
    with Client(app, timeout=0.05) as client, pytest.raises(asyncio.TimeoutError): client.get('/never')


def test_async(app: App) -> None:
    async def main() -> None:
        async with AsyncClient(app) as client:
            assert app.loop is asyncio.get_running_loop()
            async with client.ws('/ws') as one, client.ws('/ws') as two:
                for socket in one, two: await socket.send_json({'msg': 'x'})
                assert await one.receive() == await two.receive() == '<div>x</div>'
                assert len(app.sockets) == 2
            assert not app.sockets
        assert app.loop is None
    asyncio.run(main())


def test_closing_ends_the_thread(app: App) -> None:
    before = threading.active_count()
    client = Client(app)
    client.get('/')
    client.close()
    client.close()
    assert threading.active_count() == before


def test_start_up_fails(app: App) -> None:
    app.on_startup(lambda: 1/0)
    with pytest.raises(ZeroDivisionError), Client(app): pass


def test_server(nbws_server: Any, app: App) -> None:
    server = nbws_server(app)
    with urllib.request.urlopen(server.url + '/stream', timeout=BOUND) as answer: assert answer.read() == b'012'


def test_a_notebook_is_an_app_under_test(nbws_client: Any) -> None:
    client = nbws_client(notebook_app(ROOT/'nbs'/'examples/00_chat.ipynb'))
    assert 'ws-connect="/ws"' in client.get('/').text
    with client.ws('/ws') as ann, client.ws('/ws') as bob:
        ann.send_json({'msg': 'hi <b>'})
        heard = ann.receive()
        assert heard == bob.receive()
        assert heard.endswith('<li>hi &lt;b&gt;</li></ul>')


def notebook(path: Path, *cells: str) -> Path:
    path.write_text(json.dumps({'nbformat': 4, 'cells': [{'cell_type': 'code', 'source': c} for c in cells]}))
    return path


def test_notebooks_that_are_no_apps(tmp_path: Path) -> None:
    here, main = Path.cwd(), sys.modules['__main__']
    with pytest.raises(LoadFailed, match=r'(?s)code cell 2 of n\.ipynb failed.*before.*ZeroDivisionError'):
        notebook_app(notebook(tmp_path/'n.ipynb', 'x = 1', 'print("before")\nx / 0'))
    with pytest.raises(NothingThere, match='has no app'): notebook_app(notebook(tmp_path/'n.ipynb', 'x = 1'))
    with pytest.raises(NothingThere, match='no notebook'): notebook_app(tmp_path/'none.ipynb')
    assert (Path.cwd(), sys.modules['__main__']) == (here, main)


def test_pytest_starts_without_us(tmp_path: Path) -> None:
    (tmp_path/'test_x.py').write_text('''
import sys
def test_lazy() -> None:
    assert not {'nbws.web.app', 'nbws.testing', 'nbws.server.listener', 'tornado'} & set(sys.modules)
def test_client(nbws_client) -> None:
    async def app(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 204, 'headers': []})
        await send({'type': 'http.response.body'})
    assert nbws_client(app).get('/').status == 204
''')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:anyio', str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND)
    assert run.returncode == 0, run.stdout + run.stderr
