"""`run` and `listen`: in a script, by the command, in a cell, and under another ASGI server."""
from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import BOUND, live
from websockets.sync.client import connect

from nbws.core.request import Request
from nbws.notebook import served as notebook
from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest, HTTPRedirect

CHAT = '''\
import time

from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest

app = Tremolo()


@app.on_request
async def middleware_handler(**server):
    for char in b'&<>"\\'':
        if char in server['request'].host:
            raise BadRequest('illegal host')


@app.route('/')
async def ws_handler(websocket=None, request=None, stream=False, **_):
    if websocket is not None:
        await websocket.accept()

        while True:
            message = await websocket.receive()
            await websocket.send(
                '[{:s}] Guest{:d}: {:s}'.format(
                    time.strftime('%H:%M:%S'), request.client[1], message)
            )

    yield b"""\\
    <!DOCTYPE html><html lang="en"><head><title>WebSocket Chat</title></head>
    """
    ws_scheme = b'ws'

    if request.scheme == b'https':
        ws_scheme = b'wss'

    yield b"\\
        var socket = new WebSocket('%s://%s/');" % (ws_scheme, request.host)

if __name__ == '__main__':
    app.run('0.0.0.0', {port}, debug=True, reload={reload})
'''


def chats(url: str) -> None:
    "What a visitor does."
    page = httpx.get(url, timeout=BOUND, trust_env=False)
    assert (page.status_code, page.headers['content-type']) == (200, 'text/html; charset=utf-8')
    assert '<title>WebSocket Chat</title>' in page.text
    assert f"new WebSocket('{url.replace('http', 'ws')}/')" in page.text
    with connect(url.replace('http', 'ws'), open_timeout=BOUND, proxy=None) as ws:
        ws.send('hello')
        assert re.fullmatch(rf'\[\d\d:\d\d:\d\d\] Guest{ws.local_address[1]}: hello', str(ws.recv(BOUND)))
    bad = httpx.get(url, headers={'host': 'a&b'}, timeout=BOUND, trust_env=False)
    assert bad.status_code in (400, 403)  # 403: the gate before the app


def test_chat_in_process() -> None:
    space: dict[str, Any] = {'__name__': 'chat'}
    exec(CHAT.replace('{port}', '0').replace('{reload}', 'True'), space)
    with live(space['app']) as c: chats(c.server.url)


@contextmanager
def script(tmp_path: Path, source: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    "Run a program, or a command; gives the address that it prints."
    file = tmp_path/'chat_script.py'
    file.write_text(source)
    command = command or (str(file),)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               cwd=tmp_path, start_new_session=True)
    said = ''
    timer = threading.Timer(30, process.kill)
    timer.start()
    try:
        assert process.stdout
        while not (found := re.search(r'serves (http://\S+)', said)):
            line = process.stdout.readline()
            assert line, f'the script ended: {said}'
            said += line
        yield process, found[1]
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=BOUND)[0]
        assert process.returncode == 0, said + rest
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_chat_as_a_script(tmp_path: Path) -> None:
    with script(tmp_path, CHAT.replace('{port}', '0').replace('{reload}', 'False')) as (_, url): chats(url)


def test_chat_as_a_script_with_reload(tmp_path: Path) -> None:
    with script(tmp_path, CHAT.replace('{port}', '0').replace('{reload}', 'True')) as (_, url): chats(url)


def test_chat_as_a_notebook_that_the_command_runs(tmp_path: Path) -> None:
    cell = {'cell_type': 'code', 'id': 'a', 'metadata': {}, 'outputs': [], 'execution_count': None}
    cell['source'] = CHAT.replace('{port}', '8000').replace('{reload}', 'True')
    notebook = {'cells': [cell], 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    (tmp_path/'chat.ipynb').write_text(json.dumps(notebook))
    with script(tmp_path, '', '-m', 'nbws', 'run', 'chat.ipynb', '--port', '0') as (_, url): chats(url)


def test_several_addresses(tmp_path: Path) -> None:
    path = tmp_path/'s.sock'
    source = f'''
        from nbws.tremolo import Tremolo
        app = Tremolo()
        app.listen(0, '127.0.0.1')
        app.listen({str(path)!r})
        @app.route('/')
        async def page(**_): return 'here'
        app.run()
        '''
    with script(tmp_path, textwrap.dedent(source)) as (_, url):
        assert httpx.get(url, timeout=BOUND, trust_env=False).text == 'here'
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=BOUND) as c:
            assert c.get('http://x/').text == 'here'


def test_run_needs_an_address() -> None:
    with pytest.raises(ValueError, match='listen'): Tremolo().run()
    with pytest.raises(TypeError, match="no option 'client_max_bodysize'"):
        Tremolo().run('127.0.0.1', 0, client_max_bodysize=5)
    app = Tremolo()
    assert (app.listen(1), app.listen(1)) == (True, False)


def test_run_says_what_is_wrong(tmp_path: Path, hybrid: Tremolo) -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken, pytest.raises(SystemExit, match='already in use'):
        hybrid.run('127.0.0.1', taken.getsockname()[1])
    with pytest.raises(SystemExit, match='does not exist'):
        Tremolo().run('127.0.0.1', 0, ssl={'cert': str(tmp_path/'no.pem')})


@pytest.fixture
def cell(monkeypatch) -> Iterator[Callable[[str], str]]:
    "Runs source in an IPython shell, as a notebook does, and gives what it printed."
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config
    monkeypatch.setattr(notebook, 'PORT', 0)
    shell = InteractiveShell(config=Config(HistoryManager={'enabled': False}))
    monkeypatch.setattr('IPython.get_ipython', lambda: shell)
    before = sys.modules['__main__']
    sys.modules['__main__'] = shell.user_module

    def run(source: str) -> str:
        with capture_output() as said: shell.run_cell(source).raise_error()
        return said.stdout

    yield run
    notebook.stop()
    sys.modules['__main__'] = before


def test_chat_in_a_cell(cell: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.tremolo.running.told', set())
    source = CHAT.replace('{port}', '8000').replace('{reload}', 'True')
    said = cell(source)
    assert 'host, port, reload and worker_num are ignored here' in said
    assert len(notebook.SERVED) == 1
    chats(notebook.SERVED[0].server.url)
    url = notebook.SERVED[0].server.url
    again = cell(source)
    assert 'ignored' not in again
    assert [s.server.url for s in notebook.SERVED] == [url]
    chats(url)


def test_under_asgi() -> None:
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def start(**_): seen.append('start')
    @app.on_worker_stop
    async def stop(**_): seen.append('stop')
    @app.on_connect
    async def connected(**_): seen.append('connect')
    @app.on_close
    async def closed(**_): seen.append('close')
    @app.route('/')
    async def page(request, websocket=None):
        yield b'hello '
        yield request.host

    async def drive() -> list[dict[str, Any]]:
        inbox, sent = asyncio.Queue(), []
        async def send(message): sent.append(message)
        lifespan = asyncio.ensure_future(app({'type': 'lifespan', 'asgi': {'version': '3.0'}}, inbox.get, send))
        await inbox.put({'type': 'lifespan.startup'})
        requests: asyncio.Queue[Any] = asyncio.Queue()
        await requests.put({'type': 'http.request', 'body': b''})
        scope = {'type': 'http', 'method': 'GET', 'path': '/', 'query_string': b'',
                 'headers': [(b'host', b'localhost')], 'scheme': 'http', 'http_version': '1.1',
                 'client': ('1.2.3.4', 5), 'server': ('h', 80)}
        await asyncio.wait_for(app(scope, requests.get, send), BOUND)
        await inbox.put({'type': 'lifespan.shutdown'})
        await asyncio.wait_for(lifespan, BOUND)
        return sent
    sent = asyncio.run(drive())
    assert b''.join(m.get('body', b'') for m in sent) == b'hello localhost'
    assert seen == ['start', 'connect', 'close', 'stop']


def test_seam_without_a_transport() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(**_): raise HTTPRedirect(location='/x')
    @app.on_request
    async def bad(request, **_):
        if request.query_string == 'bad': raise BadRequest
    async def drive() -> list[int]:
        return [(await app.http(Request('GET', t))).status_code for t in ('/', '/?bad')]
    assert asyncio.run(drive()) == [302, 400]
    space: dict[str, Any] = {'__name__': 'chat'}
    exec(CHAT.replace('{port}', '0').replace('{reload}', 'True'), space)
    assert asyncio.run(space['app'].http(Request('GET', '/', {'host': 'a&b'}))).status_code == 400
