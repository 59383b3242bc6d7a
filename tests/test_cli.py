"""The command: what it serves, what it says to mistakes, and how it stops and reloads. Real processes, real sockets."""
from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from bound import BOUND, until
from live import ended
from processes import Process, get, listening, nbws, running
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nbws import __version__
from nbws.cli import main
from nbws.loading import LOADING

APPS = Path(__file__).resolve().parent/'apps'


def said(*arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    "Exit code and output of a command that ends by itself."
    run = subprocess.run(nbws(*arguments), cwd=cwd, capture_output=True, text=True, timeout=BOUND)
    return run.returncode, run.stdout + run.stderr


def notebook(path: Path, *cells: str) -> Path:
    path.write_text(json.dumps({'nbformat': 4, 'cells': [{'cell_type': 'code', 'source': c} for c in cells]}))
    return path


# ---------------------------------------------------------------- what it says

def test_help_teaches() -> None:
    code, text = said('run', '--help')
    assert code == 0
    options = """--host --port --bind --worker-num --backlog --ssl-cert --ssl-key --debug --reload --no-ws --log-level
        --ws-max-payload-size --client-max-body-size --client-max-form-size --client-max-header-size
        --request-timeout --keepalive-timeout --app-handler-timeout --shutdown-timeout --root-path"""
    for option in *options.split(), 'nbws run chat.ipynb': assert option in text
    assert said('--version') == (0, f'nbws {__version__}\n')


@pytest.mark.parametrize(('arguments', 'code', 'text'), [
    (['nothing_there:app'], 2, "there is no module 'nothing_there'"),
    (['good:missing'], 2, "good has no 'missing'"),
    (['empty'], 2, 'empty has no app: call it `app`, or name it, as in empty:my_app'),
    (['empty:NUMBER'], 2, 'there is no way to serve this int: 3'),
    (['no.py'], 2, 'there is no file no.py'),
    (['no.ipynb'], 2, 'there is no notebook no.ipynb'),
    (['text.ipynb'], 2, 'text.ipynb is not a notebook'),
    (['empty.ipynb'], 2, 'empty.ipynb has no app'),
    (['broken.ipynb'], 1, 'code cell 2 of broken.ipynb failed:'),
    (['broken'], 1, 'ZeroDivisionError'),
    (['wanting'], 1, "No module named 'no_such_library'"),
    (['good', '--port', '99999'], 2, '99999 is not in the range'),
    (['good', '--bind', 'here:there'], 2, 'is not HOST:PORT'),
    (['good', '--host', 'no.such.host.invalid'], 1, 'the host is not known'),
    (['good', '--ssl-cert', 'none.pem'], 1, 'the certificate none.pem'),
    (['good', '--ssl-cert', 'text.ipynb'], 1, 'cannot be used'),
    (['good', '--ssl-key', 'text.ipynb'], 2, '--ssl-key needs --ssl-cert'),
])
def test_mistakes_are_told(arguments: list[str], code: int, text: str, tmp_path: Path,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    "A mistake on the command line ends with 2, one in what is served with 1; either says what it is."
    (tmp_path/'good.py').write_text('from nbws import App\napp = App()\n')
    (tmp_path/'empty.py').write_text('NUMBER = 3\n')
    (tmp_path/'broken.py').write_text('x = 1\nx / 0\n')
    (tmp_path/'wanting.py').write_text('import no_such_library\n')
    (tmp_path/'text.ipynb').write_text('hello')
    notebook(tmp_path/'empty.ipynb', 'x = 1')
    notebook(tmp_path/'broken.ipynb', 'x = 1', 'x / 0')
    # In this process, which is quicker: none of these comes as far as serving
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(LOADING, 'active', False)
    for name in 'good', 'empty', 'broken', 'wanting': sys.modules.pop(name, None)
    result = CliRunner().invoke(main, ['run', *arguments], prog_name='nbws')
    assert (result.exit_code, text in re.sub(r'\s+', ' ', result.output)) == (code, True), result.output
    assert 'importlib' not in result.output
    assert 'nbws/loading.py' not in result.output


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_a_port_in_use(more: list[str]) -> None:
    with listening() as s:
        port = s.getsockname()[1]
        code, text = said('run', 'fasthtml_chat', '--port', str(port), *more, cwd=APPS)
        assert code == 1
        assert f'port {port} on 127.0.0.1 is already in use' in text


# ---------------------------------------------------------------- what it serves

def test_modules_files_and_variables(tmp_path: Path) -> None:
    (tmp_path/'pages.py').write_text('''
from nbws import App, serve
class Box: pass
box = Box()
box.web = App()
@box.web.get('/')
def home(): return 'in a box'
def flask(environ, start_response):
    start_response('200 OK', [])
    return [b'wsgi']
async def asgi(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'asgi'})
serve(box.web)
''')
    for target, text in ('pages:box.web', 'in a box'), ('pages.py:flask', 'wsgi'), ('pages:asgi', 'asgi'):
        with running(nbws('run', target, '--port', '0'), cwd=tmp_path) as process:
            assert process.serves().get('/') == (200, text)
            assert process.stop() == 0


def test_a_notebook(tmp_path: Path) -> None:
    notebook(tmp_path/'chat.ipynb',
             'from nbws.common import *\nimport asyncio\nprint("noise")', '%time n = 40\nn',
             'app = FastHTML()\n@app.get("/")\nasync def home(): return f"{n} {await task}"',
             'async def f(): return 2\ntask = f()', 'await asyncio.sleep(0)',
             'serve()', 'show()', '#| eval: false\n1/0')
    with running(nbws('run', str(tmp_path/'chat.ipynb'), '--port', '0')) as process:
        assert process.serves().get('/') == (200, '40 2')
        assert process.stop(signal.SIGINT) == 0
    assert process.output.startswith('nbws serves http://127.0.0.1:')


def test_options(tmp_path: Path) -> None:
    "What the options of the command line say holds for each request."
    (tmp_path/'options.py').write_text('''
import asyncio
from nbws import App
app = App()
@app.get('/')
def home(request): return f'{request.root_path}|{request.path}'
@app.get('/slow')
async def slow(): await asyncio.sleep(60)
@app.get('/fail')
def fail(): return 1/0
@app.post('/')
async def size(request): return str(len(await request.body()))
@app.ws('/ws')
def ws(msg: str): return msg
''')
    command = nbws('run', 'options', '--bind', '127.0.0.1:0', '--root-path', '/sub', '--app-handler-timeout', '2',
                   '--client-max-body-size', '10', '--client-max-header-size', '600', '--ws-max-payload-size', '20',
                   '--keepalive-timeout', '50', '--request-timeout', '50', '--log-level', 'ERROR', '--debug')
    with running(command, cwd=tmp_path) as process:
        process.serves()
        assert process.get('/')[1] == process.get('/sub/')[1] == '/sub|/'
        assert process.get('/slow')[0] == 503
        status, text = process.get('/fail')
        assert (status, 'ZeroDivisionError' in text) == (500, True)
        assert process.get('/', {'a': 'x' * 700})[0] == 431
        with pytest.raises(urllib.error.HTTPError, match='413'):
            urllib.request.urlopen(f'http://127.0.0.1:{process.port}/', b'x' * 11, timeout=BOUND)
        with process.ws('/ws') as s:
            s.send(json.dumps({'msg': 'x' * 20}))
            assert ended(s)[0] == 1009
        assert process.stop() == 0
    with running(nbws('run', 'options', '--port', '0', '--no-ws'), cwd=tmp_path) as process:
        with pytest.raises(InvalidStatus) as refused: process.serves().ws('/ws').close()
        assert refused.value.response.status_code == 426
        assert process.stop() == 0


def test_unix_socket(tmp_path: Path) -> None:
    (tmp_path/'tiny.py').write_text("from nbws import App\napp = App()\n@app.get('/')\ndef home(): return 'tiny'\n")
    with running(nbws('run', 'tiny', '--bind', 'unix:tiny.sock'), cwd=tmp_path) as process:
        process.says('nbws serves ')
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(BOUND)
            s.connect(str(tmp_path/'tiny.sock'))
            s.sendall(b'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
            assert b''.join(iter(lambda: s.recv(65536), b'')).endswith(b'tiny')
        assert process.stop() == 0
    assert not (tmp_path/'tiny.sock').exists()


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_tls(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'tiny.py').write_text(
        "from nbws import App\napp = App()\n@app.get('/')\ndef home(request): return request.scheme\n")
    make = 'openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 1 -keyout key.pem -out cert.pem'
    made = subprocess.run(make.split(), cwd=tmp_path, capture_output=True, timeout=BOUND)
    if made.returncode: pytest.skip('there is no openssl')
    command = nbws('run', 'tiny', '--port', '0', '--ssl-cert', 'cert.pem', '--ssl-key', 'key.pem', *more)
    with running(command, cwd=tmp_path) as process:
        process.serves()
        trust = ssl.create_default_context(cafile=str(tmp_path/'cert.pem'))
        trust.check_hostname = False
        url = f'https://127.0.0.1:{process.port}/'
        with urllib.request.urlopen(url, timeout=BOUND, context=trust) as answer: assert answer.read() == b'https'
        assert process.stop() == 0


def test_demo() -> None:
    with running(nbws('demo', '--port', '0')) as process:
        assert 'ws-connect="/talk"' in process.serves().get('/')[1]
        assert process.stop(signal.SIGINT) == 0


def test_demo_in_jupyterlab(tmp_path: Path) -> None:
    "A copy, in a folder with nothing else to see; the second time it is opened as it was left. No question about news."
    command = nbws('demo', '--lab', '--folder', 'mine', '--', '--version')  # JupyterLab says its version, and ends
    for text in '', 'changed':
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND)
        assert ran.returncode == 0, ran.stderr
        assert 'mine/demo.ipynb' in ran.stdout.splitlines()[0]
        copy = tmp_path/'mine'/'demo.ipynb'
        assert text in copy.read_text()
        copy.write_text('changed')
    assert [p.name for p in copy.parent.iterdir() if p.name[0] != '.'] == ['demo.ipynb']
    settings = json.loads((copy.parent/'.jupyter/labconfig/default_setting_overrides.json').read_text())
    assert settings == {'@jupyterlab/apputils-extension:notification': {'fetchNews': 'false'}}


# ---------------------------------------------------------------- how it stops

SLOW = '''
import asyncio
from nbws import App
app = App(on_shutdown=lambda: print('hooks ran', flush=True))
@app.get('/')
def home(): return 'home'
@app.get('/slow')
async def slow():
    print('slow has begun', flush=True)
    await asyncio.sleep(0.5)
    return 'answered'
@app.get('/stuck')
async def stuck():
    print('stuck has begun', flush=True)
    await asyncio.sleep(600)
@app.ws('/ws')
def ws(msg: str): return msg
'''


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_sigterm_with_a_hundred_sockets_and_a_slow_request(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'slow.py').write_text(SLOW)
    with running(nbws('run', 'slow', '--port', '0', *more), cwd=tmp_path) as process, ExitStack() as stack:
        process.serves()
        sockets = [stack.enter_context(process.ws('/ws')) for _ in range(100)]
        for s in sockets: s.send('{"msg": "hi"}')
        for s in sockets: assert s.recv(BOUND) == 'hi'
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(process.get('/slow')), daemon=True)
        asking.start()
        process.says('slow has begun')
        process.popen.send_signal(signal.SIGTERM)
        for s in sockets:
            assert ended(s)[0] == 1012
        asking.join(BOUND)
        assert answers == [(200, 'answered')]
        assert process.ends() == 0
    assert process.output.count('hooks ran') == 1 + bool(more)
    assert 'Traceback' not in process.output


def test_the_wait_for_requests_is_bounded(tmp_path: Path) -> None:
    (tmp_path/'slow.py').write_text(SLOW)
    with running(nbws('run', 'slow', '--port', '0', '--shutdown-timeout', '0.3'), cwd=tmp_path) as process:
        process.serves()
        with socket.create_connection(('127.0.0.1', process.port), BOUND) as s:
            s.sendall(b'GET /stuck HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
            process.says('stuck has begun')
            assert process.stop() == 0


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    (tmp_path/'mortal.py').write_text('''
import os
from nbws import App
app = App()
@app.get('/')
def home(): return str(os.getpid())
''')
    with running(nbws('run', 'mortal', '--port', '0', '--workers', '1', '--reload'), cwd=tmp_path) as process:
        process.serves()
        first = process.get('/')[1]
        assert int(first) != process.popen.pid
    with running(nbws('run', 'mortal', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        first = process.get('/')[1]
        os.kill(int(first), signal.SIGKILL)
        process.says('ended by itself')
        assert process.get('/')[0] == 200
        assert process.stop() == 0


KILLED = """
import os, signal
from pathlib import Path
for one in sorted(Path('fatal').iterdir()):
    one.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
from nbws import App
app = App()
@app.get('/')
def home(): return str(os.getpid())
"""


@pytest.mark.parametrize('more', [['--workers', '2'], ['--reload']])
def test_a_worker_that_is_killed_before_it_serves_is_started_again(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'mortal.py').write_text(KILLED)
    (tmp_path/'fatal').mkdir()
    for n in range(2): (tmp_path/'fatal'/str(n)).touch()
    with running(nbws('run', 'mortal', '--port', '0', *more), cwd=tmp_path) as process:
        process.serves()
        assert process.get('/')[0] == 200
        assert process.output.count('killed before it served') == 2
        assert process.stop() == 0


def test_workers_that_are_killed_again_and_again_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path/'mortal.py').write_text(KILLED)
    (tmp_path/'fatal').mkdir()
    for n in range(100): (tmp_path/'fatal'/str(n)).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('nbws.supervisor.PAUSES', (.01, .01))
    arguments = ['run', 'mortal', '--port', '0', '--workers', '2']
    monkeypatch.setattr('sys.argv', ['nbws', *arguments])
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 128 + signal.SIGKILL
    assert result.output.count('killed before it served') == 4
    assert len(list((tmp_path/'fatal').iterdir())) == 95


SHORT_LIVED = """
import os, threading, time
from pathlib import Path
from nbws import App
app, began = App(), Path('began')
began.touch()
with began.open('a') as f: f.write(f'{os.getpid()}\\n')
pids = [int(pid) for pid in began.read_text().split()]
def gone(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return True
def end():
    while len(began.read_text().split()) < 2: time.sleep(.01)
    os._exit(3)
if len(pids) == 1: threading.Thread(target=end).start()
if len(pids) == 2:
    while not gone(pids[0]): time.sleep(.01)
    raise RuntimeError('cannot be loaded now')
@app.get('/')
def home(): return 'here'
"""


def test_a_worker_that_dies_while_the_others_are_started(tmp_path: Path) -> None:
    "The first one has served, so the service goes on though the file cannot be loaded for a while."
    (tmp_path/'short.py').write_text(SHORT_LIVED)
    with running(nbws('run', 'short', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.says('cannot be loaded now')
        until(lambda: len((tmp_path/'began').read_text().split()) == 4)
        process.serves()
        assert process.get('/') == (200, 'here')
        assert process.stop() == 0


def test_workers_that_die_leave_no_descriptor_behind(tmp_path: Path) -> None:
    (tmp_path/'mortal.py').write_text(MORTAL)
    with running(nbws('run', 'mortal', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        supervisor = psutil.Process(process.popen.pid)
        before = supervisor.num_fds()
        for n in range(5):
            os.kill(int(process.get('/')[1]), signal.SIGKILL)
            process.says('ended by itself', times=n + 1)
            until(lambda: len(process.workers()) == 2 and supervisor.num_fds() <= before)
        assert process.stop() == 0


MORTAL = """
import os
from pathlib import Path
from nbws import App
if Path('broken').exists(): 1/0
app = App()
@app.get('/')
def home(): return str(os.getpid())
"""


@pytest.mark.parametrize('workers', ['1', '2'])
def test_a_worker_that_dies_while_the_file_cannot_be_loaded(workers: str, tmp_path: Path) -> None:
    "The service goes on with what is left of it, if only its port, and is whole again when the file can be loaded."
    (tmp_path/'mortal.py').write_text(MORTAL)
    more = ['--workers', workers, *(['--reload'] if workers == '1' else [])]
    with running(nbws('run', 'mortal', '--port', '0', *more), cwd=tmp_path) as process:
        process.serves()
        (tmp_path/'broken').touch()
        first = process.get('/')[1]
        os.kill(int(first), signal.SIGKILL)
        process.says('no worker could be started in its place')
        if workers == '2': assert process.get('/')[0] == 200
        (tmp_path/'broken').unlink()
        if workers == '1': (tmp_path/'mortal.py').write_text(MORTAL + '# saved')
        assert process.get('/')[1] != first
        if workers == '2': until(lambda: len(process.workers()) == 2)
        assert process.stop() == 0
    assert 'ZeroDivisionError' in process.output


def test_a_worker_that_dies_is_replaced_under_reload(tmp_path: Path) -> None:
    (tmp_path/'mortal.py').write_text(MORTAL)
    with running(nbws('run', 'mortal', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.serves()
        first = process.get('/')[1]
        os.kill(int(first), signal.SIGKILL)
        process.says('ended by itself')
        assert process.get('/')[1] != first
        assert process.stop() == 0


def test_a_start_that_takes_long_can_be_ended(tmp_path: Path) -> None:
    (tmp_path/'slow.py').write_text("print('loading', flush=True)\nimport time\ntime.sleep(600)\n")
    with running(nbws('run', 'slow', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.says('loading')
        assert process.stop() == 0


def test_ctrl_c_in_a_terminal_lets_workers_answer(tmp_path: Path) -> None:
    "It reaches every process of the group: the supervisor alone decides."
    (tmp_path/'slow.py').write_text(SLOW)
    with running(nbws('run', 'slow', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(process.get('/slow')), daemon=True)
        asking.start()
        process.says('slow has begun')
        os.killpg(process.popen.pid, signal.SIGINT)
        asking.join(BOUND)
        assert answers == [(200, 'answered')]
        assert process.ends() == 0


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_an_open_stream_is_told_of_and_a_second_ctrl_c_ends_it(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'stream.py').write_text("""
import queue
from nbws import App
app = App()
@app.get('/stream')
def stream():
    yield 'begun'
    queue.Queue().get()
""")
    with running(nbws('run', 'stream', '--port', '0', *more), cwd=tmp_path) as process:
        process.serves()
        with socket.create_connection(('127.0.0.1', process.port), BOUND) as s:
            s.sendall(b'GET /stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
            heard = b''
            while b'begun' not in heard: heard += s.recv(4096)
            os.killpg(process.popen.pid, signal.SIGINT)
            process.says('stopping: waiting for GET /stream, at most 30 s; Ctrl-C (or SIGTERM) again ends it now')
            os.killpg(process.popen.pid, signal.SIGINT)
            assert process.ends() == 0
    assert 'left behind: stream' in process.output


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path/'slow.py').write_text(SLOW)
    with running(nbws('run', 'slow', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        process.popen.kill()
        process.says('hooks ran', times=2)


# ---------------------------------------------------------------- how it reloads

def test_reload_refuses_no_request(tmp_path: Path) -> None:
    page = tmp_path/'page.py'
    def write(n: int) -> None:
        text = f"from nbws import App\napp = App()\n@app.get('/')\ndef home(): return 'version {n}'\n"
        (tmp_path/'new').write_text(text)
        os.replace(tmp_path/'new', page)
    write(1)
    with running(nbws('run', 'page', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.serves()
        wanted, errors, seen = threading.Event(), [], set()
        def ask() -> None:
            while not wanted.is_set():
                try: seen.add(get(process.port, '/'))
                except Exception as e: errors.append(e)
        asking = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
        for t in asking: t.start()
        try:
            for n in 2, 3:
                write(n)
                process.says('page.py changed', times=n - 1)
                wait_for(process, f'version {n}')
            (tmp_path/'new').write_text('1/0')
            os.replace(tmp_path/'new', page)
            process.says('not reloaded')
            assert process.get('/') == (200, 'version 3')
        finally:
            wanted.set()
            for t in asking: t.join(BOUND)
        assert not errors
        assert {status for status, _ in seen} == {200}
        assert process.stop() == 0
    assert 'ZeroDivisionError' in process.output


def test_a_reload_serves_who_has_connected_before(tmp_path: Path) -> None:
    "Whoever the old program has accepted may ask long after the new one serves: it was reset."
    def write(n: int) -> None:
        (tmp_path/'new').write_text(
            f"from nbws import App\napp = App()\n@app.get('/')\ndef home(): return 'version {n}'\n"
            "@app.ws('/ws')\ndef ws(msg: str): return msg\n")
        os.replace(tmp_path/'new', tmp_path/'page.py')
    write(1)
    with running(nbws('run', 'page', '--port', '0', '--reload'), cwd=tmp_path) as process, ExitStack() as stack:
        process.serves()
        early = [stack.enter_context(socket.create_connection(('127.0.0.1', process.port), BOUND)) for _ in range(20)]
        kept = stack.enter_context(closing(http.client.HTTPConnection('127.0.0.1', process.port, timeout=BOUND)))
        kept.request('GET', '/')
        assert kept.getresponse().read() == b'version 1'
        ws = stack.enter_context(process.ws('/ws')) # The old program has accepted all that came before
        write(2)
        with pytest.raises(ConnectionClosed): ws.recv(BOUND) # It stops
        assert process.get('/') == (200, 'version 2')
        time.sleep(1) # Five times what they had
        for s in early: s.sendall(b'GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
        for s in early:
            answer = b''.join(iter(lambda s=s: s.recv(4096), b''))
            assert answer.startswith(b'HTTP/1.1 200') and answer.endswith(b'version 1')
        assert kept.sock.recv(1) == b'' # Closed, and not reset
        assert process.stop() == 0


def test_reload_hears_of_what_is_saved_while_it_starts(tmp_path: Path) -> None:
    "The program changes itself as it is loaded: nothing is earlier."
    text = "from nbws import App\napp = App()\n@app.get('/')\ndef home(): return 'version {}'\n"
    (tmp_path/'new').write_text(text.format(2))
    (tmp_path/'page.py').write_text(f"import os\nos.replace('new', 'page.py')\n{text.format(1)}")
    with running(nbws('run', 'page', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.serves()
        process.says('page.py changed')
        wait_for(process, 'version 2')
        assert process.stop() == 0


def test_workers_make_pages_for_one_another(tmp_path: Path) -> None:
    "A page's line may reach another worker, and the page must not take that for a newer program."
    (tmp_path/'page.py').write_text(
        "import os, time\nfrom nbws.common import *\napp = FastHTML()\n@app.get('/')\nasync def home():\n"
        "    time.sleep(.3)\n    return P(f'made by {os.getpid()}')\n") # Meanwhile the other one accepts
    with running(nbws('run', 'page', '--port', '0', '--reload', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        with ThreadPoolExecutor(4) as visitors:
            pages = list(visitors.map(lambda _: get(process.port, '/', {'accept': 'text/html'})[1], range(8)))
        assert process.stop() == 0
    found = {re.search('(?s)data-boot="(.+?)".*made by ([0-9]+)', page).groups() for page in pages}  # type: ignore[union-attr]
    boots, workers = {boot for boot, _ in found}, {worker for _, worker in found}
    assert (len(boots), len(workers)) == (1, 2)


def test_reload_compares_what_the_code_is(tmp_path: Path) -> None:
    "The same bytes, or other outputs of a notebook (each autosave writes them), are no change; a cell that is, is."
    code = ("import os\nfrom nbws import App\napp = App()\n@app.get('/')\n"
            "def home(): return f'{VERSION} {os.getpid()}'\n")
    def put(name: str, content: str) -> None: # In one step: half of a write would be a change
        (tmp_path/'new').write_text(content)
        os.replace(tmp_path/'new', tmp_path/name)
    def write(version: int, outputs: list[Any]) -> None:
        cells = [{'cell_type': 'markdown', 'source': f'# {outputs}'},
                 {'cell_type': 'code', 'source': f'VERSION = {version}', 'outputs': outputs},
                 {'cell_type': 'code', 'source': code}]
        put('page.ipynb', json.dumps({'nbformat': 4, 'cells': cells}))
    write(1, [])
    put('other.py', 'x = 1\n')
    put('marker.css', '')
    with running(nbws('run', 'page.ipynb', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.serves()
        first = process.get('/')[1]
        for n in range(3):
            write(1, [{'output_type': 'stream', 'name': 'stdout', 'text': str(n)}])
            put('other.py', 'x = 1\n')
            put('marker.css', f'/* {n} */') # It comes behind what would be said of these
            process.says('marker.css changed', times=n + 1)
        assert process.get('/')[1] == first
        write(2, [])
        process.says('nbws: page.ipynb changed')
        while process.get('/')[1] == first: pass
        assert process.get('/')[1].startswith('2 ')
        assert process.stop() == 0
    assert 'other.py' not in process.output
    assert process.output.count('page.ipynb') == 1


@pytest.mark.parametrize('name', ['html.py', 'my.app.py', 'my-app.py', 'queue.py', 'socket.py', 'json.py', 'app.py'])
def test_a_file_may_be_called_as_it_likes(name: str, tmp_path: Path) -> None:
    (tmp_path/name).write_text("import html\nimport helper\nfrom nbws import App\napp = App()\n"
                               "@app.get('/')\ndef home(): return html.escape('<') + helper.HELP\n")
    (tmp_path/'helper.py').write_text("HELP = ' helps'\n")
    for more in [], ['--reload']:
        with running(nbws('run', name, '--port', '0', *more), cwd=tmp_path) as process:
            assert process.serves().get('/') == (200, '&lt; helps')
            assert process.stop() == 0


def test_reload_waits_for_a_program_that_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path/'page.py').write_text('1/0')
    with running(nbws('run', 'page', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.says('not started: waiting for a change')
        (tmp_path/'page.py').write_text('2/0')
        process.says('not started: waiting for a change', times=2)
        (tmp_path/'page.py').write_text("from nbws import App\napp = App()\n@app.get('/')\ndef home(): return 'fine'\n")
        process.serves()
        assert process.get('/') == (200, 'fine')
        assert process.stop() == 0
    assert process.output.count('ZeroDivisionError') == 2


def test_reload_does_not_wait_for_what_is_not_there(tmp_path: Path) -> None:
    with running(nbws('run', 'missing', '--port', '0', '--reload'), cwd=tmp_path) as process:
        process.says('missing')
        assert process.popen.wait(BOUND) == 2


def wait_for(process: Process, text: str) -> None:
    "Ask until the answer is `text`."
    until(lambda: process.get('/')[1] == text, text)


def test_python_m_and_the_script_are_the_same() -> None:
    script = Path(sys.executable).parent/'nbws'
    if not script.exists(): pytest.skip('nbws is not installed')
    run = subprocess.run([script, '--version'], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout == f'nbws {__version__}\n'
