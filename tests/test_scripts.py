"""Apps as programs: `serve()` at the end of a file, what ends it, and mistakes that are told in a line."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bound import BOUND
from live import ended
from processes import Process, running

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
    return subprocess.run([sys.executable, file], env={**os.environ, 'PYTHONWARNINGS': 'default', **environment},
                          capture_output=True, text=True, timeout=BOUND)


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Process]]:
    "Runs a script that serves; it has announced its port."
    monkeypatch.setenv('PORT', '0')
    with ExitStack() as stack:
        def start(text: str) -> Process:
            (tmp_path/'chat.py').write_text(text)
            return stack.enter_context(running([sys.executable, str(tmp_path/'chat.py')])).serves()
        yield start


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('end', ['serve()', "if __name__ == '__main__': serve()", 'def main(): serve(app)\nmain()',
                                 "serve(appname='main', app='app', reload_includes=['*.css'])"],
                         ids=['plain', 'guarded', 'main', 'fasthtml'])
def test_a_script_serves_until_it_is_stopped(serving: Callable[[str], Process], how: signal.Signals, end: str) -> None:
    process = serving(APP + end)
    with process.ws('/ws') as ws:
        ws.send(json.dumps({'n': 1}))
        assert ws.recv(BOUND) == '2'
        process.popen.send_signal(how)
        assert ended(ws)[0] == 1012
    assert process.ends() == 0
    assert len(process.lines) == 1, process.output  # The announcement
    with socket.socket() as s: assert s.connect_ex(('127.0.0.1', process.port)) != 0


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
    'a port that is none': (APP + 'serve(port=99999)', 'a port is a number from 0 to 65535'),
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


def test_wrong_messages_are_told(serving: Callable[[str], Process]) -> None:
    process = serving(APP + 'serve()')
    with process.ws('/ws') as ws:
        for message in ('no json', '{}', '{"n": "x"}', '{"n": 1}'): ws.send(message)
        assert ws.recv(BOUND) == '2'
    assert process.stop(signal.SIGINT) == 0
    expected = ['nbws serves', 'is not JSON', "no value for 'n'", "n='x' cannot be read as int"]
    assert [told in line for told, line in zip(expected, process.lines, strict=True)] == [True] * 4


@pytest.mark.parametrize('end', ['serve()', "serve(app='app')", "serve(appname='mine', reload_includes=['*.css'])"])
def test_a_module_that_is_imported_serves_nothing(tmp_path: Path, end: str) -> None:
    (tmp_path/'mine.py').write_text(APP + f'{end}\nprint("imported")')
    ended = run(tmp_path/'other.py', 'import mine, threading\nprint(threading.active_count())')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, 'imported\n1\n', '')
