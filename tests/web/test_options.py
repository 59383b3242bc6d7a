"""Keywords: what nbws does not know is refused where it is given, and secrets stand in no list of processes."""
from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from processes import BOUND, Process, running

import nbws.tremolo
from nbws.common import P, fast_app, serve
from nbws.core.errors import NbwsError, OptionError
from nbws.core.request import Request
from nbws.tremolo import Tremolo

from nbws import App

MAKERS = [App, fast_app, Tremolo]


@pytest.mark.parametrize('maker', MAKERS)
@pytest.mark.parametrize(('given', 'told'), [
    ('ext', "'exts'"), ('titel', "'title'"), ('debg', "'debug'"), ('hdr', "'hdrs'"), ('befor', "'before'"),
    ('secretkey', "'secret_key'"), ('onstartup', "'on_startup'"), ('max_ages', "'max_age'"), ('ws_hdrs', "'ws_hdr'"),
    ('same_sites', "'same_site'"),
    ('nonsense', 'there are')])
def test_an_unknown_keyword_of_an_app_is_refused_with_the_nearest(maker: Any, given: str, told: str) -> None:
    with pytest.raises(OptionError, match=given) as error: maker(**{given: True})
    assert told in str(error.value)
    assert 'bodykw' in str(error.value)
    assert isinstance(error.value, (TypeError, NbwsError))


@pytest.mark.parametrize('maker', MAKERS)
@pytest.mark.parametrize(('given', 'told'), [('middleware', '@app.middleware'), ('routes', '@app.route')])
def test_what_is_no_middleware_and_no_route_is_refused(maker: Any, given: str, told: str) -> None:
    with pytest.raises(OptionError, match='True is no') as error: maker(**{given: True})
    assert told in str(error.value)


def test_fast_apps_own_parameters_are_among_the_nearest() -> None:
    with pytest.raises(OptionError, match="'static_path'"): fast_app(static_pth=None)
    with pytest.raises(OptionError, match="'pico'"): fast_app(pic=False)


ATTRIBUTES = {'hx_boost': 'true', 'data_theme': 'dark', 'aria_label': 'page', 'x_data': '{}', 'cls': 'wide',
              'id': 'top', 'style': 'a:b', 'lang': 'de', 'dir': 'rtl', 'onload': 'go()', 'tabindex': '0',
              'ws_connect': '/ws', '_at_click': 'f()', '@keyup': 'g()', 'hx-on:click': 'h()', '_': 'on load log',
              'nonce': 'n'}


@pytest.mark.parametrize('maker', MAKERS)
def test_attributes_of_the_body_are_taken(maker: Any) -> None:
    made = maker(bodykw={'text': 'red', 'middleware': 'yes'}, **ATTRIBUTES)
    app = made[0] if isinstance(made, tuple) else made
    @app.get('/')
    async def page() -> Any: return P('x')
    body = asyncio.run(app.http(Request('GET', '/', {'accept': 'text/html'}))).body.decode()
    opening = body[body.index('<body'):].partition('<p>')[0]
    for name in ('text="red"', 'middleware="yes"', 'hx-boost="true"', 'data-theme="dark"', 'class="wide"', 'id="top"',
                 'lang="de"', 'onload="go()"', '@click="f()"', '@keyup="g()"', 'hx-on:click="h()"',
                 '_="on load log"', 'ws-connect="/ws"'):
        assert f' {name}' in opening


def test_siblings_refuse_too() -> None:
    app, tremolo = App(), Tremolo()
    calls: list[Any] = [
        lambda: app.route('/', method='get'), lambda: app.get('/', nam='x'), lambda: app.ws('/', con=print),
        lambda: app.room('a', hist=3), lambda: serve(app, prt=1), lambda: app.mount('/x', tremolo, nam='x'),
        lambda: tremolo.route('/', method='get')(lambda: ''), lambda: tremolo.add_route(lambda: '', '/', rate=3),
        lambda: tremolo.mount('/x', Tremolo(), nam='x'), lambda: tremolo.listen(0, ssl={'crt': 'x'}),
        lambda: tremolo.run('127.0.0.1', 0, worker_nmu=2), lambda: tremolo.run('127.0.0.1', 0, ssl={'crt': 'x'}),
        lambda: tremolo.run('127.0.0.1', 0, ssl={'key': 'x'}), lambda: nbws.tremolo.run(app, port=0, ws_max_payload=1),
        lambda: nbws.tremolo.run('x:y', port=0, request_timout=1),
        lambda: nbws.tremolo.run(app, port=0, root_path='/x'),
        lambda: nbws.tremolo.run(app, port=0, worker_num=2), lambda: nbws.tremolo.run(app, port=0, reload=True)]
    for call in calls:
        with pytest.raises(TypeError): call()
    with pytest.raises(OptionError, match="'worker_num'"): tremolo.run('127.0.0.1', 0, worker_nmu=2)


def run(folder: Path, source: str) -> AbstractContextManager[Process]:
    "A program with this text, run by Python."
    (folder/'program.py').write_text(textwrap.dedent(source))
    return running([sys.executable, 'program.py'], cwd=folder)


def test_the_options_of_run_count_for_any_application(tmp_path: Path) -> None:
    with run(tmp_path, '''
            from nbws.tremolo import run
            async def app(scope, receive, send):
                await receive()
                await send({'type': 'http.response.start', 'status': 200, 'headers': []})
                await send({'type': 'http.response.body', 'body': b'here'})
            run(app, '127.0.0.1', 0, client_max_body_size=10, log_level='warning')
            ''') as server:
        url = f'http://127.0.0.1:{server.serves().port}/'
        assert httpx.get(url, timeout=BOUND, trust_env=False).text == 'here'
        assert httpx.post(url, content=b'x' * 20, timeout=BOUND, trust_env=False).status_code == 413


@pytest.fixture(scope='module')
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder with a certificate, and a key that needs the password `secret-of-the-key`."
    folder = tmp_path_factory.mktemp('keys')
    if not shutil.which('openssl'): pytest.skip('openssl makes the certificate')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                    'ec_paramgen_curve:prime256v1', '-days',
                    '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1',
                    '-keyout', folder/'key.pem',
                    '-out', folder/'cert.pem', '-passout', 'pass:secret-of-the-key'], check=True,
                   capture_output=True, timeout=BOUND)
    return folder


TREMOLO = '''
import os
from nbws.tremolo import Tremolo, run
app = Tremolo()
@app.route('/')
async def page(**_): return str('NBWS_SSL_PASSWORD' in os.environ)
if __name__ == '__main__': {run}
'''
TLS = "ssl={'cert': 'cert.pem', 'key': 'key.pem', 'password': 'secret-of-the-key'}"


@pytest.mark.parametrize('how', [f"app.run('127.0.0.1', 0, worker_num=2, {TLS})",
                                 f"run('program:app', '127.0.0.1', 0, worker_num=2, {TLS})", ''])
def test_the_password_of_a_key_stands_in_no_list_of_processes(tmp_path: Path, keys: Path, how: str) -> None:
    for name in 'cert.pem', 'key.pem': shutil.copy(keys/name, tmp_path)
    (tmp_path/'program.py').write_text(TREMOLO.format(run=how or 'pass'))
    command = ['program.py'] if how else [
        '-m', 'nbws', 'run', 'program:app', '--port', '0', '--workers', '2', '--ssl-cert', 'cert.pem',
        '--ssl-key', 'key.pem', '--ssl-password', 'secret-of-the-key']
    with running([sys.executable, *command], cwd=tmp_path) as server:
        trust = ssl.create_default_context(cafile=str(keys/'cert.pem'))
        answer = httpx.get(f'https://127.0.0.1:{server.serves().port}/', verify=trust, timeout=BOUND, trust_env=False)
        assert answer.text == 'False'  # Nor does it stand in the environment that handlers see
        parent = psutil.Process(server.popen.pid)
        children = parent.children(recursive=True)
        assert len(children) >= 2
        seen = [' '.join(p.cmdline()) for p in [*children, *([parent] if how else [])]]
        assert not [line for line in seen if 'secret' in line]
