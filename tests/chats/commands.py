"""The same chat as nbws and its peers have it: one room of all who connect, by servers that share a Redis.

Each is written as its documentation writes it, with what it has against losses. `tests/bench/rooms.py` measures them,
`tests/peer_faults.py` lets things go wrong. The peers are installed into `.venv-bench`, never beside nbws."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..bench.__main__ import ROOT, peers_venv

HERE = Path(__file__).parent
NODE = ROOT / '.venv-bench/node'
PACKAGES = {
    'Socket.IO': ('socket.io', '@socket.io/redis-streams-adapter', 'redis'), # Of npm, as package.json has them
    'python-socketio': ('python-socketio==5.18.1', 'uvicorn==0.54.0', 'uvloop==0.23.0', 'websockets==17.4',
                        'redis==8.1.0', 'hiredis==3.5.0'),
    'channels': ('channels==4.3.2', 'channels-redis==4.3.0', 'django==5.2.19', 'uvicorn==0.54.0', 'uvloop==0.23.0',
                 'websockets==17.4', 'redis==8.1.0', 'hiredis==3.5.0'),
}
SCRIPTS = {'python-socketio': 'python_socketio.py', 'channels': 'django_channels.py'} # Not what they import is called


@dataclass(frozen=True)
class Chat:
    "One of them, as it is started and spoken to."
    name: str
    command: list[str] # With {port} and {redis}, the path of a Unix socket
    path: str
    says: str # A client's message, with {} for its text

    @property
    def is_socketio(self) -> bool: return self.path.startswith('/socket.io/')

    def start(self, port: int, redis: str) -> list[str]:
        return [word.replace('{port}', str(port)).replace('{redis}', redis) for word in self.command]


def ours(*options: str, name: str = 'nbws') -> Chat:
    "Whose members get positions, as pages do, so that they can resume."
    command = [sys.executable, '-m', 'nbws', 'run', str(HERE / 'ours.py'), '--port', '{port}', *options]
    return Chat(name, command, '/ws?nbws-since=', '{"msg": "{}"}')


def peers(names: list[str]) -> list[Chat]:
    "Of these names, installed where they are missing."
    found = []
    packages = [package for name in names if name != 'Socket.IO' for package in PACKAGES[name]]
    python = str(peers_venv(packages) / 'bin/python') if packages else ''
    for name in names:
        if name == 'Socket.IO': command = ['node', str(node()), '{port}', '{redis}']
        else: command = [python, str(HERE / SCRIPTS[name]), '{port}', 'unix://{redis}']
        socketio = '/socket.io/?EIO=4&transport=websocket', '42["say","{}"]'
        found.append(Chat(name, command, *('/ws', '{"msg": "{}"}') if name == 'channels' else socketio))
    return found


def node() -> Path:
    "Where Socket.IO's chat stands, beside its packages."
    NODE.mkdir(parents=True, exist_ok=True)
    wanted, has = (HERE / 'package-lock.json').read_text(), NODE / 'package-lock.json'
    if not (NODE / 'node_modules').exists() or has.read_text() != wanted:
        for file in ('package.json', 'package-lock.json'): shutil.copy(HERE / file, NODE)
        subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--silent'], cwd=NODE, check=True)
    return Path(shutil.copy(HERE / 'socketio.mjs', NODE))


def versions(names: list[str]) -> str:
    "What is installed, in a line."
    found = {}
    if 'Socket.IO' in names:
        node = subprocess.run(['node', '--version'], capture_output=True, text=True, check=True).stdout.strip()
        wanted = json.loads((HERE / 'package.json').read_text())['dependencies']
        found |= {'node': node.lstrip('v'), **{f'{package} (npm)': wanted[package] for package in wanted}}
    for name in names:
        found |= dict(package.split('==') for package in PACKAGES[name] if '==' in package)
    return ', '.join(f'{package} {version}' for package, version in found.items())
