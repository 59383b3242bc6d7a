"""What nbs/many_machines.ipynb promises, process for process: a Valkey, two servers, nginx where there is one."""
from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from bound import BOUND, until
from namespaces import Network, network
from processes import Process, get, listens, nbws, nginx_command, running
from redises import binary, redis_server
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect, unix_connect

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


def nginx(folder: Path, text: str) -> list[str]:
    "A command that starts one with this configuration, and with all that it writes in a folder of its own."
    kinds = ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
    own = ''.join(f'  {kind}_temp_path {folder}/{kind};\n' for kind in kinds)
    text = text.replace('http {\n', f'http {{\n  access_log off;\n{own}')
    (folder/'nginx.conf').write_text(f'daemon off; pid {folder}/pid;\n{text}')
    return [nginx_command(), '-p', str(folder), '-e', 'stderr', '-c', str(folder/'nginx.conf')]


def nginx_here(folder: Path, ports: list[int]) -> list[str]:
    "The same with the notebook's configuration, on a Unix socket, before servers at these ports."
    text = fenced('nginx')
    for name, port in zip(('one', 'two'), ports, strict=True):
        assert f'server {name}:5001;' in text
        text = text.replace(f'server {name}:5001;', f'server 127.0.0.1:{port};')
    return nginx(folder, text.replace('listen 80;', f'listen unix:{folder}/front;'))


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
        with running(nginx_here(tmp_path, [one.port, two.port])):
            until(lambda: listens(tmp_path/'front'), 'nginx')
            with visitor() as a, visitor() as b, one.ws('/ws') as first, two.ws('/ws') as second:
                a.send('{"msg": "hello"}')
                assert [x.recv(BOUND) for x in (a, b, first, second)] == ['hello'] * 4
                one.kill()
                until(lambda: (a.state is State.CLOSED) != (b.state is State.CLOSED)) # One of them was there
                left = a if b.state is State.CLOSED else b
                left.send('{"msg": "still here"}')
                assert [x.recv(BOUND) for x in (left, second)] == ['still here'] * 2
                with visitor() as again: assert [again.recv(BOUND) for _ in range(2)] == ['hello', 'still here']


class Composed:
    "What the notebook's compose.yaml starts, each service at a machine of its own, by its name."
    def __init__(self, machines: Network, folder: Path, stack: ExitStack) -> None:
        self.machines, self.folder = machines, folder
        self.running: dict[str, Process] = {}
        services: dict[str, Any] = yaml.safe_load(fenced('yaml'))['services']
        for name in 'valkey', 'one', 'two', 'nginx': # As `depends_on` has it
            self.running[name] = stack.enter_context(running(self._command(name, services[name]), cwd=folder))
        for name in 'one', 'two': self.running[name].serves()
        until(self.visits, 'nginx')

    def _command(self, name: str, service: dict[str, Any]) -> list[str]:
        if name == 'nginx': return self.machines.at(name, *nginx(self.folder, fenced('nginx')))
        program, *arguments = shlex.split(service['command'])
        if program == 'nbws': command = nbws(*arguments)
        else: command = [str(binary('valkey')), *arguments, '--protected-mode', 'no'] # As the image has it
        variables = {**service.get('environment', {}), 'XDG_DATA_HOME': str(self.folder)}
        if name != 'valkey':
            assert variables['NBWS_SECRET_KEY'].startswith('${NBWS_SECRET_KEY:?')
            variables['NBWS_SECRET_KEY'] = 'not so secret, for once'
        return self.machines.at(name, 'env', *(f'{key}={value}' for key, value in variables.items()), *command)

    def visitor(self) -> ClientConnection:
        "Somebody at a machine of their own, who asks nginx."
        return connect('ws://chat.example/ws', sock=self.machines.connect('visitor', 'nginx', 80), open_timeout=BOUND,
                       close_timeout=BOUND)

    def visits(self) -> bool:
        with suppress(ConnectionError):
            self.machines.connect('visitor', 'nginx', 80).close()
            return True
        return False


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    (tmp_path/'chat.py').write_text(CHAT)
    nginx_command() # Skips the test where there is none
    with network(('valkey', 'one', 'two', 'nginx', 'visitor'), tmp_path) as machines, ExitStack() as stack:
        yield Composed(machines, tmp_path, stack)


def test_the_compose_file(composed: Composed) -> None:
    "Its own commands, names, addresses and ports. One machine ends, and the cable of another one is pulled."
    with ExitStack() as stack:
        a, b = (stack.enter_context(composed.visitor()) for _ in range(2))
        a.send('{"msg": "hello"}')
        assert [x.recv(BOUND) for x in (a, b)] == ['hello'] * 2
        composed.machines.cable('valkey', plugged=False)
        a.send('{"msg": "from a"}')
        b.send('{"msg": "from b"}')
        with pytest.raises(TimeoutError): a.recv(.5)
        composed.machines.cable('valkey', plugged=True)
        heard = [[x.recv(BOUND) for _ in range(2)] for x in (a, b)]
        assert sorted(heard[0]) == ['from a', 'from b'] and heard[1] == heard[0]
        composed.running['one'].kill()
        until(lambda: (a.state is State.CLOSED) != (b.state is State.CLOSED)) # One of them was there
        left = a if b.state is State.CLOSED else b
        left.send('{"msg": "still here"}')
        assert left.recv(BOUND) == 'still here'
        again = stack.enter_context(composed.visitor())
        assert [again.recv(BOUND) for _ in range(4)] == ['hello', *heard[0], 'still here']
