"""Apps as programs: `serve()` at the end of a file, what ends it, and mistakes that are told in a line."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bound import BOUND
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

APP = """
from nbws.common import *
app = FastHTML()
@app.get('/')
def home(): return 'a page'
@app.ws('/ws')
async def ws(n: int): return str(n + 1)
"""


def run(file: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    "Run a script that ends by itself."
    file.write_text(text)
    return subprocess.run([sys.executable, file], env=environ(**environment), capture_output=True, text=True,
                          timeout=BOUND)


def environ(**more: str) -> dict[str, str]:
    "This process's environment, and more."
    return {**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONWARNINGS': 'default', **more}


@contextmanager
def running(file: Path, text: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    "Run a script that serves; the process, and the port that it announces."
    file.write_text(text)
    with subprocess.Popen([sys.executable, file], env=environ(PORT='0'), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        late = threading.Timer(BOUND, process.kill)
        late.start()
        try:
            assert process.stdout
            yield process, int(process.stdout.readline().split(' (')[0].rpartition(':')[2])
        finally:
            late.cancel()
            late.join()
            process.kill()


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('end', ['serve()', "if __name__ == '__main__': serve()", 'def main(): serve(app)\nmain()'],
                         ids=['plain', 'guarded', 'main'])
def test_a_script_serves_until_it_is_stopped(tmp_path: Path, how: signal.Signals, end: str) -> None:
    with running(tmp_path/'chat.py', APP + end) as (process, port):
        with connect(f'ws://127.0.0.1:{port}/ws', open_timeout=BOUND, close_timeout=BOUND) as ws:
            ws.send(json.dumps({'n': 1}))
            assert ws.recv(BOUND) == '2'
            process.send_signal(how)
            with pytest.raises(ConnectionClosed) as closed: ws.recv(BOUND)
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1012
        assert process.communicate(timeout=BOUND) == ('', '')
        assert process.returncode == 0
    with socket.socket() as s: assert s.connect_ex(('127.0.0.1', port)) != 0


@pytest.mark.parametrize('where', ['environment', 'argument'])
def test_a_port_in_use(tmp_path: Path, where: str) -> None:
    "One line, which says what to do."
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        if where == 'environment': ended = run(tmp_path/'chat.py', APP + 'serve()', PORT=str(port))
        else: ended = run(tmp_path/'chat.py', APP + f'serve(port={port})')
    assert (ended.returncode, ended.stdout) == (1, '')
    assert ended.stderr.startswith(f'nbws: port {port} on 127.0.0.1 is already in use')
    assert ended.stderr.count('\n') == 1


MISTAKES = {
    'no app': ('from nbws.common import *\nserve()', 'there is no app to serve: make one with `app = App()`'),
    'two apps': ('from nbws.common import *\na, b = App(), App()\nserve()', 'there are several apps, a, b: say which'),
    'a port that is none': (APP + 'serve(port=99999)', 'ports go from 0 to 65535'),
    'a PORT that is none': (APP + "import os; os.environ['PORT'] = 'many'\nserve()", 'PORT'),
    'an unknown host': (APP + "serve(host='no.such.host.invalid', port=0)", 'no.such.host.invalid'),
    'a signature': (APP + "@app.ws('/x')\ndef x(*args): pass\nserve()", 'x takes *args, but values are bound by name'),
    'a pattern': (APP + "@app.get('/{x')\ndef x(x): pass\nserve()", "the path '/{x' has an unbalanced brace"),
    'an app that is none': ('from nbws.common import *\nserve(42)', '42'),
}


@pytest.mark.parametrize(('text', 'told'), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(tmp_path: Path, text: str, told: str) -> None:
    "The last line says what is wrong."
    ended = run(tmp_path/'chat.py', text)
    assert ended.returncode == 1
    assert told in ended.stderr.splitlines()[-1]


def test_wrong_messages_are_told_on_stderr(tmp_path: Path) -> None:
    with running(tmp_path/'chat.py', APP + 'serve()') as (process, port):
        with connect(f'ws://127.0.0.1:{port}/ws', open_timeout=BOUND, close_timeout=BOUND) as ws:
            for message in ('no json', '{}', '{"n": "x"}', '{"n": 1}'): ws.send(message)
            assert ws.recv(BOUND) == '2'
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=BOUND)[1].splitlines()
    expected = ['is not JSON', "no value for 'n'", "n='x' cannot be read as int"]
    assert [told in line for told, line in zip(expected, stderr, strict=True)] == [True] * 3


def test_a_module_that_is_imported_serves_nothing(tmp_path: Path) -> None:
    (tmp_path/'mine.py').write_text(APP + 'serve()\nprint("imported")')
    ended = run(tmp_path/'other.py', 'import mine, threading\nprint(threading.active_count())')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, 'imported\n1\n', '')
