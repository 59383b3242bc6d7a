"""What is lost, doubled or out of order when something goes wrong between people, servers and Redis. Outside CI.

    python -m tests.faults [--servers valkey redis] [--only NAME ...]

For each fault: a Redis of its own, two server processes that reach it through a relay, 40 clients that resume and one
page in Chromium, all in one room, and two publishers, each at one of the servers. They talk, the fault happens while
four of the clients are away, the publishers say 20 messages more each, and then everybody must have heard everything of
which its publisher was told that Redis has it (what an awaited `room.send` means). Counted are, over all clients:
messages that were acknowledged and not heard; that were heard twice, acknowledged or not; that were heard in another
order than by the first client, or than they were said in by their publisher. `seconds` are those from the end of the
fault until everything was heard, the 40 messages more included.

Exit code 1 if anything was lost, doubled, out of order or not heard within 10 s. For some of the faults there is not
one Redis but a master with a replica and a Sentinel, or a Cluster of three masters, which Redis 6.2 cannot be for us.
Short forms of the faults are in tests/sockets, which are part of CI.
"""
from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from e2e.chromium import launch_arguments
from e2e.relay import Relay as Link
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent)) # As pytest has it

from bound import BOUND, until
from pages import Page
from processes import Process, nbws, running, ws
from redises import PROMPT, Clustered, Relay, Watched, binary, follow, free_port, redis_server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

CLIENTS, AWAY, MORE, DROPS = 40, 4, 20, 1000
PAUSE = .02 # Seconds between two messages of a publisher
WITHIN = 10.0 # Seconds within which all must be heard
CHAT = r"""
from nbws.common import *
app, rt = fast_app(exts='ws')
people = app.room('people', history=3)
PAGE = '''
window.heard = []
const open = () => {
  const ws = new WebSocket(`ws://${location.host}/ws`)
  ws.onmessage = e => heard.push(e.data)
  ws.onclose = () => setTimeout(open, 100)
}
open()
'''

@rt('/')
def home(): return Titled('heard', Script(PAGE))

@app.ws('/ws', conn=people.join)
async def hear(ws): pass

@app.ws('/say')
async def say(msg: str, ws):
    try: await people.send('x' * 33 * 2**20 if msg == 'large' else msg)
    except NbwsError as e: ws.send(f'refused: {e}')
    else: ws.send(f'taken: {msg}')
"""


def ask(talk: ClientConnection, text: str) -> str:
    "Say something, and wait until it is taken or refused."
    talk.send(f'{{"msg": "{text}"}}')
    return str(talk.recv(BOUND))


class Publisher:
    "Says numbers, one after the other. Of one whose connection ended nobody knows whether it was taken."
    def __init__(self, name: str, port: int) -> None:
        self.name, self.port, self.taken, self.refused = name, port, [], []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
    taken: list[str]
    refused: list[str]

    def _run(self) -> None:
        n = 0
        while not self.ended.wait(PAUSE):
            with suppress(OSError, ConnectionClosed, InvalidStatus, TimeoutError):
                with ws(self.port, '/say', compression=None) as talk:
                    while not self.ended.wait(PAUSE):
                        n += 1
                        answer = ask(talk, text := f'{self.name} {n}')
                        if answer == f'taken: {text}': self.taken.append(text)
                        else: self.refused.append(answer)

    def end(self) -> None:
        self.ended.set()
        self.thread.join(BOUND)


class Server:
    "An `nbws run`, which may be killed and started again at the same port."
    def __init__(self, redis: str, folder: Path, stack: ExitStack) -> None:
        self.redis, self.folder, self.stack = redis, folder, stack
        self.process = self._start(0)

    def _start(self, port: int) -> Process:
        command = nbws('run', 'chat.py', '--redis', self.redis, '--port', str(port))
        process = self.stack.enter_context(running(command, cwd=self.folder))
        return process.serves()

    @property
    def port(self) -> int: return self.process.port

    def kill(self) -> None:
        self.process.kill()
        self.process.popen.wait(BOUND)

    def start(self) -> None: self.process = self._start(self.port)


@dataclass
class Site:
    "All that runs for a fault."
    stack: ExitStack # What is entered here ends with it
    server: str # redis or valkey
    place: Any # `Alone`, `Watched` or `Clustered`
    servers: list[Server]
    pages: list[Page]
    publishers: list[Publisher]
    shown: Any # The page in Chromium

    def taken(self) -> list[str]: return [text for publisher in self.publishers for text in publisher.taken]
    def refused(self) -> list[str]: return [answer for publisher in self.publishers for answer in publisher.refused]
    def heard(self) -> list[list[str]]: return [page.heard[:] for page in self.pages] + [self.shown.evaluate('heard')]

    def talks(self, more: int = MORE) -> None:
        "Wait until each publisher has said so many more."
        before = [len(publisher.taken) for publisher in self.publishers]
        until(lambda: all(len(p.taken) >= n + more for p, n in zip(self.publishers, before, strict=True)), 'taken')

    def goes_through(self, fault: Callable[[Site], None]) -> float:
        "Let it happen while some are away; then all is said. Returns when the fault was over, by `time.monotonic`."
        self.talks()
        for page in self.pages[:AWAY]: page.leave()
        fault(self)
        for page in self.pages[:AWAY]: page.come()
        over = time.monotonic()
        self.talks()
        for publisher in self.publishers: publisher.end()
        return over


class Alone:
    "One Redis, behind a relay."
    def __init__(self, server: str, stack: ExitStack, *options: str) -> None:
        self.redis = stack.enter_context(redis_server(server, *options, port=free_port()))
        self.relay = stack.enter_context(closing(Relay(self.redis)))
        self.url = f'unix://{self.relay.path}'


@contextmanager
def site(server: str, place: Place, browser: Any) -> Iterator[Site]:
    "Everything, and everybody has heard something. All of it is ended."
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='nbws')))
        (folder/'chat.py').write_text(CHAT)
        there = place(server, stack)
        servers = [Server(there.url, folder, stack) for _ in range(2)]
        ports = [server.port for server in servers]
        shown = stack.enter_context(closing(browser.new_page()))
        shown.goto(f'http://127.0.0.1:{ports[0]}/')
        running = Site(stack, server, there, servers, [], [], shown)
        for n in range(CLIENTS):
            running.pages.append(page := Page(*ports[n % 2:], *ports[:n % 2]))
            stack.callback(page.end)
        until(lambda: all(page.seen for page in running.pages), 'joined') # They have been told where the room stands
        for name, port in zip('ab', ports, strict=True):
            running.publishers.append(publisher := Publisher(name, port))
            stack.callback(publisher.end)
        until(lambda: all(running.heard()), 'heard')
        yield running


def clients_away(site: Site) -> None:
    "Every second client is away for 3 s"
    for page in site.pages[::2]: page.leave()
    time.sleep(3)
    for page in site.pages[::2]: page.come()


def killed(site: Site) -> None:
    "Redis is killed and started again after 1 s"
    site.place.redis.kill()
    time.sleep(1)
    site.place.redis.start()


def stopped(site: Site) -> None:
    "Redis takes connections and does not answer for 3 s (SIGSTOP)"
    site.place.redis.pause()
    time.sleep(3)
    site.place.redis.resume()


def server_killed(site: Site) -> None:
    "One of the servers is killed and started again"
    site.servers[1].kill()
    site.servers[1].start()


def swallowed(site: Site) -> None:
    "Nothing passes any more on the connections to Redis, and nobody says so"
    site.place.relay.swallow()


def promoted(site: Site) -> None:
    "A replica that has not heard the last second is promoted, and the other one killed"
    place, replica = site.place, site.stack.enter_context(redis_server(site.server))
    with closing(Link(place.redis.port)) as link:
        follow(replica, link.port)
        site.talks()
        link.forget()
        time.sleep(1)
        replica.says(b'REPLICAOF NO ONE\r\n')
        place.relay.server = replica
        place.redis.kill()


def sentinel_fails_over(site: Site) -> None:
    "A master is killed, and Sentinel makes its replica the master"
    site.place.master.kill()
    site.place.fails_over()


def slot_moves(site: Site) -> None:
    "The room's slot moves to another node of a Cluster, four times"
    found = [node.says(b'KEYS *people}:said\r\n').decode().splitlines() for node in site.place.nodes]
    [key] = [line for lines in found for line in lines[2::2]]
    for _ in range(4):
        site.place.move(key)
        time.sleep(.3)


def node_killed(site: Site) -> None:
    "The room's node in a Cluster is killed, and its replica takes over"
    [node] = [node for node in site.place.nodes if b'people}:said' in node.says(b'KEYS *people}:said\r\n')]
    replica = site.place.replica_of(site.server, site.stack, node)
    site.talks()
    node.kill()
    until(lambda: b'master' in replica.says(b'ROLE\r\n'), 'taken over')


def replies_lost(site: Site) -> None:
    "Of 60 replies every other one is lost with its connection, after Redis has done what was asked"
    site.place.relay.replies = 60
    until(lambda: site.place.relay.replies == 0, 'replies lost')


def too_large(site: Site) -> None:
    "33 MB are said in the room"
    with ws(site.servers[0].port, '/say', compression=None) as talk: answer = ask(talk, 'large')
    assert answer.startswith('refused: ') and 'too large' in answer, answer


def emptied(site: Site) -> None:
    "FLUSHALL, three times within a second"
    for _ in range(3):
        site.place.redis.says(b'FLUSHALL\r\n')
        time.sleep(.3)


def full(site: Site) -> None:
    "Redis is at its maxmemory for 2 s"
    site.place.redis.says(b'CONFIG SET maxmemory 1\r\n')
    time.sleep(2)
    site.place.redis.says(b'CONFIG SET maxmemory 0\r\n')
    assert any('maxmemory' in answer for answer in site.refused()), 'nobody was refused'


def dropped(site: Site) -> None:
    "1,000 clients' connections are cut, at random"
    left = DROPS
    while left:
        left -= random.choice(site.pages).drop()
        time.sleep(.02)


def with_file(server: str, stack: ExitStack) -> Alone:
    return Alone(server, stack, '--appendonly', 'yes', '--appendfsync', 'always')


def prompt(server: str, stack: ExitStack) -> Alone: return Alone(server, stack, *PROMPT)
def three(server: str, stack: ExitStack) -> Clustered: return Clustered(server, stack, 3, 3000)


Place = Callable[[str, ExitStack], Any]
FAULTS: dict[str, tuple[Callable[[Site], None], Place]] = {
    'clients away': (clients_away, Alone), 'redis killed, empty': (killed, Alone),
    'redis killed, AOF': (killed, with_file), 'redis stopped': (stopped, Alone),
    'server killed': (server_killed, Alone), 'link swallows': (swallowed, Alone),
    'replica promoted': (promoted, prompt), 'sentinel failover': (sentinel_fails_over, Watched),
    'slot moved': (slot_moves, three),
    'node killed': (node_killed, three), 'replies lost': (replies_lost, Alone), 'too large': (too_large, Alone),
    'flushall': (emptied, Alone), 'maxmemory': (full, Alone), 'clients dropped': (dropped, Alone),
}


@dataclass
class Result:
    server: str
    fault: str
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    seconds: float = 0
    trouble: str = ''

    @property
    def failed(self) -> bool:
        return bool(self.lost or self.doubled or self.disordered or self.trouble or self.seconds > WITHIN)

    def __str__(self) -> str:
        figures = f'{self.acknowledged:12} {self.lost:5} {self.doubled:7} {self.disordered:12} {self.seconds:7.1f}'
        return f'{self.server:6}  {self.fault:20} {figures}{"  FAILED " if self.failed else ""}{self.trouble}'


def backwards(said: list[str], rank: dict[str, int]) -> int:
    "How often one comes before its predecessor."
    ranks = [rank[text] for text in said if text in rank]
    return sum(a > b for a, b in pairwise(ranks))


def counted(result: Result, taken: list[str], heard: list[list[str]]) -> None:
    "Compare what was taken with what was heard."
    result.acknowledged = len(taken)
    result.lost = sum(len(set(taken) - set(texts)) for texts in heard)
    result.doubled = sum(len(texts) - len(set(texts)) for texts in heard)
    acknowledged = set(taken)
    first = {text: n for n, text in enumerate(text for text in heard[0] if text in acknowledged)}
    result.disordered = sum(backwards(texts, first) for texts in heard)
    for name in 'ab': # `taken` has each publisher's in order
        own = {text: n for n, text in enumerate(text for text in taken if text.startswith(name))}
        result.disordered += backwards(heard[0], own)


def happen(server: str, name: str, browser: Any) -> Result:
    "Let a fault happen, and count."
    fault, place = FAULTS[name]
    result = Result(server, name)
    print(f'{server}: {name}: {fault.__doc__}', flush=True)
    with site(server, place, browser) as running:
        try:
            begun = running.goes_through(fault)
            taken = set(running.taken())
            until(lambda: all(taken <= set(texts) for texts in running.heard()), 'heard', 60)
            result.seconds = time.monotonic() - begun
        except AssertionError as e: result.trouble = str(e)
        for publisher in running.publishers: publisher.end()
        counted(result, running.taken(), running.heard())
    print(f'  {result}', flush=True)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--servers', nargs='+', choices=['valkey', 'redis'], default=['valkey', 'redis'])
    parser.add_argument('--only', nargs='+', choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    missing = [server for server in options.servers if not binary(server)]
    if missing: parser.error(f'there is no {" and no ".join(missing)} here: `make setup redis` fetches them')
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        with closing(chromium.launch(**launch_arguments(chromium.executable_path))) as browser:
            results = [happen(server, name, browser) for server in options.servers for name in options.only
                       if server == 'valkey' or FAULTS[name][1] is not three]
    print(f'\n{"server":6}  {"fault":20} acknowledged  lost doubled out of order seconds')
    for result in results: print(result)
    return int(any(result.failed for result in results))


if __name__ == '__main__': sys.exit(main())
