"""What passes through a real Jupyter server: streams, sockets of any size, close codes; and what it costs."""
from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import quote

import psutil
import pytest
from jupyter_server.extension.manager import ExtensionManager
from bound import BOUND, until
from jupyters import Answer, Jupyter, Kernel, ask
from live import ended
from tornado.web import Application
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nbws.jupyter.rendezvous import SERVER_VARIABLE

pytestmark = pytest.mark.usefixtures('clients_loop')
MIB = 2**20
APP = """
import asyncio, os
from nbws.common import *
from nbws.server.limits import Limits
app = FastHTML()
seen = {}

@app.get('/')
def home(req):
    seen['request'] = dict(req.headers), req.query_string, req.root_path, req.scheme, str(req.url), req.client.host
    req.set_cookie('mine', 'yes')
    req.set_cookie('_xsrf', 'evil')
    return 'the page'
@app.get('/told')
def told(): return JSONResponse(list(seen['request']))
@app.get('/away')
def away(): return RedirectResponse('/there')
@app.get('/events')
async def events(n: int):
    async def run():
        for i in range(n): yield f'data: {i}\\n\\n'
    return EventStream(run())
@app.get('/one')
async def one():
    async def run():
        yield 'data: first\\n\\n'
        await asyncio.sleep(60)
    return EventStream(run())
@app.get('/big')
async def big(n: int):
    async def run():
        for _ in range(n): yield bytes(2**20)
    return StreamingResponse(run(), media_type='application/octet-stream')
@app.post('/upload')
async def upload(req):
    n = 0
    async for chunk in req.stream(): n += len(chunk)
    return {'bytes': n}
@app.get('/script.js')
def script(): return Response('1', media_type='text/javascript')
@app.get('/breaks')
async def breaks():
    async def run():
        yield b'half'
        await asyncio.Event().wait()
    return StreamingResponse(run(), media_type='application/octet-stream')

@app.get('/exit')
async def exits(): os._exit(1)

@app.ws('/pipe')
async def pipe(websocket):
    await websocket.accept(websocket.request.subprotocols[0] if websocket.request.subprotocols else None)
    async for m in websocket:
        if isinstance(m, bytes): await websocket.send(str(len(m)))
        elif m.startswith('send'):
            n, size = map(int, m.split()[1:])
            for _ in range(n): await websocket.send(bytes(size))
        elif m.startswith('close'): await websocket.close(int(m.split()[1]), 'because')
        elif m == 'exit': os._exit(1)
        else: await websocket.send(m)
serve()
"""
SERVED = """
from nbws.notebook.served import SERVED
SERVED[0].server.limits = Limits(max_message=16 * 2**20, max_body=2**30)
"""


@pytest.fixture(scope='module')
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    made = Jupyter(tmp_path_factory.mktemp('jpserver'), '/user/alice/')
    try: yield made
    finally: made.stop()


@pytest.fixture(scope='module')
def kernel(jupyter: Jupyter) -> Kernel:
    made = Kernel(jupyter)
    made.run(APP + SERVED)
    return made


def get(kernel: Kernel, path: str, method: str = 'GET', body: bytes = b'', **fields: str) -> Any:
    login = {'authorization': f'token {kernel.jupyter.token}'}
    return ask(kernel.jupyter.port, method, kernel.base + path, body, **login, **fields)


def dial(kernel: Kernel, path: str = '/pipe', **options: Any) -> ClientConnection:
    login = {'Authorization': f'token {kernel.jupyter.token}'}
    return connect(f'ws://127.0.0.1:{kernel.jupyter.port}{kernel.base}{path}', additional_headers=login, max_size=None,
                   open_timeout=BOUND, close_timeout=BOUND, **{'compression': None, **options})


def test_a_closed_connection_says_so(kernel: Kernel) -> None:
    "Refused before its body is read, a request ends its connection; a proxy that keeps connections must be told."
    for fields, status in (({}, 403), ({'authorization': f'token {kernel.jupyter.token}'}, 200)):
        with closing(http.client.HTTPConnection('127.0.0.1', kernel.jupyter.port, timeout=BOUND)) as connection:
            connection.request('GET', f'{kernel.base}/', headers={'accept': 'application/json', **fields})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert (answer.getheader('connection') == 'close') == (status == 403)
            if status == 403: continue
            connection.request('GET', f'{kernel.base}/', headers=fields)
            assert connection.getresponse().read()


def test_what_the_app_sees(kernel: Kernel) -> None:
    "Where it is and who asks, and nothing that lets one into Jupyter, by whatever field it came."
    jupyter = kernel.jupyter
    secret = jupyter.token
    login = jupyter.log_in()
    xsrf = value(login, '_xsrf')
    cookie = f'{login}; jupyterhub-session-id=1; jupyterhub-user-alice=x; mine=2; theirs={secret}'
    referer = f'http://127.0.0.1:{jupyter.port}/?token={secret}&b=2'
    for field in ('authorization', 'x_token'):
        target = f'{kernel.base}/?token={secret}&a=1&_xsrf={quote(xsrf)}&other={secret}'
        with ask(jupyter.port, 'GET', target, cookie=cookie, referer=referer, x_forwarded_prefix='/forged',
                 x_custom='kept', x_xsrftoken=xsrf, x_csrftoken=masked_anew(xsrf),
                 **{field: f'Token {secret}'}) as answer:
            assert answer.status == 200
            cookies = [v for k, v in answer.fields if k == 'set-cookie']
        with get(kernel, '/told') as told: text = told.read().decode()
        assert secret not in text
        for name in ('username-', '_xsrf', 'x-xsrftoken', 'x-csrftoken', 'jupyterhub', 'x-nbws-secret', 'forged',
                     'theirs'):
            assert name not in text
        for kept in ('"cookie":"mine=2"', '"a=1"', 'b=2"', f'"{kernel.base}"', '"x-custom":"kept"', '"127.0.0.1"'):
            assert kept in text
    assert [c.partition(';')[0] for c in cookies] == ['mine=yes', '_xsrf=evil']
    assert all(f'Path={kernel.base}/' in c for c in cookies)  # Below the app's own path, where Jupyter's is not
    assert answer.field('x-content-type-options') == 'nosniff'
    assert "frame-ancestors 'self'" in answer.field('content-security-policy')


def value(cookies: str, name: str) -> str: return dict(c.split('=', 1) for c in cookies.split('; '))[name]


def masked_anew(xsrf: str) -> str:
    "The same XSRF value as another page of Jupyter's would have it."
    _, mask, masked, at = xsrf.split('|')
    flipped = bytes(b ^ 0xff for b in bytes.fromhex(masked)).hex()
    return f"2|{bytes(b ^ 0xff for b in bytes.fromhex(mask)).hex()}|{flipped}|{at}"


@pytest.mark.parametrize('proxied', [False, True], ids=['direct', 'jupyter-server-proxy'])
def test_what_an_app_sees_at_its_own_port(jupyter: Jupyter, proxied: bool) -> None:
    "Jupyter's cookies come there by themselves, its token through jupyter-server-proxy."
    kernel = Kernel(jupyter)
    where = ('from nbws.notebook.exposure import exposure_of\nfrom nbws.notebook.served import SERVED\n'
             's = SERVED[0].server\nprint(s.port, exposure_of(s).token)')
    at, token = kernel.run(APP.replace('serve()', 'serve(port=0)') + where).split()[-2:]
    port, base = (jupyter.port, f'{jupyter.base}proxy/{at}') if proxied else (int(at), '')
    cookie = f'nbws-{at}={token}; {jupyter.log_in()}; jupyterhub-session-id=1; mine=2; username-theme=dark'
    referer = f'http://127.0.0.1:{jupyter.port}/lab?token={jupyter.token}'
    with ask(port, 'GET', f'{base}/?token={jupyter.token}&token=own', cookie=cookie, referer=referer, x_custom='kept',
             authorization=f'token {jupyter.token}') as answer:
        assert answer.status == 200
    with ask(port, 'GET', f'{base}/told', cookie=cookie) as answer: told = answer.read().decode()
    for secret in (jupyter.token, 'username-127', '_xsrf', 'jupyterhub', f'nbws-{at}'): assert secret not in told
    for kept in ('"cookie":"mine=2; username-theme=dark"', '"token=own"', '"x-custom":"kept"'): assert kept in told


BEARER = """
from fastapi import Depends, FastAPI, WebSocket
from fastapi.security import HTTPBearer
app = FastAPI()
@app.get('/')
def home(credentials=Depends(HTTPBearer())): return credentials.credentials
@app.post('/csrf')
def csrf(request: __import__('fastapi').Request):
    fields = [request.headers.get(name) for name in ('x-csrftoken', 'x-xsrftoken')]
    return [*fields, request.cookies, str(request.query_params)]
@app.websocket('/ws')
async def ws(websocket: WebSocket, token: str):
    await websocket.accept()
    await websocket.send_text(f"{token} {websocket.headers.get('authorization')}")
from nbws import serve
serve(app)
"""


@pytest.fixture(scope='module')
def bearer(jupyter: Jupyter) -> Kernel:
    made = Kernel(jupyter)
    made.run(BEARER)
    return made


@pytest.mark.parametrize('scheme', ['Bearer', 'token'])
def test_an_apps_own_tokens(bearer: Kernel, scheme: str) -> None:
    "FastAPI's HTTPBearer, and a socket's ?token=: what is not Jupyter's arrives, beside what is Jupyter's."
    jupyter, login = bearer.jupyter, bearer.jupyter.log_in()
    for fields, target in (({'cookie': login}, '/'), ({}, f'/?token={jupyter.token}')):
        with ask(jupyter.port, 'GET', bearer.base + target, authorization=f'{scheme} the-apps', **fields) as answer:
            if scheme == 'Bearer': assert (answer.status, answer.read()) == (200, b'"the-apps"')
            else: assert (answer.status, b'Not authenticated' in answer.read()) == (401, True)  # FastAPI's answer
    url = f'ws://127.0.0.1:{jupyter.port}{bearer.base}/ws?token='
    fields = {'Cookie': login, 'Authorization': f'{scheme} the-apps'}
    with connect(f'{url}the-apps', additional_headers=fields, open_timeout=BOUND) as ws:
        assert ws.recv(BOUND) == f'the-apps {scheme} the-apps'
    fields = {'Authorization': f'{scheme} {jupyter.token}'}
    with connect(f'{url}the-apps', additional_headers=fields, open_timeout=BOUND) as ws:
        assert ws.recv(BOUND) == 'the-apps None'
    with pytest.raises(InvalidStatus, match='403'), connect(f'{url}the-apps'): pass


def test_an_apps_own_cookies_and_fields(bearer: Kernel) -> None:
    "Django's X-CSRFToken, a field called _xsrf, cookies that begin as Jupyter's do."
    jupyter, login = bearer.jupyter, bearer.jupyter.log_in()
    origin = f'http://127.0.0.1:{jupyter.port}'
    cookie = f'username-theme=dark; csrftoken=abc; {login}; jupyter-theme=light'
    with ask(jupyter.port, 'POST', f'{bearer.base}/csrf?_xsrf=mine&token=mine', cookie=cookie, origin=origin,
             x_csrftoken='abc', x_xsrftoken='def') as answer:
        told = json.loads(answer.read())
    assert told == ['abc', 'def', {'username-theme': 'dark', 'csrftoken': 'abc', 'jupyter-theme': 'light'},
                    '_xsrf=mine&token=mine']


TORNADO = """
from tornado.web import Application, RequestHandler
class Home(RequestHandler):
    def get(self): self.write(self.xsrf_token)
    def post(self): self.write(', '.join(sorted(self.request.cookies)))
app = Application([('/', Home)], xsrf_cookies=True)
from nbws import serve
serve(app, port=0)
"""


@pytest.mark.parametrize('direct', [False, True], ids=['proxied', 'direct'])
def test_a_tornado_applications_own_xsrf_check(jupyter: Jupyter, direct: bool) -> None:
    "By a field of the form and by a header; and Jupyter's value of the same name does not arrive."
    kernel = Kernel(jupyter)
    where = ('from nbws.notebook.exposure import exposure_of\nfrom nbws.notebook.served import SERVED\n'
             's = SERVED[0].server\nprint(s.port, exposure_of(s).token)')
    at, token = kernel.run(TORNADO + where).split()[-2:]
    port, base = (int(at), '') if direct else (jupyter.port, kernel.base)
    login = jupyter.log_in()
    if direct: login = f'nbws-{port}={token}; {login}'
    origin = f'http://127.0.0.1:{port}'
    with ask(port, 'GET', f'{base}/', cookie=login) as answer:
        assert answer.status == 200
        masked = answer.read().decode()
        own = next(v for k, v in answer.fields if k == 'set-cookie' and v.startswith('_xsrf=')).partition(';')[0]
        assert 'frame-ancestors' in answer.field('content-security-policy')  # Not our app, and framed as ours
    cookie = f'{own}; {login}'
    as_form = {'content_type': 'application/x-www-form-urlencoded'}
    for how in ({'x_xsrftoken': masked}, {'x_csrftoken': masked}):
        with ask(port, 'POST', f'{base}/', cookie=cookie, origin=origin, **how) as answer:
            assert (answer.status, answer.read()) == (200, b'_xsrf')
    body = f'_xsrf={quote(masked)}'.encode()
    with ask(port, 'POST', f'{base}/', body, cookie=cookie, origin=origin, **as_form) as answer:
        assert (answer.status, answer.read()) == (200, b'_xsrf')
    body = f"_xsrf={quote(value(login, '_xsrf'))}".encode()
    with ask(port, 'POST', f'{base}/', body, cookie=login, origin=origin, **as_form) as answer:
        assert answer.status == 403  # With Jupyter's alone there is none


class FakeHub(BaseHTTPRequestHandler):
    "The one question that a JupyterHub's servers ask: whose token is this?"
    known: ClassVar = {'of-alice': ['access:servers'], 'of-bob': [], 'of-the-server': ['access:servers']}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        token = self.headers['Authorization'].removeprefix('token ')
        self.asked.append(token)
        found = token in self.known
        body = json.dumps({'name': 'alice', 'kind': 'user', 'admin': False, 'scopes': self.known.get(token)})
        self.send_response(200 if found else 403)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None: pass


@pytest.fixture
def under_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jupyter]:
    "A server with JupyterHub's own identity provider."
    hub = ThreadingHTTPServer(('127.0.0.1', 0), FakeHub)
    thread = threading.Thread(target=hub.serve_forever, args=(.05,))
    thread.start()
    for name, text in {'API_URL': f'http://127.0.0.1:{hub.server_port}/hub/api', 'API_TOKEN': 'of-the-server',
                       'USER': 'alice', 'CLIENT_ID': 'jupyterhub-user-alice', 'SERVICE_PREFIX': '/user/alice/',
                       'SERVER_NAME': '', 'OAUTH_ACCESS_SCOPES': '["access:servers"]', 'BASE_URL': '/'}.items():
        monkeypatch.setenv(f'JUPYTERHUB_{name}', text)
    (tmp_path/'config').mkdir(mode=0o700)
    provider = 'from jupyterhub.singleuser.extension import JupyterHubIdentityProvider as Hubs\n'
    (tmp_path/'config'/'jupyter_server_config.py').write_text(f'{provider}c.ServerApp.identity_provider_class = Hubs\n')
    try:
        made = Jupyter(tmp_path, '/user/alice/', '--ServerApp.allow_unauthenticated_access=True')
        made.token = 'of-alice'
        try: yield made
        finally: made.stop()
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join(BOUND)


def test_a_hubs_tokens_and_cookies(under_a_hub: Jupyter) -> None:
    "Anybody's tokens that the hub knows, and the server's own, stay outside; the app's arrive."
    kernel = Kernel(under_a_hub)
    kernel.run(BEARER)
    port, url = under_a_hub.port, f'{kernel.base}/csrf'
    cookie = 'jupyterhub-session-id=1; jupyterhub-user-alice=x; jupyterhub-hub-login=y; mine=2'
    origin, enters = f'http://127.0.0.1:{port}', {'authorization': 'token of-alice'}
    for token in ('of-alice', 'of-bob', 'of-the-server', 'the-apps'):
        arrives = token == 'the-apps'
        with ask(port, 'POST', f'{url}?token={token}&a=1', cookie=cookie, origin=origin, x_csrftoken=token,
                 **enters) as answer:
            header, _, cookies, query = json.loads(answer.read())
        assert cookies == {'mine': '2'}
        assert query == ('token=the-apps&a=1' if arrives else 'a=1')
        assert header == (token if arrives else None)
    with ask(port, 'GET', f'{kernel.base}/', **enters) as answer: assert answer.status == 401  # The app got no token
    under = {'Authorization': 'Bearer the-apps'}
    with pytest.raises(InvalidStatus, match='403'), connect(f'ws://127.0.0.1:{port}{kernel.base}/ws?token=of-bob',
                                                            additional_headers=under): pass
    with connect(f'ws://127.0.0.1:{port}{kernel.base}/ws?token=x&token=of-alice',
                 additional_headers={**under, 'Sec-Fetch-Mode': 'websocket'}) as ws:
        assert ws.recv(BOUND) == 'x Bearer the-apps'


def test_no_log_has_a_ticket(kernel: Kernel) -> None:
    "Nor another secret: Jupyter logs each address that it answers with 4xx, and where the visitor came from."
    jupyter = kernel.jupyter
    with get(kernel, '/~ticket', 'POST', origin=f'http://127.0.0.1:{jupyter.port}') as answer:
        ticket = json.loads(answer.read())['path'].strip('~/')
    at = f'http://127.0.0.1:{jupyter.port}{kernel.base}/~{ticket}/'
    target = f'{kernel.base}/~{ticket}/nothing?nbws_token=told'
    with ask(jupyter.port, 'GET', target, origin='null', referer=at) as answer:
        assert answer.status == 404
    with ask(jupyter.port, 'GET', f'{kernel.base}/~{ticket}', origin='http://evil.example', referer=at) as answer:
        assert answer.status == 403
    with get(kernel, f'/nothing?token={jupyter.token}', referer=at) as answer: assert answer.status == 404
    log = until(lambda: 'nothing?token' in (text := jupyter.log.read_text()) and text, 'the log')
    assert '/~[secret]/nothing' in log
    assert ticket not in log
    assert 'told' not in log
    assert jupyter.token not in log.partition(' /nothing')[2]


def test_redirects_and_types(kernel: Kernel) -> None:
    with get(kernel, '/away') as answer:
        assert (answer.status, answer.field('location')) == (307, f'{kernel.base}/there')
    with get(kernel, '/script.js') as answer: assert answer.field('content-type').startswith('text/javascript')
    with get(kernel, '/nothing') as answer: assert answer.status == 404
    with get(kernel, '') as answer: assert (answer.status, answer.field('location')) == (302, f'{kernel.base}/')
    with get(kernel, '/', 'HEAD') as answer: assert (answer.status, answer.read()) == (200, b'')
    with get(kernel, '/', 'DELETE') as answer: assert answer.status == 405


def test_an_upload(kernel: Kernel) -> None:
    with get(kernel, '/upload', 'POST', bytes(20 * MIB)) as answer: assert answer.read() == b'{"bytes":20971520}'


def test_an_event_comes_at_once(kernel: Kernel) -> None:
    "The stream goes on for a minute; its first event is there now. The app's end is closed when we leave."
    with get(kernel, '/one') as answer:
        data = answer.rest
        while b'first' not in data: data += answer.connection.recv(1000)


def test_an_answer_that_breaks_off_does_not_look_whole(jupyter: Jupyter) -> None:
    doomed = Kernel(jupyter)
    doomed.run(APP)
    with get(doomed, '/breaks') as answer:
        assert answer.status == 200
        raw = answer.rest
        while b'half' not in raw: raw += answer.connection.recv(65536)  # tornado drops what comes with the end
        with get(doomed, '/exit') as gone: assert gone.status == 502
        try:
            while piece := answer.connection.recv(65536): raw += piece
        except ConnectionResetError: pass
    assert not raw.endswith(b'0\r\n\r\n')


def test_close_codes_and_subprotocols(kernel: Kernel) -> None:
    for code in (1000, 1011, 3000, 4999):
        with dial(kernel) as ws:
            ws.send(f'close {code}')
            assert ended(ws) == (code, 'because')
    with dial(kernel, subprotocols=['chat', 'other']) as ws: assert ws.subprotocol == 'chat'
    with dial(kernel, compression='deflate') as ws:
        ws.send('x' * 10000)
        assert ws.recv(BOUND) == 'x' * 10000
    with pytest.raises(InvalidStatus) as refused: dial(kernel, '/nothing')
    assert refused.value.response.status_code == 404


def test_a_kernel_that_dies(jupyter: Jupyter) -> None:
    "Its sockets just end; the page gets 1012."
    doomed = Kernel(jupyter)
    doomed.run(APP)
    with dial(doomed) as ws:
        ws.send('exit')
        assert ended(ws)[0] == 1012


class Peak:
    "The most memory that the Jupyter server took meanwhile, in bytes above what it had."
    def __init__(self, jupyter: Jupyter) -> None: self.jupyter, self.peak, self.ended = jupyter, 0, threading.Event()

    def __enter__(self) -> Peak:
        self.before = self.jupyter.memory()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.ended.wait(.01): self.peak = max(self.peak, self.jupyter.memory() - self.before)

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()


def test_large_and_slow(kernel: Kernel) -> None:
    "64 MiB in messages of 1 MiB, one of 10 MiB, both each way; 10,000 events; a slow reader: 32 MiB at the most."
    with Peak(kernel.jupyter) as memory:
        with dial(kernel) as ws:
            for _ in range(64):
                ws.send(bytes(MIB))
                assert ws.recv(BOUND) == str(MIB)
            ws.send(f'send 64 {MIB}')
            assert sum(len(ws.recv(BOUND)) for _ in range(64)) == 64 * MIB
            ws.send(bytes(10 * MIB))
            assert ws.recv(BOUND) == str(10 * MIB)
            ws.send(f'send 1 {10 * MIB}')
            assert len(ws.recv(BOUND)) == 10 * MIB
        with get(kernel, '/events?n=10000') as answer: assert answer.read().count(b'data: ') == 10000
        with get(kernel, '/big?n=32') as answer: slowly(answer, 32 * MIB)
    assert memory.peak < 32 * MIB, f'{memory.peak / MIB:.0f} MiB'


def slowly(answer: Answer, size: int) -> None:
    "Leave the answer alone until whoever sends it has filled every buffer, then read it."
    time.sleep(1)  # There is nothing to wait for: nothing shall happen
    assert len(answer.read()) == size


def test_a_used_kernel_is_not_culled(kernel: Kernel) -> None:
    before = kernel.info()['last_activity']
    with get(kernel, '/script.js'): pass
    assert kernel.info()['last_activity'] > before


def test_two_apps_in_one_kernel(kernel: Kernel) -> None:
    "The one called `app` has the kernel's address, any other the one with its name."
    kernel.run("shop = FastHTML()\n@shop.get('/')\ndef hello(): return 'the shop'\nserve(shop)")
    with get(kernel, '~shop/') as answer: assert answer.read() == b'the shop'
    kernel.run('stop(shop)')
    with get(kernel, '~shop/') as answer: assert answer.status == 503
    with get(kernel, '/') as answer: assert answer.status == 200


def session(jupyter: Jupyter, path: str, kind: str = 'notebook', kernel: str = '') -> tuple[str, Kernel]:
    "A session, as a front end makes it when a notebook is opened: its id and its kernel."
    wish: dict[str, Any] = {'path': path, 'name': path.rpartition('/')[2], 'type': kind}
    wish['kernel'] = {'id': kernel} if kernel else {'name': 'python3'}
    made = jupyter.api('api/sessions', 'POST', wish)
    return made['id'], Kernel(jupyter, made['kernel']['id'])


def whereabouts(jupyter: Jupyter, where: str, path: str = '') -> tuple[str, bool, str]:
    target, login = f'{jupyter.base}nbws/{where}/~notebook', f'token {jupyter.token}'
    with ask(jupyter.port, 'GET', target + (f'?path={quote(path)}' if path else ''), authorization=login) as answer:
        assert (answer.status, answer.field('cache-control')) == (200, 'no-store')
        told = json.loads(answer.read())
    assert sorted(told) == ['kernel', 'notebook', 'path']
    return told['notebook'], told['kernel'], told['path']


GONE = '00000000-0000-0000-0000-000000000000'


def test_where_a_notebook_is_now(jupyter: Jupyter) -> None:
    "A page whose kernel has gone asks for that of its notebook."
    (jupyter.home/'a folder').mkdir()
    name = 'a folder/ä & b.ipynb'
    one, kernel = session(jupyter, name)
    assert whereabouts(jupyter, kernel.id) == (name, True, '')
    assert whereabouts(jupyter, GONE, name) == (name, True, '')
    kernel.run(APP)
    assert whereabouts(jupyter, kernel.id) == (name, True, kernel.base)
    assert whereabouts(jupyter, GONE, name) == (name, True, kernel.base)
    assert whereabouts(jupyter, f'{GONE}~shop', name) == (name, True, '')  # Another app, which is not served yet
    kernel.run("shop = FastHTML()\nserve(shop)")
    assert whereabouts(jupyter, f'{GONE}~shop', name) == (name, True, f'{kernel.base}~shop')
    assert whereabouts(jupyter, GONE, 'b.ipynb') == ('b.ipynb', False, '')
    assert whereabouts(jupyter, GONE) == ('', False, '')
    # Renamed: its kernel tells the new name, and the old name leads nowhere any more
    jupyter.api(f'api/sessions/{one}', 'PATCH', {'path': 'c.ipynb', 'name': 'c.ipynb'})
    assert whereabouts(jupyter, kernel.id, name) == ('c.ipynb', True, kernel.base)
    assert whereabouts(jupyter, GONE, name) == (name, False, '')
    # A console of the same kernel is not its notebook
    session(jupyter, 'console-1', 'console', kernel.id)
    assert whereabouts(jupyter, kernel.id) == ('c.ipynb', True, kernel.base)
    # Another kernel was chosen for the notebook: Jupyter ends the old one
    other = Kernel(jupyter)
    jupyter.api(f'api/sessions/{one}', 'PATCH', {'kernel': {'id': other.id}})
    assert whereabouts(jupyter, kernel.id, 'c.ipynb') == ('c.ipynb', True, '')
    other.run(APP)
    assert whereabouts(jupyter, kernel.id, 'c.ipynb') == ('c.ipynb', True, other.base)


def test_two_kernels_of_one_notebook(jupyter: Jupyter) -> None:
    "A page stays with its own as long as that serves; else it goes where serving began last."
    _, first = session(jupyter, 'e.ipynb')
    renamed, second = session(jupyter, 'f.ipynb')
    for kernel in (second, first): kernel.run(APP)
    jupyter.api(f'api/sessions/{renamed}', 'PATCH', {'path': 'e.ipynb', 'name': 'e.ipynb'})
    assert [whereabouts(jupyter, k, 'e.ipynb')[2] for k in (first.id, second.id, GONE)] == [
        first.base, second.base, first.base]
    first.run('stop()')
    assert whereabouts(jupyter, first.id, 'e.ipynb') == ('e.ipynb', True, second.base)


def test_a_kernel_without_a_notebook(jupyter: Jupyter) -> None:
    "A console, or a program that has started a kernel: there is nothing to go by when it ends."
    lone = Kernel(jupyter)
    lone.run(APP)
    assert whereabouts(jupyter, lone.id) == ('', True, lone.base)
    _, console = session(jupyter, 'console-2', 'console')
    assert whereabouts(jupyter, console.id) == ('', True, '')


def test_asking_does_not_keep_anything_alive(jupyter: Jupyter) -> None:
    "A forgotten tab asks for ever, and should not keep a notebook's next kernel from being culled."
    _, kernel = session(jupyter, 'd.ipynb')
    before = kernel.info()['last_activity']
    whereabouts(jupyter, GONE, 'd.ipynb')
    assert kernel.info()['last_activity'] == before


WINDOWS = """
import socket, types
from nbws.jupyter import rendezvous
rendezvous.socket = types.SimpleNamespace(**{k: v for k, v in vars(socket).items() if k != 'AF_UNIX'})
"""
TOLD = """
from nbws.notebook.exposure import exposure_of
server = SERVED[0].server
o = exposure_of(server)
print(o.address.path or '-', o.address.port, o.token)
print(app.doctor())
"""


def test_a_runtime_folder_that_keeps_no_modes(tmp_path: Path) -> None:
    "Another's folder, as NFS makes one for root: the two meet among the temporary files, and nothing is left there."
    jupyter = Jupyter(tmp_path)
    try:
        (jupyter.runtime/'nbws').write_text('no folder')
        kernel = Kernel(jupyter)
        told = kernel.run(APP + 'print(app.doctor())')
        assert 'The Jupyter server forwards' in told
        with get(kernel, '/') as answer: assert (answer.status, answer.read()) == (200, b'the page')
        with dial(kernel) as ws:
            ws.send('by another folder')
            assert ws.recv(BOUND) == 'by another folder'
        folders = kernel.run('from nbws.notebook.exposure import exposure_of\nfrom nbws.notebook.served import SERVED\n'
                             'folder = exposure_of(SERVED[0].server).file.parent\n'
                             'print(folder, folder.stat().st_mode & 0o777)\n'
                             'stop()').split()
        assert folders[1] == str(0o700)
        assert not Path(folders[0]).exists()
        # Where that is taken by somebody, too, there is a port; and the doctor says why
        Path(folders[0]).write_text('no folder')
        try: told = kernel.run('serve()\nprint(app.doctor())\nprint(exposure_of(SERVED[0].server).port)')
        finally: Path(folders[0]).unlink()
        assert 'keeps the modes of files' in told
        assert int(told.split()[-1]) > 0
        with get(kernel, '/') as answer: assert answer.status == 503
    finally: jupyter.stop()


def test_without_unix_sockets(jupyter: Jupyter) -> None:
    "A port on loopback, as on Windows, for the Jupyter server alone: it says the secret, and nobody else gets in."
    kernels = [Kernel(jupyter) for _ in range(2)]
    for kernel in kernels: assert kernel.run(WINDOWS + APP) == ''  # Not a word about a port that is in use
    kernel = kernels[0]
    path, port, token, *text = kernel.run('from nbws.notebook.served import SERVED' + TOLD).split()
    assert (path, 'for the Jupyter server alone' in ' '.join(text)) == ('-', True)
    folder = jupyter.runtime/'nbws'
    file = folder/f'{kernel.id}.json'
    assert not list(folder.glob(f'{kernel.id}*.sock'))
    assert file.stat().st_mode & 0o777 == 0o600
    secret = json.loads(file.read_text())['secret']
    with get(kernel, '/') as answer: assert (answer.status, answer.read()) == (200, b'the page')
    with get(kernel, '/told') as answer:
        told = answer.read().decode()
        assert f'"{kernel.base}"' in told
        assert secret not in told
    with get(kernel, '/away') as answer: assert answer.field('location') == f'{kernel.base}/there'
    with get(kernel, '/upload', 'POST', bytes(MIB)) as answer: assert answer.read() == b'{"bytes":1048576}'
    with dial(kernel) as ws:
        ws.send('through a port')
        assert ws.recv(BOUND) == 'through a port'
    with get(kernel, '/_nbws/doctor') as answer: assert b'This page came through the Jupyter server' in answer.read()
    for fields in ({}, {'x_nbws_secret': 'guessed'}, {'authorization': f'token {jupyter.token}'},
                   {'x_forwarded_prefix': '/x', 'x_nbws_secret': token}):
        for method, socket_ in (('GET', False), ('POST', False), ('GET', True)):
            with ask(int(port), method, '/', socket_=socket_, **fields) as answer: assert answer.status == 403
    kernel.run('stop()')
    with get(kernel, '/') as answer: assert answer.status == 503
    assert not file.exists()


# A module-wide extension would have to be installed anew for its absence to be tested: see e2e/test_proxy.py.


def round_trips(ws: ClientConnection) -> float:
    "The shortest, in milliseconds: on a busy machine many wait for their turn, and some do not."
    times = []
    for _ in range(300):
        start = time.perf_counter()
        ws.send('x')
        ws.recv(BOUND)
        times.append((time.perf_counter() - start) * 1000)
    return min(times)


@pytest.mark.timed
def test_latency(jupyter: Jupyter) -> None:
    """At most 1 ms over direct; and Jupyter's server spends less CPU time on it than under jupyter-server-proxy.

    Interleaved, in one run. The proxy's own delay is some 0.2 ms, so a timer or Nagle's algorithm on the way shows.
    """
    kernel = Kernel(jupyter)
    where = ('from nbws.notebook.exposure import exposure_of\n'
             'print(SERVED[0].server.port, exposure_of(SERVED[0].server).token)')
    told = kernel.run(APP.replace('serve()', 'serve(port=0)') + SERVED + where)
    port, token = told.split()[-2:]
    fastest = {name: float('inf') for name in ('direct', 'ours', 'theirs')}
    spent = dict.fromkeys(fastest, 0.0)
    path = f'{jupyter.base}proxy/{port}/pipe?nbws_token={token}'
    with (connect(f'ws://127.0.0.1:{port}/pipe?nbws_token={token}', compression=None) as a, dial(kernel) as b,
          connect(f'ws://127.0.0.1:{jupyter.port}{path}', compression=None,
                  additional_headers={'Authorization': f'token {jupyter.token}'}) as c):
        for _ in range(5):
            for name, ws in zip(fastest, (a, b, c), strict=True):
                before = jupyter.cpu()
                fastest[name] = min(fastest[name], round_trips(ws))
                spent[name] += jupyter.cpu() - before
    print(f'the fastest round trips, in ms: {fastest}; CPU time of the Jupyter server, in s: {spent}')
    assert fastest['ours'] - fastest['direct'] <= 1, fastest
    assert spent['ours'] < spent['theirs'], spent


@pytest.mark.timed
def test_no_descriptor_stays(jupyter: Jupyter, kernel: Kernel) -> None:
    "An answer that has come whole gives back the connection to the app."
    def descriptors() -> int: return psutil.Process(jupyter.process.pid).num_fds()
    cookie = jupyter.log_in()
    def get() -> None:
        with ask(jupyter.port, 'GET', f'{kernel.base}/', cookie=cookie) as answer: answer.read()
    get()
    before = descriptors()
    for _ in range(40): get()
    until(lambda: descriptors() < before + 10, 'the descriptors of 40 requests')


def test_what_it_costs_jupyters_start() -> None:
    "Milliseconds of CPU time to import the extension where Jupyter Server is imported already: the best of three."
    code = ('import tests.lean, jupyter_server.serverapp, sys, time\n'
            't = time.process_time(); import nbws.jupyter.extension\n'
            "print((time.process_time() - t) * 1000, *(m for m in sys.modules if m.startswith('nbws.')))")
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}  # As on everybody's machine
    def once() -> list[str]:
        command = [sys.executable, '-c', code]
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=BOUND, env=env)
        return run.stdout.split()
    runs = [once() for _ in range(3)]
    took = min(float(run[0]) for run in runs)
    print(f'import nbws.jupyter.extension: {took:.1f} ms')
    assert took < 20, took
    assert {name.partition('.')[2].partition('.')[0] for name in runs[0][1:]} == {'jupyter'}


def test_the_name_in_older_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    "A setting that enables `nbws.jpserver` enables the extension, and beside the new name it is loaded once."
    monkeypatch.setenv(SERVER_VARIABLE, '')  # The extension sets it, for kernels: not for those of other tests
    manager = ExtensionManager()
    manager.from_jpserver_extensions({'nbws.jpserver': True, 'nbws.jupyter.extension': True})
    app = SimpleNamespace(web_app=Application(base_url='/'))
    rules = app.web_app.default_router.rules
    before = len(rules)
    for name in 'nbws.jpserver', 'nbws.jupyter.extension':
        (point,) = manager.extensions[name].extension_points.values()
        point.load(app)
        assert len(rules) == before + 1
