"""Ports and paths: what cannot be bound, one server at a time, no child that keeps them. And where a redirect leads."""
from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import BOUND, nbws, running
from raw import Raw, close, serving, text

from nbws import App
from nbws.core.errors import StartError
from nbws.core.request import Request
from nbws.server.listener import Server
from nbws.tremolo import Tremolo

GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.mark.parametrize(('options', 'words'), [
    ({'host': 'no.such.host.invalid'}, 'the host is not known'), ({'host': 'a' * 70}, 'the host is not known'),
    ({'host': '192.0.2.1'}, 'has no such address'),
    ({'port': 70000}, 'from 0 to 65535'), ({'port': -1}, 'from 0 to 65535'),
    ({'port': '80'}, "port '80'.*from 0 to 65535"),
    ({'unix_socket': '/no/such/folder/socket'}, '/no/such/folder'),
])
def test_what_cannot_be_started(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words): Server(App(), **options).start()


def test_a_port_that_is_taken() -> None:
    with serving() as server:
        with pytest.raises(StartError, match=f'port {server.port} on 127.0.0.1 is already in use') as e:
            Server(App(), port=server.port).start()
        assert e.value.errno == errno.EADDRINUSE


def test_unix_socket(uvloop: bool, tmp_path: Path) -> None:
    path = tmp_path/'socket'
    for _ in range(2):
        with serving(unix_socket=path, uvloop=uvloop) as server:
            assert path.stat().st_mode & 0o777 == 0o600
            with Raw(server) as raw:
                assert raw.get(GET)[0] == 200
                raw.open()
                raw.send(text('a') + close())
                assert raw.events() == ['a', ('close', 1000, '')]
        assert not path.exists()
        stale = socket.socket(socket.AF_UNIX)  # As a killed server leaves it
        stale.bind(str(path))
        stale.close()


def test_a_unix_socket_that_was_taken_over(tmp_path: Path) -> None:
    path = tmp_path/'socket'
    with serving(unix_socket=path) as first:
        path.unlink()
        with serving(unix_socket=path) as second:
            first.stop()  # It must not unlink what is not its own any more
            with Raw(second) as raw: assert raw.get(GET)[0] == 200


def test_sockets_from_outside() -> None:
    bound = socket.create_server(('127.0.0.1', 0))
    with serving(sockets=[bound]) as server:
        assert server.port == bound.getsockname()[1]
        with Raw(server) as raw: assert raw.get(GET)[0] == 200


@pytest.mark.parametrize(('host', 'url'), [('', '127.0.0.1'), ('0.0.0.0', '127.0.0.1'), ('localhost', 'localhost')])
def test_urls(host: str, url: str) -> None:
    with serving(host=host) as server:
        assert server.url == f'http://{url}:{server.port}'
        with Raw(server) as raw: assert raw.get(GET)[0] == 200


def test_a_unix_socket_that_is_served_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path/'socket'
    with Server(App(), unix_socket=path):
        for _ in range(2):
            with pytest.raises(StartError, match='a server listens there') as error:
                Server(App(), unix_socket=path).start()
            assert error.value.errno == errno.EADDRINUSE
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, timeout=BOUND) as client:
            assert client.get('http://x/').status_code == 404
    with Server(App(), unix_socket=path): assert path.is_socket()  # It was let go


def test_one_with_a_full_backlog_is_served_too(tmp_path: Path) -> None:
    path = tmp_path/'socket'
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        try:
            for s in waiting:
                s.setblocking(False)
                s.connect_ex(str(path))
            with pytest.raises(StartError, match='a server listens there'): Server(App(), unix_socket=path).start()
            assert path.is_socket()
        finally:
            for s in waiting: s.close()


def test_what_is_no_socket_is_left(tmp_path: Path) -> None:
    (tmp_path/'file').write_text('mine')
    with pytest.raises(StartError): Server(App(), unix_socket=tmp_path/'file').start()
    assert (tmp_path/'file').read_text() == 'mine'


def test_the_command_and_tremolo_say_so(tmp_path: Path) -> None:
    path = tmp_path/'socket'
    (tmp_path/'program.py').write_text('from nbws.tremolo import Tremolo\napp = Tremolo()\n'
                                       f'if __name__ == "__main__": app.listen({str(path)!r}); app.run()\n')
    with Server(App(), unix_socket=path):
        for command in nbws('run', 'program:app', '--bind', f'unix:{path}'), [sys.executable, 'program.py']:
            with running(command, cwd=tmp_path) as process:
                assert process.ends() == 1
                assert 'a server listens there' in process.output
                assert 'Traceback' not in process.output


FORKS = '''
import http.client, multiprocessing, os, socket, sys, warnings
warnings.simplefilter('ignore') # Of forking beside threads: that is what is tried here
from nbws import App
from nbws.server.listener import Server
from nbws.tremolo import Tremolo

app = App()
@app.get('/')
async def page(): return 'here'

def wait(read, write):
    os.close(write)
    os.read(read, 1) # Until the parent ends

if __name__ == '__main__':
    unix = sys.argv[2] if len(sys.argv) > 2 else None
    server = Server(app, unix_socket=unix, uvloop=False if sys.argv[1] != 'uvloop' else 'auto').start()
    def connect():
        s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        s.settimeout(20)
        s.connect(unix or ('127.0.0.1', server.port))
        return s
    client = connect()
    def ask():
        client.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')
        data = b''
        while not data.endswith(b'here'):
            piece = client.recv(9999)
            assert piece
            data += piece
    ask()
    read, write = os.pipe()
    if sys.argv[1] == 'multiprocessing':
        child = multiprocessing.get_context('fork').Process(target=wait, args=(read, write))
        child.start()
    elif not (pid := os.fork()):
        server.stop() # Nothing of it is here
        wait(read, write)
        os._exit(0)
    ask() # The parent's server serves as before
    server.stop()
    print('end of the client:', client.recv(99))
    client.close()
    try: connect().close()
    except OSError as e: print('nobody listens')
    if not unix: socket.create_server(('127.0.0.1', server.port)).close()
    print('path is there:', bool(unix and os.path.exists(unix)))
    os.close(write)
    if sys.argv[1] == 'multiprocessing': child.join()
    else: os.waitpid(pid, 0)
'''


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
@pytest.mark.parametrize('how', ['fork', 'multiprocessing', 'uvloop', 'unix'])
def test_a_forked_child_keeps_neither_port_nor_clients(tmp_path: Path, how: str) -> None:
    (tmp_path/'program.py').write_text(FORKS)
    more = [str(tmp_path/'socket')] if how == 'unix' else []
    run = subprocess.run([sys.executable, 'program.py', how, *more], cwd=tmp_path, capture_output=True, text=True,
                         timeout=2 * BOUND, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["end of the client: b''", 'nobody listens', 'path is there: False']


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_a_program_that_a_handler_starts_does_not_keep_the_port_of_workers(tmp_path: Path) -> None:
    (tmp_path/'program.py').write_text(textwrap.dedent('''
        import os, subprocess
        from nbws.common import *
        app = FastHTML()
        @app.get('/')
        def page():
            return str(subprocess.Popen(['sleep', '60'], close_fds=False, stdout=-3, stderr=-3).pid)
        '''))
    with running(nbws('run', 'program:app', '--port', '0', '--workers', '2'), cwd=tmp_path) as server:
        port = server.serves().port
        pid = int(httpx.get(f'http://127.0.0.1:{port}/', timeout=BOUND, trust_env=False).text)
        try:
            server.stop()
            socket.create_server(('127.0.0.1', port)).close()
        finally: os.kill(pid, 9)


TARGETS = ['//evil.example', '///evil.example', '/\\evil.example', '\\\\evil.example', '//evil.example?x=1',
           '/\\/evil.example', '//user@evil.example', '//[::1]:80']


@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('kind', [App, Tremolo])
@pytest.mark.parametrize('root', ['', '/base'])
def test_no_redirect_leads_to_another_host(target: str, kind: Any, root: str) -> None:
    without = target.replace('?', 'x/?') if '?' in target else target + 'x/'
    for pattern, asked in [('/{a:path}/', target), ('/{a:path}x', without)]:
        app = kind()
        @app.get(pattern)
        async def page(a: str) -> str: return a
        response = asyncio.run(app.http(Request('GET', asked, root_path=root)))
        where = response.header('location')
        if where is None: continue  # It was answered, or there is no such page
        assert where.startswith(f'{root}/')
        assert where[1:2] not in ('/', '\\'), where


def test_a_redirect_to_the_slash_leads_there() -> None:
    app = App()
    @app.get('/{a:path}/')
    async def page(a: str) -> str: return a
    for target, where in [('/a/b', '/a/b/'), ('/a//b?x=%2F', '/a//b/?x=%2F'), ('/%2Fa', '/%2Fa/')]:
        response = asyncio.run(app.http(Request('GET', target)))
        assert (response.status_code, response.header('location')) == (307, where)
