"""Machines of a network of their own, on this one: Linux' network namespaces, with names that they know each other by.

Only root may make them, with `ip` (iproute2) and `unshare`; elsewhere tests with them are skipped, and say so.
"""
from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from bound import BOUND

CLONE_NEWNET = 0x40000000 # setns(2)
# In a mount namespace of its own, so that nobody else sees these names.
WITH_NAMES = 'mount --bind "$0" /etc/hosts && exec "$@"'


def run(*command: str) -> None:
    "Raises `OSError` where it may not do that."
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode: raise OSError(f'{" ".join(command)}: {done.stderr.strip()}')


def ip(*arguments: str) -> None: run('ip', *arguments)


class Network:
    "Machines by their names: each has an address and reaches the others, and nothing else."
    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.hosts = folder/'hosts'
        self.addresses = {name: f'10.77.0.{n}' for n, name in enumerate(names, 1)}
        lines = ['127.0.0.1 localhost', *(f'{address} {name}' for name, address in self.addresses.items())]
        self.hosts.write_text('\n'.join([*lines, '']))
        self._prefix = f'nbws{os.getpid()}'
        self._made: list[str] = []

    def make(self) -> None:
        "Raises `OSError` where that is not possible."
        switch = self._namespace('switch')
        ip('-n', switch, 'link', 'add', 'bridge', 'type', 'bridge')
        ip('-n', switch, 'link', 'set', 'bridge', 'up')
        for name, address in self.addresses.items():
            machine = self._namespace(name)
            ip('-n', machine, 'link', 'set', 'lo', 'up')
            ip('-n', machine, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', name, 'netns', switch)
            ip('-n', switch, 'link', 'set', name, 'master', 'bridge', 'up')
            ip('-n', machine, 'address', 'add', f'{address}/24', 'dev', 'eth0')
            ip('-n', machine, 'link', 'set', 'eth0', 'up')
            run(*self.at(name, 'true')) # Whether its names can be set

    def _namespace(self, name: str) -> str:
        ip('netns', 'add', made := f'{self._prefix}{name}')
        self._made.append(made)
        return made

    def end(self) -> None:
        while self._made: ip('netns', 'del', self._made.pop())

    def at(self, name: str, *command: str) -> list[str]:
        "The command that runs `command` at this machine."
        return ['ip', 'netns', 'exec', f'{self._prefix}{name}', 'unshare', '-m', 'sh', '-c', WITH_NAMES,
                str(self.hosts), *command]

    def cable(self, name: str, plugged: bool) -> None:
        "Plug a machine's cable in, or pull it: nobody is told."
        ip('-n', f'{self._prefix}switch', 'link', 'set', name, 'up' if plugged else 'down')

    def connect(self, at: str, to: str, port: int) -> socket.socket:
        "A connection from one machine to another, for this process to use."
        made: list[socket.socket] = []
        def enter() -> None: # A thread has a network namespace, and a socket keeps that of the thread that made it
            with open(f'/run/netns/{self._prefix}{at}') as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), 'setns')
            made.append(socket.create_connection((self.addresses[to], port), BOUND))
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(2 * BOUND)
        if not made: raise ConnectionError(f'no connection from {at} to {to}:{port}')
        return made[0]


@contextmanager
def network(names: Sequence[str], folder: Path) -> Iterator[Network]:
    "These machines. Skips the test where there can be none."
    if os.geteuid() or not all(map(shutil.which, ('ip', 'unshare', 'mount'))):
        pytest.skip('network namespaces take root, ip and unshare')
    made = Network(names, folder)
    with ExitStack() as stack:
        stack.callback(made.end)
        try: made.make()
        except OSError as e: pytest.skip(f'no network namespaces here: {e}')
        yield made
