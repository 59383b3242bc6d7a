"""What peers lose when something goes wrong: `tests/faults.py` with their servers, and clients that do what theirs do.
nbws is in the same run, with its own.

    python -m tests.peer_faults [--peers NAME ...] [--only FAULT ...]

The chats stand in tests/chats. Socket.IO on node has its Redis streams adapter and connection state recovery, and its
clients say at each connection which session they had and what they heard last. The others have nothing of that kind.
All clients connect again at once, without the pause that theirs make, to the same servers in turn. A message counts as
acknowledged when the server's handler has said so, behind its `emit` or the `await` of it; one that is not heard within
10 s after the fault counts as lost. Outside CI: node, npm and a Valkey are needed; packages go into `.venv-bench`.
"""
from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

from e2e.chromium import launch_arguments
from playwright.sync_api import sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from . import faults
from .bench.__main__ import table
from .chats.commands import Chat, peers, versions
from .faults import CLIENTS, FAULTS, PAUSE, WITHIN, Alone, Place, Publisher, Result, Site, counted, three

from bound import BOUND, until # faults.py has named the folder
from pages import Page
from processes import Process, running, ws
from redises import Watched, free_port

NAMES = 'Socket.IO', 'python-socketio', 'channels'
ORDINARY = 'clients away', 'redis killed, empty', 'server killed', 'link swallows'
RELAYED = 'link swallows', 'replies lost'
ALONE = [name for name, (_, place) in FAULTS.items() if place not in (three, Watched)]


class PeerServer:
    "A server that may be killed and started again at the same port."
    def __init__(self, chat: Chat, redis: str, stack: ExitStack) -> None:
        self.port, self.stack = free_port(), stack
        self.command = chat.start(self.port, redis)
        self.start()

    def start(self) -> None:
        self.process: Process = self.stack.enter_context(running(self.command))
        until(self._listens, f'{self.command} listens')

    def _listens(self) -> bool:
        with socket.socket() as s: return not s.connect_ex(('127.0.0.1', self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.popen.wait(BOUND)


class PeerPage(Page):
    "A client as a peer has it."
    def __init__(self, chat: Chat, *ports: int) -> None:
        self.chat = chat
        super().__init__(*ports)

    @property
    def path(self) -> str: return self.chat.path

    def _heard(self, text: str) -> None:
        if not self.chat.is_socketio: self.heard.append(text)
        elif text.startswith('0'): self._says('40' + (json.dumps(self.seen) if 'offset' in self.seen else ''))
        elif text == '2': self._says('3')
        elif text.startswith('40'):
            if pid := json.loads(text[2:]).get('pid'): self.seen['pid'] = pid
        elif text.startswith('42'):
            _, said, *offset = json.loads(text[2:])
            self.heard.append(said)
            if offset and 'pid' in self.seen: self.seen['offset'] = offset[0]

    def _says(self, text: str) -> None:
        ws = self._ws
        with suppress(ConnectionClosed):
            if ws is not None: ws.send(text)


class PeerPublisher(Publisher):
    "Says numbers, and asks whether the server has taken each."
    def __init__(self, chat: Chat, name: str, port: int) -> None:
        self.chat, self.port = chat, port
        super().__init__(name, port)

    def _run(self) -> None:
        n = 0
        while not self.ended.wait(PAUSE):
            with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                with ws(self.port, self.chat.path, compression=None) as talk:
                    if self.chat.is_socketio: self._opens(talk)
                    while not self.ended.wait(PAUSE):
                        n += 1
                        self._ask(talk, text := f'{self.name} {n}', n)
                        self.taken.append(text)

    def _opens(self, talk: ClientConnection) -> None:
        self._until(talk, '0')
        talk.send('40')
        self._until(talk, '40')

    def _ask(self, talk: ClientConnection, text: str, n: int) -> None:
        said = f'42{n}["say","{text}"]' if self.chat.is_socketio else json.dumps({'msg': text, 'asks': True})
        talk.send(said)
        self._until(talk, f'43{n}' if self.chat.is_socketio else 'taken')

    def _until(self, talk: ClientConnection, start: str) -> None:
        "It is in the room, too, and hears what is said there."
        end = time.monotonic() + BOUND
        while not (text := str(talk.recv(end - time.monotonic()))).startswith(start):
            if text == '2': talk.send('3')


class PeerSite(Site):
    "Without a page in a browser."
    def heard(self) -> list[list[str]]: return [page.heard[:] for page in self.pages]


@contextmanager
def site(chat: Chat, place: Place, relayed: bool) -> Iterator[PeerSite]:
    """Everything, and everybody has heard something. All of it is ended. A relay is between servers and Redis where the
    fault is its own only: with it, a Redis that is away takes connections and closes them, which ends node's server."""
    with ExitStack() as stack:
        there: Alone = place('valkey', stack)
        path = there.relay.path if relayed else str(there.redis.path)
        servers: list[Any] = [PeerServer(chat, path, stack) for _ in range(2)]
        ports = [server.port for server in servers]
        found = PeerSite(stack, 'valkey', there, servers, [], [], None)
        for n in range(CLIENTS):
            found.pages.append(page := PeerPage(chat, *ports[n % 2:], *ports[:n % 2]))
            stack.callback(page.end)
        for name, port in zip('ab', ports, strict=True):
            found.publishers.append(publisher := PeerPublisher(chat, name, port))
            stack.callback(publisher.end)
        until(lambda: all(found.heard()), 'heard')
        yield found


def happen(chat: Chat, name: str) -> Result:
    "Let a fault happen, and count."
    fault, place = FAULTS[name]
    result = Result(chat.name, name)
    with site(chat, place, name in RELAYED) as running:
        try:
            begun = running.goes_through(fault)
            with suppress(AssertionError): # Lost
                until(lambda: all(set(running.taken()) <= set(texts) for texts in running.heard()), 'heard', WITHIN)
            result.seconds = time.monotonic() - begun
        except AssertionError as e: result.trouble = str(e)
        for publisher in running.publishers: publisher.end()
        counted(result, running.taken(), running.heard())
        taken = set(running.taken())
        losers = sum(bool(taken - set(texts)) for texts in running.heard())
        if losers: result.trouble += f'{result.lost / losers:.0f} by each of {losers} clients'
    print(f'  {result}', flush=True)
    return result


def told(result: Result) -> str:
    "What a row says of one of them."
    found = [result.trouble] if result.trouble else ['0']
    if result.doubled: found.append(f'{result.doubled} doubled')
    if result.disordered: found.append(f'{result.disordered} out of order')
    return ', '.join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--peers', nargs='+', choices=NAMES, default=list(NAMES))
    parser.add_argument('--only', nargs='+', choices=ALONE, default=list(ORDINARY))
    options = parser.parse_args()
    chats = peers(options.peers)
    print(versions(options.peers), flush=True)
    rows = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        with closing(chromium.launch(**launch_arguments(chromium.executable_path))) as browser:
            for name in options.only:
                ours = faults.happen('valkey', name, browser)
                rows.append([str(FAULTS[name][0].__doc__), *map(told, [ours, *(happen(chat, name) for chat in chats)])])
    print('\nLost of what was acknowledged, and by how many of the clients\n')
    print(table(['', 'nbws', *options.peers], rows))
    return 0


if __name__ == '__main__': sys.exit(main())
