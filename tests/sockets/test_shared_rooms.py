"""Rooms that workers share by a Valkey that `nbws run` starts itself: real processes, which are killed meanwhile."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from bound import BOUND, until
from pages import Page
from processes import Process, asgi_server, nbws, running
from redises import binary, redis_server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

pytestmark = pytest.mark.skipif(not binary('valkey'), reason='there is no valkey-server here: nbws[share] brings one')

CHAT = """
import os
from nbws.common import *
app = App()
people = app.room('people', history=3)
async def conn(ws):
    ws.send(f'pid {os.getpid()}')
    await people.join(ws)
@app.ws('/ws', conn=conn)
async def hear(msg: str, ws, skip: bool = False):
    await people.send(msg, skip=ws if skip else None)
@app.get('/')
def home(): return str(os.getpid())
"""


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Process]:
    (tmp_path/'chat.py').write_text(CHAT)
    with running(nbws('run', 'chat.py', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        yield process.serves()
        assert process.stop() == 0


def both(process: Process, stack: ExitStack) -> list[tuple[ClientConnection, int]]:
    "Two clients, on different workers."
    found: dict[int, ClientConnection] = {}
    while len(found) < 2:
        ws = stack.enter_context(process.ws('/ws', compression=None))
        found[int(str(ws.recv(BOUND)).split()[1])] = ws
    return [(ws, pid) for pid, ws in found.items()]


def say(ws: ClientConnection, text: str, more: str = '') -> None: ws.send(f'{{"msg": "{text}"{more}}}')


def test_workers_share_rooms(chat: Process) -> None:
    with ExitStack() as stack:
        (one, _), (two, _) = both(chat, stack)
        say(one, 'hello')
        say(two, 'good morning')
        heard = [[ws.recv(BOUND), ws.recv(BOUND)] for ws in (one, two)]
        assert heard[0] == heard[1]
        assert set(heard[0]) == {'hello', 'good morning'}
        say(one, 'not me', ', "skip": true')
        assert two.recv(BOUND) == 'not me'
        say(two, 'all')
        assert [ws.recv(BOUND) for ws in (one, two)] == ['all', 'all']
        with chat.ws('/ws') as late: # It gets the history, wherever it is
            late.recv(BOUND)
            assert [late.recv(BOUND) for _ in range(3)] == [*heard[0], 'not me', 'all'][-3:]


class Talker:
    "Says numbers, each until somebody has heard it: one that was not acknowledged is said again under a new name."
    def __init__(self, process: Process, name: str) -> None:
        self.process, self.name, self.said, self.ended = process, name, [], threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
    said: list[str]

    def _run(self) -> None:
        n = 0
        while not self.ended.is_set():
            with suppress(OSError, ConnectionClosed, InvalidStatus, TimeoutError):
                with self.process.ws('/ws', compression=None) as ws:
                    while not self.ended.is_set():
                        n += 1
                        text = f'{self.name} {n}'
                        say(ws, text)
                        while ws.recv(BOUND) != text: pass
                        self.said.append(text)

    def end(self) -> list[str]:
        self.ended.set()
        self.thread.join(BOUND)
        return self.said


def hears_all(process: Process, disturb: Any) -> None:
    "Two talk, four hear, on all workers; while something happens, nothing is lost, doubled, or in another order."
    pages, talkers = [Page(process.port) for _ in range(4)], []
    try:
        until(lambda: all(page.seen for page in pages)) # They have begun
        talkers = [Talker(process, name) for name in 'ab']
        until(lambda: all(len(t.said) > 20 for t in talkers))
        disturb(pages)
        before = [len(t.said) for t in talkers]
        until(lambda: all(len(t.said) > b + 20 for t, b in zip(talkers, before, strict=True)))
        said = [text for talker in talkers for text in talker.end()]
        until(lambda: all(set(said) <= set(page.heard) for page in pages))
    finally:
        for one in (*talkers, *pages): one.end()
    for page in pages:
        assert len(page.heard) == len(set(page.heard))
        assert set(said) <= set(page.heard)
        for name in 'ab':
            numbers = [int(text.split()[1]) for text in page.heard if text.startswith(name)]
            assert numbers == sorted(numbers)
    orders = [[text for text in page.heard if text in set(said)] for page in pages]
    assert all(order == orders[0] for order in orders)


def test_a_worker_is_killed_while_people_talk(chat: Process) -> None:
    def kill(pages: list[Page]) -> None:
        killed = pages[0].pid
        os.kill(killed, signal.SIGKILL)
        chat.says('ended by itself')
        until(lambda: pages[0].pid != killed)
    hears_all(chat, kill)


def test_valkey_is_killed_while_people_talk(chat: Process) -> None:
    "It comes again, and has forgotten everything."
    def kill(pages: list[Page]) -> None:
        [valkey] = [p for p in psutil.Process(chat.popen.pid).children() if 'valkey' in p.name()]
        valkey.kill()
        chat.says('is started again')
    hears_all(chat, kill)


@pytest.mark.parametrize('name', ['uvicorn', 'hypercorn', 'granian'])
def test_servers_of_several_kinds_share_rooms(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "One machine has uvicorn, another one our own server: `NBWS_REDIS` is all that they have in common."
    pytest.importorskip(name)
    (tmp_path/'chat.py').write_text(CHAT)
    with redis_server() as redis:
        monkeypatch.setenv('NBWS_REDIS', redis.url)
        with asgi_server(name, 'chat:app', tmp_path) as one, asgi_server('nbws', 'chat:app', tmp_path) as two:
            with one.ws('/ws') as there, two.ws('/ws') as here:
                for ws in there, here: assert str(ws.recv(BOUND)).startswith('pid ')
                say(there, 'from there')
                assert [ws.recv(BOUND) for ws in (there, here)] == ['from there'] * 2
                say(here, 'from here')
                assert [ws.recv(BOUND) for ws in (there, here)] == ['from here'] * 2


@pytest.mark.parametrize('more', [[], ['--workers', '2']])
def test_a_redis_that_is_not_there_is_said_at_the_start(more: list[str], tmp_path: Path) -> None:
    (tmp_path/'chat.py').write_text(CHAT)
    url = f'unix://{tmp_path}/nobody'
    run = subprocess.run(nbws('run', 'chat.py', '--port', '0', '--redis', url, *more), cwd=tmp_path, text=True,
                         capture_output=True, timeout=BOUND)
    assert run.returncode == 1
    assert f'the Redis at {url} does not answer' in run.stderr
    assert 'Traceback' not in run.stderr


def test_a_broker_of_the_programs_own(tmp_path: Path) -> None:
    "`serve(broker=...)` at the end of a script, which runs by itself and by `nbws run`."
    with redis_server() as redis:
        (tmp_path/'chat.py').write_text(CHAT + f'serve(port=0, broker=RedisBroker({redis.url!r}))')
        one = [sys.executable, str(tmp_path/'chat.py')]
        two = nbws('run', 'chat.py', '--port', '0')
        with running(one, cwd=tmp_path) as script, running(two, cwd=tmp_path) as served:
            with script.serves().ws('/ws') as there, served.serves().ws('/ws') as here:
                for ws in there, here: ws.recv(BOUND)
                say(there, 'from there')
                assert [ws.recv(BOUND) for ws in (there, here)] == ['from there'] * 2


def test_valkey_ends_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path/'chat.py').write_text(CHAT)
    with running(nbws('run', 'chat.py', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        [valkey] = [p for p in psutil.Process(process.popen.pid).children() if 'valkey' in p.name()]
        assert not list(valkey.net_connections('inet')) # No TCP port
        process.popen.kill()
        until(lambda: not valkey.is_running() or valkey.status() == psutil.STATUS_ZOMBIE)
