"""What nbs/many_machines.ipynb promises, process for process: a Valkey, two servers, nginx where there is one."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bound import BOUND, until
from processes import Process, get, nbws, nginx_command, running
from redises import redis_server
from websockets.protocol import State
from websockets.sync.client import unix_connect

NOTEBOOK = Path(__file__).parents[1]/'nbs'/'many_machines.ipynb'
CHAT = """
from nbws import App
app = App()

@app.get('/')
def home(session, name=''):
    if name: session['name'] = name
    return session.get('name', 'nobody')

@app.ws('/ws', conn=app.room('all', history=50).join)
def say(msg: str): app.room('all').send(msg)
"""


def fenced(language: str) -> str:
    "The notebook's code block of this language."
    text = ''.join(line for cell in json.loads(NOTEBOOK.read_text())['cells'] for line in [*cell['source'], '\n'])
    found = re.search(rf'```{language}\n(.*?)```', text, re.S)
    assert found
    return found[1]


@contextmanager
def machine(redis: str, folder: Path) -> Iterator[Process]:
    "A server as the compose file starts it."
    environment = {'NBWS_REDIS': redis, 'NBWS_SECRET_KEY': 'not so secret, for once',
                   'NBWS_ALLOWED_HOSTS': 'chat.example', 'XDG_DATA_HOME': str(folder)}
    variables = [f'{name}={value}' for name, value in environment.items()]
    command = ['env', *variables, *nbws('run', 'chat.py', '--port', '0')]
    with running(command, cwd=folder) as process: yield process.serves()


def nginx(folder: Path, ports: list[int]) -> list[str]:
    "A command that starts one with the notebook's configuration, on a Unix socket."
    text = fenced('nginx')
    for name, port in zip(('one', 'two'), ports, strict=True):
        assert f'server {name}:5001;' in text
        text = text.replace(f'server {name}:5001;', f'server 127.0.0.1:{port};')
    kinds = ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
    own = ''.join(f'  {kind}_temp_path {folder}/{kind};\n' for kind in kinds)
    text = text.replace('listen 80;', f'listen unix:{folder}/front;')
    text = text.replace('http {\n', f'http {{\n  access_log off;\n{own}')
    (folder/'nginx.conf').write_text(f'daemon off; pid {folder}/pid;\n{text}')
    return [nginx_command(), '-p', str(folder), '-e', 'stderr', '-c', str(folder/'nginx.conf')]


def test_two_machines(tmp_path: Path) -> None:
    (tmp_path/'chat.py').write_text(CHAT)
    with redis_server('valkey') as valkey, machine(valkey.url, tmp_path) as one, machine(valkey.url, tmp_path) as two:
        with one.ws('/ws') as a, two.ws('/ws') as b:
            for n, ws in enumerate((a, b, a)):
                ws.send(f'{{"msg": "{n}"}}')
                assert [x.recv(BOUND) for x in (a, b)] == [str(n)] * 2
        with urlopen(f'http://127.0.0.1:{one.port}/?name=ada', timeout=BOUND) as answer:
            cookie = answer.headers['Set-Cookie']
        assert get(two.port, '/', {'Cookie': cookie.partition(';')[0]}) == (200, 'ada')
        one.kill()
        with two.ws('/ws') as late: assert [late.recv(BOUND) for _ in range(3)] == ['0', '1', '2']


def test_behind_nginx(tmp_path: Path) -> None:
    "Visitors are spread over both, and talk; one of the two ends, and they go on."
    (tmp_path/'chat.py').write_text(CHAT)
    def visitor() -> Any: return unix_connect(f'{tmp_path}/front', 'ws://chat.example/ws', open_timeout=BOUND)
    with redis_server('valkey') as valkey, machine(valkey.url, tmp_path) as one, machine(valkey.url, tmp_path) as two:
        with running(nginx(tmp_path, [one.port, two.port])):
            until((tmp_path/'front').exists)
            with visitor() as a, visitor() as b, one.ws('/ws') as first, two.ws('/ws') as second:
                a.send('{"msg": "hello"}')
                assert [x.recv(BOUND) for x in (a, b, first, second)] == ['hello'] * 4
                one.kill()
                until(lambda: (a.state is State.CLOSED) != (b.state is State.CLOSED)) # One of them was there
                left = a if b.state is State.CLOSED else b
                left.send('{"msg": "still here"}')
                assert [x.recv(BOUND) for x in (left, second)] == ['still here'] * 2
                with visitor() as again: assert [again.recv(BOUND) for _ in range(2)] == ['hello', 'still here']
