"""Which pages may post and open sockets, and what a reverse proxy may say of its visitors; for every kind of app."""
from __future__ import annotations

import asyncio
import http.client
import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bound import until
from processes import listens, nbws, nginx_command, running
from raw import TIMEOUT, Raw, handshake, text

from nbws import App
from nbws.core.errors import NbwsError, StartError
from nbws.server.listener import Server, load_tls
from nbws.tremolo import Tremolo


def ours(**options: Any) -> Any:
    app = App(secret_key='of this test', **options)
    @app.route('/')
    async def told(request: Any, session: dict[str, Any]) -> str:
        session['seen'] = True
        return f'{request.url} {request.client.host}'
    @app.ws('/ws')
    async def talk(msg: str, ws: Any) -> str: return f'{msg} {ws.client.host}'
    return app


def asgi(**options: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    async def told(request: Any) -> Any: return PlainTextResponse(f'{request.url} {request.client.host}')
    async def talk(ws: Any) -> None:
        await ws.accept()
        await ws.close()
    return Starlette(routes=[Route('/', told, methods=['GET', 'POST']), WebSocketRoute('/ws', talk)])


def wsgi(**options: Any) -> Any:
    from flask import Flask, request
    app = Flask('told')
    @app.route('/', methods=['GET', 'POST'])
    def told() -> str: return f'{request.url} {request.remote_addr}'
    return app


def tornado(**options: Any) -> Any:
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler
    class Told(RequestHandler):
        def get(self) -> None: self.write(f'{self.request.full_url()} {self.request.remote_ip}')
        post = get
    class Talk(WebSocketHandler):
        def on_message(self, message: Any) -> None: self.write_message(message)
    return Application([('/', Told), ('/ws', Talk)])


def tremolo(**options: Any) -> Any:
    app = Tremolo(secret_key='of this test', **options)
    @app.route('/')
    async def told(request: Any) -> Any: return f'{request.request.url} {request.ip.decode()}'
    @app.route('/ws')
    async def talk(websocket: Any) -> None: await websocket.accept()
    return app


KINDS = [ours, asgi, wsgi, tornado, tremolo]
SOCKETS = [ours, asgi, tornado, tremolo]


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext, Path]:
    "The contexts of a server and of a client that trusts it, and the folder with its files."
    if not shutil.which('openssl'): pytest.skip('openssl makes the certificate')
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                    '-keyout', folder/'key.pem', '-out', folder/'cert.pem'], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=str(folder/'cert.pem'))
    return load_tls(folder/'cert.pem', folder/'key.pem'), trusting, folder


def served(app: Any, **options: Any) -> Server:
    "A server for any kind of application."
    from nbws.adapters.detect import as_app
    return Server(as_app(app), **options)


def asked(server: Server, tls: Any = None, method: str = 'POST', **fields: str) -> tuple[int, str]:
    "The answer to a request, or to a handshake: status and text."
    with Raw(server, tls) as raw:
        if method == 'WS': raw.send(handshake('/ws', **fields))
        else:
            lines = ''.join(f'{k.replace("_", "-")}: {v}\r\n' for k, v in {'host': 'localhost', **fields}.items())
            raw.send(f'{method} / HTTP/1.1\r\n{lines}content-length: 0\r\nconnection: close\r\n\r\n'.encode())
        status, _, body = raw.response()
        return status, body.decode()


# ---------------------------------------------------------------- origins

PLAIN = { # Host, Origin, and whether it is one of a server without TLS
    ('localhost', 'http://localhost'): True, ('localhost:80', 'http://localhost'): True,
    ('localhost', 'http://localhost:80'): True, ('localhost:443', 'https://localhost'): True,
    ('localhost', 'https://localhost'): True, # TLS may end in front of us
    ('localhost', 'http://localhost:443'): False, ('localhost:443', 'http://localhost'): False,
    ('localhost:80', 'https://localhost'): False, ('localhost', 'ftp://localhost'): False,
    ('localhost', 'null'): False, ('localhost', 'file://'): False, ('localhost', 'http://[::1'): False,
    ('x', 'https://x'): True, ('localhost', 'https://x'): True, # NBWS_ALLOWED_HOSTS says x, for Hosts and Origins
}
TLS = {('localhost', 'https://localhost'): True, ('localhost:443', 'https://localhost'): True,
       ('localhost', 'https://localhost:443'): True, ('localhost', 'http://localhost'): False,
       ('localhost:443', 'http://localhost:443'): False, ('localhost', 'https://x'): True,
       ('localhost', 'http://x'): False}


@pytest.mark.parametrize('kind', KINDS)
def test_origins(kind: Any, certificate: Any) -> None:
    with served(kind()) as plain, served(kind(), ssl=certificate[0]) as tls:
        for server, context, table in ((plain, None, PLAIN), (tls, certificate[1], TLS)):
            for (host, origin), right in table.items():
                for method in ['POST'] + ['WS'] * (kind in SOCKETS):
                    status, said = asked(server, context, method, host=host, origin=origin)
                    assert status == ((101 if method == 'WS' else 200) if right else 403), (method, host, origin, said)


@pytest.mark.parametrize('origin', ['file://', 'capacitor://localhost', 'chrome-extension://abcdef', 'null',
                                    'vscode-webview://1f2e', 'http://localhost:3000', 'tauri://localhost'])
def test_the_advice_helps(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(ours()) as server:
        status, said = asked(server, origin=origin)
        assert status == 403
        assert f"App(allowed_origins=['{origin}'])" in said
        assert 'NBWS_ALLOWED_ORIGINS' in said
    with served(ours(allowed_origins=[origin])) as server:
        assert (asked(server, origin=origin)[0], asked(server, method='WS', origin=origin)[0]) == (200, 101)
        assert asked(server, origin='capacitor://evil')[0] == 403
    monkeypatch.setenv('NBWS_ALLOWED_ORIGINS', f'https://other.example, {origin}')
    for kind in KINDS:
        with served(kind()) as server:
            assert asked(server, origin=origin)[0] == 200
            if kind in SOCKETS: assert asked(server, method='WS', origin=origin)[0] == 101


def test_a_page_without_tls_is_told_so(certificate: Any) -> None:
    with served(ours(), ssl=certificate[0]) as server:
        assert 'open it by https' in asked(server, certificate[1], origin='http://localhost')[1]


def test_allowed_origins_that_are_none() -> None:
    for wrong in ('chat.example', 'https://chat.example/x'):
        with pytest.raises(NbwsError, match='allowed_origins takes origins such as'): App(allowed_origins=[wrong])
    with pytest.raises(NbwsError, match='allowed_hosts takes names'): App(allowed_hosts=['https://chat.example'])
    assert App(allowed_hosts='chat.example').allowed_hosts == ('chat.example',)


def test_under_an_asgi_server(monkeypatch: pytest.MonkeyPatch) -> None:
    "The same gate, whatever the server."
    monkeypatch.delenv('NBWS_ALLOWED_HOSTS')
    asyncio.run(_under_an_asgi_server())

async def _under_an_asgi_server() -> None:
    def scope(origin: str, scheme: str, host: str) -> dict[str, Any]:
        return {'type': 'http', 'method': 'POST', 'path': '/', 'scheme': scheme, 'client': ('192.0.2.1', 5),
                'server': ('127.0.0.1', 80), 'headers': [(b'host', host.encode()), (b'origin', origin.encode())]}
    async def status(**about: str) -> int:
        sent: list[Any] = []
        body = [{'type': 'http.request', 'body': b'', 'more_body': False}]
        async def receive() -> Any: return body.pop() if body else await asyncio.Event().wait() # The client stays
        async def send(message: Any) -> None: sent.append(message)
        await app(scope(**about), receive, send)
        return int(sent[0]['status'])
    app = ours(allowed_origins=['file://'])
    assert await status(origin='http://chat.example', scheme='https', host='chat.example') == 403
    assert await status(origin='https://chat.example', scheme='https', host='chat.example:443') == 200
    assert await status(origin='file://', scheme='https', host='chat.example') == 200
    await app.shutdown()


# ---------------------------------------------------------------- reverse proxies

class Proxy:
    "A reverse proxy that ends TLS, and adds what it knows of the visitor. One exchange or socket for a connection."
    def __init__(self, to: int, tls: ssl.SSLContext) -> None:
        self.to, self.tls = to, tls
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.port = self.listening.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def __enter__(self) -> Proxy: return self
    def __exit__(self, *error: object) -> None:
        with suppress_os(): self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for t in self.threads: t.join(TIMEOUT)

    def _accept(self) -> None:
        while True:
            try: accepted, peer = self.listening.accept()
            except OSError: return
            self.threads.append(threading.Thread(target=self._serve, args=(accepted, peer[0])))
            self.threads[-1].start()

    def _serve(self, accepted: socket.socket, peer: str) -> None:
        accepted.settimeout(TIMEOUT)
        with suppress_os(), self.tls.wrap_socket(accepted, server_side=True) as visitor, \
                socket.create_connection(('127.0.0.1', self.to), TIMEOUT) as app:
            head = b''
            while b'\r\n\r\n' not in head: head += visitor.recv(65536)
            lines = head.split(b'\r\n')
            said = [v.partition(b':')[2] for v in lines if v.lower().startswith(b'x-forwarded-for:')]
            kept = [v for v in lines if not v.lower().startswith(b'x-forwarded-')]
            added = [b'X-Forwarded-For: ' + b','.join([*said, peer.encode()]), b'X-Forwarded-Proto: https']
            app.sendall(b'\r\n'.join([kept[0], *added, *kept[1:]]))
            while True:
                ready = [visitor] if visitor.pending() else select.select([visitor, app], [], [], TIMEOUT)[0]
                for one in ready:
                    data = one.recv(65536)
                    if not data: return
                    (app if one is visitor else visitor).sendall(data)


@contextmanager
def suppress_os() -> Iterator[None]:
    try: yield
    except OSError: pass


def visit(proxy: Any, tls: Any, method: str = 'GET', visitor: str = '127.0.0.9', **fields: str) -> Any:
    "Ask through a proxy, as a visitor at another address; the answer and its text."
    at = http.client.HTTPSConnection('localhost', proxy.port, timeout=TIMEOUT, context=tls, source_address=(visitor, 0))
    with closing(at):
        known = {'host': 'localhost', 'connection': 'close'}
        at.request(method, '/', headers={**known, **{k.replace('_', '-'): v for k, v in fields.items()}})
        answer = at.getresponse()
        return answer, answer.read().decode()


SPOOFED = {'x_forwarded_for': '6.6.6.6', 'x_forwarded_proto': 'gopher', 'x_forwarded_host': 'evil.example',
           'x_forwarded_prefix': '/evil', 'forwarded': 'for=6.6.6.6;proto=gopher;host=evil.example',
           'x_real_ip': '6.6.6.6'}


@pytest.mark.parametrize('kind', KINDS)
def test_behind_a_proxy(kind: Any, certificate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    "By default 127.0.0.1 is trusted, as uvicorn does; the Host stays, and a visitor's own word does not count."
    monkeypatch.delenv('FORWARDED_ALLOW_IPS', raising=False)
    with served(kind()) as server, Proxy(server.port, certificate[0]) as proxy:
        for fields in ({}, SPOOFED):
            answer, said = visit(proxy, certificate[1], **fields)
            assert said == 'https://localhost/ 127.0.0.9'
            if kind is ours: assert '; Secure' in answer.headers['set-cookie']
        assert visit(proxy, certificate[1], 'POST', origin='http://localhost')[0].status == 403 # Known to have TLS now
        assert visit(proxy, certificate[1], 'POST', origin='https://localhost')[0].status == 200
    with served(kind(), forwarded_allow_ips='') as server, Proxy(server.port, certificate[0]) as proxy:
        answer, said = visit(proxy, certificate[1])
        assert said == 'http://localhost/ 127.0.0.1'
        if kind is ours: assert 'Secure' not in answer.headers['set-cookie']


@pytest.mark.parametrize('kind', KINDS)
def test_a_visitor_is_not_believed(kind: Any) -> None:
    with served(kind(), forwarded_allow_ips='127.0.0.2, 10.0.0.0/8') as server:
        told = asked(server, method='GET', x_forwarded_for='6.6.6.6', x_forwarded_proto='https')
        assert told == (200, 'http://localhost/ 127.0.0.1')


def test_a_socket_behind_a_proxy() -> None:
    with served(ours()) as server, Raw(server) as raw:
        raw.open('/ws', x_forwarded_for='6.6.6.6, 203.0.113.7', x_forwarded_proto='wss', origin='https://localhost')
        raw.send(text('{"msg": "I am"}'))
        assert raw.frame()[2] == b'I am 203.0.113.7'


TOLD = { # Trusted, X-Forwarded-For, X-Forwarded-Proto, and what becomes of it
    ('127.0.0.1', '203.0.113.7', 'https'): 'https://localhost/ 203.0.113.7',
    ('127.0.0.0/8', '6.6.6.6, 203.0.113.7, 127.0.0.3', 'https'): 'https://localhost/ 203.0.113.7',
    ('127.0.0.1', '[2001:db8::7]:4711', 'https'): 'https://localhost/ 2001:db8::7',
    ('127.0.0.1', '203.0.113.7:4711', 'http'): 'http://localhost/ 203.0.113.7',
    ('127.0.0.1', '127.0.0.1', 'https'): 'https://localhost/ 127.0.0.1',
    ('127.0.0.1', '', 'https'): 'https://localhost/ 127.0.0.1',
    ('127.0.0.1', '203.0.113.7', 'https, http'): 'http://localhost/ 203.0.113.7',
    ('*', '203.0.113.7, 10.0.0.1', 'https'): 'https://localhost/ 203.0.113.7',
    ('', '203.0.113.7', 'https'): 'http://localhost/ 127.0.0.1',
    ('::1', '203.0.113.7', 'https'): 'http://localhost/ 127.0.0.1',
}


@pytest.mark.parametrize(('trusted', 'told_for', 'told_proto'), TOLD)
def test_uvicorn_agrees(trusted: str, told_for: str, told_proto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    "The same fields from 127.0.0.1 say the same to uvicorn's own middleware."
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
    seen: dict[str, Any] = {}
    async def inner(scope: Any, receive: Any, send: Any) -> None: seen.update(scope)
    fields = [(b'x-forwarded-for', told_for.encode()), (b'x-forwarded-proto', told_proto.encode())]
    scope: Any = {'type': 'http', 'scheme': 'http', 'client': ('127.0.0.1', 5), 'headers': fields}
    asyncio.run(ProxyHeadersMiddleware(inner, trusted)(scope, None, None)) # type: ignore[arg-type]
    expected = TOLD[trusted, told_for, told_proto]
    assert f'{seen["scheme"]}://localhost/ {seen["client"][0]}' == expected
    monkeypatch.setenv('FORWARDED_ALLOW_IPS', trusted)
    with served(ours()) as server:
        assert asked(server, method='GET', x_forwarded_for=told_for, x_forwarded_proto=told_proto) == (200, expected)


@pytest.mark.parametrize('wrong', ['10.0.0.1/8', 'proxy.internal', '127.0.0.1 10.0.0.1'])
def test_addresses_that_are_none(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match='IP addresses, networks'): served(ours(), forwarded_allow_ips=wrong)
    monkeypatch.setenv('FORWARDED_ALLOW_IPS', wrong)
    with pytest.raises(StartError, match='IP addresses, networks'): served(ours())


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_the_command(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'told.py').write_text("from nbws import App\napp = App()\n@app.get('/')\n"
                                    "def home(request): return f'{request.url.scheme} {request.client.host}'\n")
    for option, expected in (('192.0.2.1', 'http 127.0.0.1'), ('127.0.0.0/8', 'https 203.0.113.7')):
        command = nbws('run', 'told', '--port', '0', '--forwarded-allow-ips', option, *more)
        with running(command, cwd=tmp_path) as process:
            process.serves()
            at = http.client.HTTPConnection('127.0.0.1', process.port, timeout=TIMEOUT)
            with closing(at):
                at.request('GET', '/', headers={'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https'})
                assert at.getresponse().read().decode() == expected
            assert process.stop() == 0
    done = subprocess.run(nbws('run', 'told', '--forwarded-allow-ips', 'proxy'), cwd=tmp_path, capture_output=True,
                          text=True, timeout=TIMEOUT)
    assert (done.returncode, 'IP addresses, networks' in done.stderr) == (1, True)


NGINX = """
daemon off; master_process off; pid {here}/pid; error_log stderr;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3; uwsgi_temp_path {here}/4;
  scgi_temp_path {here}/5;
  server {{
    listen unix:{here}/front ssl;
    ssl_certificate {here}/cert.pem; ssl_certificate_key {here}/key.pem;
    set_real_ip_from unix:;
    location / {{
      proxy_pass http://127.0.0.1:{to};
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For "$http_x_forwarded_for, 203.0.113.7";
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


def test_nginx(certificate: Any) -> None:
    nginx = nginx_command()
    folder = certificate[2]
    with served(ours()) as server:
        (folder/'nginx.conf').write_text(NGINX.format(here=folder, to=server.port))
        with running([nginx, '-p', str(folder), '-e', 'stderr', '-c', str(folder/'nginx.conf')]):
            until(lambda: listens(folder/'front'), 'nginx')
            with socket.socket(socket.AF_UNIX) as own:
                own.settimeout(TIMEOUT)
                own.connect(str(folder/'front'))
                with certificate[1].wrap_socket(own, server_hostname='localhost') as visitor:
                    visitor.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\n'
                                    b'X-Forwarded-Proto: gopher\r\nConnection: close\r\n\r\n')
                    answer = b''.join(iter(lambda: visitor.recv(65536), b''))
            assert answer.endswith(b'https://localhost/ 203.0.113.7')
            assert b'; Secure' in answer
