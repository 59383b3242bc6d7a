"""Who gets in: the matrix, with exact statuses, through the Jupyter server and directly; and another local user."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bound import BOUND
from jupyters import Jupyter, Kernel, ask

from nbws import App
from nbws.server.listener import Server

pytestmark = pytest.mark.usefixtures('clients_loop')
APP = """
from nbws.common import *
app = FastHTML()
@app.get('/')
def home(): return 'the page'
@app.post('/')
def post(): return 'posted'
@app.ws('/')
async def talk(msg: str): return msg
"""

# Denies whoever is called `mallory`, and knows users by the field X-User besides the token.
AUTH = """
from jupyter_server.auth import Authorizer, IdentityProvider, User
class Names(IdentityProvider):
    def get_user(self, handler):
        name = handler.request.headers.get('X-User')
        return User(name) if name else super().get_user(handler)
class NotMallory(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return user.username != 'mallory' or (action, resource) != ('execute', 'kernels')
c.ServerApp.identity_provider_class = Names
c.ServerApp.authorizer_class = NotMallory
"""


class Place(NamedTuple):
    jupyter: Jupyter
    kernel: Kernel     # Serves APP behind the proxy only
    direct: Kernel     # Serves it on a port, too
    port: int
    token: str
    login: str         # Jupyter's cookies of somebody who has logged in


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp('access')
    (home/'config').mkdir(mode=0o700)
    (home/'config'/'jupyter_server_config.py').write_text(AUTH)
    jupyter = Jupyter(home, '/user/alice/')
    try:
        kernel, direct = Kernel(jupyter), Kernel(jupyter)
        kernel.run(APP + 'serve()')
        told = direct.run(APP + 'serve(port=0)\nfrom nbws.notebook.served import SERVED\n'
                                'from nbws.notebook.exposure import exposure_of\n'
                                'print(SERVED[0].server.port, exposure_of(SERVED[0].server).token)').split()
        yield Place(jupyter, kernel, direct, int(told[-2]), told[-1], jupyter.log_in())
    finally: jupyter.stop()


# What GET, POST and the socket of the app's page answer. `{login}`: the cookies of somebody who has logged in.
EVIL, OTHER_PORT = 'https://evil.example', 'http://127.0.0.1:1'
PROXIED = {
    # who: fields, and the answers to GET, POST and a handshake
    'no login':                         ({}, 403, 403, 403),
    'no login, opens the page':         ({'accept': 'text/html', 'sec_fetch_mode': 'navigate'}, 302, 403, 403),
    'wrong token':                      ({'authorization': 'token wrong'}, 403, 403, 403),
    'a forged login cookie':            ({'cookie': 'username-127-0-0-1-{port}="2|1:0|00"'}, 403, 403, 403),
    'the right token':                  ({'authorization': 'token {token}'}, 200, 200, 101),
    'logged in':                        ({'cookie': '{login}', 'origin': 'http://{host}'}, 200, 200, 101),
    'another user, who may not':        ({'x_user': 'mallory', 'origin': 'http://{host}'}, 403, 403, 403),
    'another user, who may':            ({'x_user': 'bob', 'origin': 'http://{host}'}, 200, 200, 101),
    'foreign Origin':                   ({'cookie': '{login}', 'origin': EVIL}, 403, 403, 403),
    'foreign Origin with the token':    ({'authorization': 'token {token}', 'origin': EVIL}, 403, 403, 403),
    "other port's Origin":              ({'cookie': '{login}', 'origin': OTHER_PORT}, 403, 403, 403),
    'null Origin':                      ({'cookie': '{login}', 'origin': 'null'}, 403, 403, 403),
    # No browser leaves the Origin out of a form or a socket. A form has to bring Jupyter's `_xsrf` then.
    'missing Origin':                   ({'cookie': '{login}'}, 200, 403, 101),
    'missing Origin, XSRF field':       ({'cookie': '{login}', 'x_xsrftoken': '{xsrf}'}, 200, 200, 101),
    'XSRF-less form from its own page': ({'cookie': '{login}', 'origin': 'http://{host}',
                                              'content_type': 'application/x-www-form-urlencoded'}, 200, 200, 101),
    'XSRF-less form from a foreign page':({'cookie': '{login}', 'origin': EVIL,
                                              'content_type': 'application/x-www-form-urlencoded'}, 403, 403, 403),
    'forged Host':                      ({'cookie': '{login}', 'host': 'evil.example'}, 403, 403, 403),
    'forged Host, Origin to match':     ({'cookie': '{login}', 'host': 'evil.example',
                                         'origin': 'http://evil.example'}, 403, 403, 403),
    'says the secret of the rendezvous':({'x_nbws_secret': 'guessed'}, 403, 403, 403),
}
DIRECT = {
    'no secret':                        ({}, 403, 403, 403),
    'no secret, opens the page':        ({'accept': 'text/html', 'sec_fetch_mode': 'navigate'}, 403, 403, 403),
    'wrong secret':                     ({'cookie': 'nbws-{port}=wrong'}, 403, 403, 403),
    "Jupyter's token":                  ({'authorization': 'token {jupyter}', 'cookie': '{login}'}, 403, 403, 403),
    'the secret, from its own page':    ({'cookie': 'nbws-{port}={token}', 'origin': 'http://{host}'}, 200, 200, 101),
    'foreign Origin':                   ({'cookie': 'nbws-{port}={token}', 'origin': EVIL}, 403, 403, 403),
    "other port's Origin":              ({'cookie': 'nbws-{port}={token}', 'origin': OTHER_PORT}, 403, 403, 403),
    'null Origin':                      ({'cookie': 'nbws-{port}={token}', 'origin': 'null'}, 403, 403, 403),
    'missing Origin':                   ({'cookie': 'nbws-{port}={token}'}, 200, 200, 101),
    'forged Host':                      ({'cookie': 'nbws-{port}={token}', 'host': 'evil.example'}, 403, 403, 403),
    'forged Host, Origin to match':     ({'cookie': 'nbws-{port}={token}', 'host': 'evil.example',
                                              'origin': 'http://evil.example'}, 403, 403, 403),
    'a proxy without the secret':       ({'host': 'evil.example', 'x_proxycontextpath': '/x'}, 403, 403, 403),
    'says the secret of the rendezvous':({'x_nbws_secret': 'guessed', 'x_forwarded_prefix': '/x'}, 403, 403, 403),
}
SCRIPT = {  # `python chat.py`, on loopback: a server for this machine's browsers
    'curl':                             ({}, 200, 200, 101),
    'its own page':                     ({'origin': 'http://{host}'}, 200, 200, 101),
    'localhost for 127.0.0.1':          ({'host': 'localhost:{port}',
                                         'origin': 'http://127.0.0.1:{port}'}, 200, 200, 101),
    'IPv6':                             ({'host': '[::1]:{port}', 'origin': 'http://[::1]:{port}'}, 200, 200, 101),
    'foreign Origin':                   ({'origin': EVIL}, 200, 403, 403),  # A GET changes nothing
    "other port's Origin":              ({'origin': OTHER_PORT}, 200, 403, 403),
    'null Origin':                      ({'origin': 'null'}, 200, 403, 403),
    'a foreign form, by its fetch metadata':({'sec_fetch_site': 'cross-site'}, 200, 403, 403),
    'forged Host':                      ({'host': 'evil.example'}, 403, 403, 403),
    'forged Host, Origin to match':     ({'host': 'evil.example', 'origin': 'http://evil.example'}, 403, 403, 403),
    'an allowed host':                  ({'host': 'chat.example', 'origin': 'https://chat.example'}, 200, 200, 101),
    'a proxy that changes the Host':    ({'origin': 'https://chat.example'}, 200, 200, 101),
    'a prefix that nobody vouches for': ({'x_forwarded_prefix': '/x', 'x_nbws_secret': 'x'}, 200, 200, 101),
}
WAYS = [('GET', False, 1), ('POST', False, 2), ('GET', True, 3)]


def status(port: int, target: str, method: str, socket_: bool, fields: dict[str, str]) -> int:
    "The status of a request's answer, or of a handshake's."
    with ask(port, method, target, socket_=socket_, **fields) as answer: return answer.status


@pytest.mark.parametrize('who', PROXIED)
def test_proxied(place: Place, who: str) -> None:
    jupyter, (fields, *expected) = place.jupyter, PROXIED[who]
    xsrf = dict(p.split('=', 1) for p in place.login.split('; '))['_xsrf']
    known = {'port': jupyter.port, 'host': f'127.0.0.1:{jupyter.port}', 'token': jupyter.token, 'login': place.login,
             'xsrf': xsrf}
    said = {k: v.format(**known) if '{' in v else v for k, v in fields.items()}
    assert [status(jupyter.port, place.kernel.base + '/', method, s, said) for method, s, _ in WAYS] == expected


@pytest.mark.parametrize('who', PROXIED)
def test_the_way_to_the_notebook(place: Place, who: str) -> None:
    "`~notebook`, where a page asks for its notebook's kernel, is open to those who may open the app, and is only read."
    jupyter, (fields, get, post, _) = place.jupyter, PROXIED[who]
    xsrf = dict(p.split('=', 1) for p in place.login.split('; '))['_xsrf']
    known = {'port': jupyter.port, 'host': f'127.0.0.1:{jupyter.port}', 'token': jupyter.token, 'login': place.login,
             'xsrf': xsrf}
    said = {k: v.format(**known) if '{' in v else v for k, v in fields.items()}
    expected = [get, 405 if post == 200 else post, 400 if get == 200 else 403]
    for kernel in (place.kernel.id, '00000000-0000-0000-0000-000000000000'):
        target = f'/user/alice/nbws/{kernel}/~notebook?path=x.ipynb'
        assert [status(jupyter.port, target, method, s, said) for method, s, _ in WAYS] == expected


@pytest.mark.parametrize('who', DIRECT)
def test_direct(place: Place, who: str) -> None:
    fields, *expected = DIRECT[who]
    known = {'port': place.port, 'host': f'127.0.0.1:{place.port}', 'token': place.token, 'login': place.login,
             'jupyter': place.jupyter.token}
    said = {k: v.format(**known) for k, v in fields.items()}
    assert [status(place.port, '/', method, s, said) for method, s, _ in WAYS] == expected


@pytest.fixture(scope='module')
def script() -> Iterator[Server]:
    app = App(allowed_hosts=['chat.example'])
    @app.get('/')
    async def home() -> str: return 'the page'
    @app.post('/')
    async def post() -> str: return 'posted'
    @app.ws('/')
    async def talk(msg: str) -> str: return msg
    with Server(app) as server: yield server


@pytest.mark.parametrize('who', SCRIPT)
def test_script(script: Server, who: str) -> None:
    fields, *expected = SCRIPT[who]
    said = {k: v.format(port=script.port, host=f'127.0.0.1:{script.port}') for k, v in fields.items()}
    assert [status(script.port, '/', method, s, said) for method, s, _ in WAYS] == expected


def test_the_first_visit(place: Place) -> None:
    "The notebook's address brings a cookie, and is not what the browser's address bar then says."
    target = f'/?a=1&nbws_token={place.token}'
    with ask(place.port, 'GET', target, sec_fetch_mode='navigate') as answer:
        assert (answer.status, answer.field('location')) == (303, './?a=1')
        cookie = answer.field('set-cookie')
    assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie and 'Path=/' in cookie
    with ask(place.port, 'GET', '/', cookie=cookie.partition(';')[0]) as answer:
        assert answer.status == 200
        assert "frame-ancestors 'self' http://localhost:*" in answer.field('content-security-policy')
    with ask(place.port, 'GET', target, sec_fetch_mode='navigate', cookie=cookie.partition(';')[0]) as answer:
        assert (answer.status, answer.field('location')) == (303, './?a=1')  # The second iframe
    for method, s in (('POST', False), ('GET', True)):  # The address alone opens neither from a browser
        browser = {'origin': f'http://127.0.0.1:{place.port}', 'sec_fetch_mode': 'cors'}
        assert status(place.port, target, method, s, browser) == 403


def test_a_ticket_opens_one_app(place: Place) -> None:
    "Neither another ticket nor a word about notebooks is to be had by it."
    at, page = place.kernel.base, {'cookie': place.login, 'origin': f'http://127.0.0.1:{place.jupyter.port}'}
    with ask(place.jupyter.port, 'POST', at + '/~ticket', **page) as answer:
        path = json.loads(answer.read())['path'].rstrip('/')
    assert status(place.jupyter.port, f'{at}/{path}/', 'GET', False, {'origin': 'null'}) == 200
    assert status(place.jupyter.port, f'{at}/{path}/', 'GET', False, {'origin': EVIL}) == 403
    assert status(place.jupyter.port, f'{place.direct.base}/{path}/', 'GET', False, {'origin': 'null'}) == 403
    for wish, method in (('~ticket', 'POST'), ('~notebook', 'GET')): # The app is asked, and has no such page
        assert status(place.jupyter.port, f'{at}/{path}/{wish}', method, False, {'origin': 'null'}) == 404


@pytest.mark.parametrize(('method', 'socket_'), [('GET', False), ('POST', False), ('GET', True)])
def test_unknown_kernel(place: Place, method: str, socket_: bool) -> None:
    fields = {'cookie': place.login, 'origin': f'http://127.0.0.1:{place.jupyter.port}'}
    for name in ('00000000-0000-0000-0000-000000000000', 'x', f'{place.kernel.id}~nothing'):
        expected = 503 if '~' in name else 404
        assert status(place.jupyter.port, f'/user/alice/nbws/{name}/', method, socket_, fields) == expected
    assert status(place.jupyter.port, '/user/alice/nbws/x/', method, socket_, {}) == 403


@pytest.mark.parametrize(('method', 'socket_'), [('GET', False), ('POST', False), ('GET', True)])
def test_a_kernel_that_serves_nothing_yet(place: Place, method: str, socket_: bool) -> None:
    kernel = Kernel(place.jupyter)
    fields = {'cookie': place.login, 'origin': f'http://127.0.0.1:{place.jupyter.port}'}
    assert status(place.jupyter.port, kernel.base + '/', method, socket_, fields) == 503


def test_restarted_kernel(place: Place) -> None:
    "503 until its cell has run again, then as before; the page says so and tries again."
    kernel = Kernel(place.jupyter)
    fields = {'cookie': place.login, 'origin': f'http://127.0.0.1:{place.jupyter.port}'}
    def all_of() -> list[int]:
        return [status(place.jupyter.port, kernel.base + '/', method, s, fields) for method, s, _ in WAYS]
    kernel.run(APP + 'serve()')
    assert all_of() == [200, 200, 101]
    kernel.restart()
    assert all_of() == [503, 503, 503]
    with ask(place.jupyter.port, 'GET', kernel.base + '/', **fields, accept='text/html') as answer:
        assert (answer.status, answer.field('retry-after')) == (503, '1')
        assert b'location.reload()' in answer.read()
    kernel.run(APP + 'serve()')
    assert all_of() == [200, 200, 101]
    place.jupyter.api(f'api/kernels/{kernel.id}', 'DELETE')
    assert all_of() == [404, 404, 404]


def test_no_port_where_the_proxy_serves(place: Place) -> None:
    kernel = Kernel(place.jupyter)
    code = ("import psutil; tcp = psutil.Process().net_connections('tcp')\n"
            "print(sorted({c.laddr.port for c in tcp if c.status == 'LISTEN'}))")
    before = kernel.run(code)
    kernel.run(APP + 'serve()')
    assert kernel.run(code) == before


# Another user of this machine


STRANGER = """
import encodings.idna, os, socket, sys
os.setgid(65534); os.setgroups([]); os.setuid(65534)
paths, port = sys.argv[2:], int(sys.argv[1])
for path in paths:
    try: print(open(path).read())
    except OSError as e: print(type(e).__name__)
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(path); print('connected')
    except OSError as e: print(type(e).__name__)
s = socket.create_connection(('127.0.0.1', port), timeout=60)
s.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')
print(s.recv(100).split(b'\\r\\n')[0].decode())
"""


def stranger(*arguments: str) -> subprocess.CompletedProcess[str]:
    "Run `STRANGER` as a program of its own."
    command = [sys.executable, '-c', STRANGER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND, cwd='/')


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='only root can become somebody else')
def test_another_user(place: Place) -> None:
    "Neither the socket, nor the file with the secret, nor the direct address's content."
    folder = place.jupyter.runtime/'nbws'
    # The folders above are opened, so that it is our own folder's mode that holds.
    above = [p for p in (folder.parent, *folder.parent.parents) if p != Path('/') and p.stat().st_uid == 0]
    modes = {p: p.stat().st_mode for p in above}
    file = next(folder.glob(f'{place.kernel.id}.json'))
    from nbws.jupyter.rendezvous import read_address
    address = read_address(file)
    assert address is not None
    assert address.path
    try:
        for p in above: p.chmod(0o755)
        done = stranger(str(place.port), str(file), address.path)
        for p in (folder, Path(address.path).parent): assert p.stat().st_mode & 0o777 == 0o700
        Path(address.path).parent.chmod(0o755)  # Not even then: the socket's own mode
        again = stranger(str(place.port), address.path)
    finally:
        Path(address.path).parent.chmod(0o700)
        for p, mode in modes.items(): p.chmod(mode)
    assert done.stdout.split('\n')[:-1] == ['PermissionError'] * 4 + ['HTTP/1.1 403 Forbidden'], done.stderr
    assert again.stdout.split('\n')[1:-1] == ['PermissionError', 'HTTP/1.1 403 Forbidden'], again.stderr
    assert hasattr(socket, 'AF_UNIX')
