"""Connections spread over workers: in bursts, after one was replaced, and while one hangs. Real processes."""
from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from bound import BOUND, until
from processes import Process, nbws, running
from websockets.sync.client import ClientConnection

APP = """
import os
from nbws import App
app = App()
def conn(ws): ws.send(str(os.getpid()))
@app.ws('/', conn=conn)
def hear(msg: str): return msg
@app.get('/')
def home(): return str(os.getpid())
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    "Four workers."
    (tmp_path/'who.py').write_text(APP)
    with running(nbws('run', 'who', '--port', '0', '--workers', '4'), cwd=tmp_path) as process:
        yield process.serves()
        assert process.stop() == 0


def opened(process: Process, stack: ExitStack, count: int) -> list[tuple[ClientConnection, int]]:
    "So many sockets, opened in bursts of 40; and the worker of each."
    def one(_: int) -> tuple[ClientConnection, int]:
        ws = process.ws('/', compression=None, ping_interval=None)
        return stack.enter_context(ws), int(ws.recv(BOUND))
    with ThreadPoolExecutor(40) as pool: return list(pool.map(one, range(count)))


def even(workers: list[int], of: int) -> bool:
    "Whether each of four has a fourth, give or take 25 %."
    counts = Counter(workers)
    return len(counts) == of and all(abs(n - len(workers) / of) <= len(workers) / of / 4 for n in counts.values())


@pytest.mark.timed # A worker leaves a connection to others for 50 ms, in which they must come to run
def test_sockets_are_spread_over_workers(process: Process) -> None:
    with ExitStack() as stack:
        few = opened(process, stack, 24)
        assert even([pid for _, pid in few], 4), Counter(pid for _, pid in few)
        more = few + opened(process, stack, 176)
        assert even([pid for _, pid in more], 4), Counter(pid for _, pid in more)
        # A worker is replaced: who was there comes again, and the new one gets them
        os.kill(lost := few[0][1], signal.SIGKILL)
        process.says('ended by itself')
        left = [pid for _, pid in more if pid != lost]
        known = {pid for _, pid in more}
        until(lambda: int(process.get('/')[1]) not in known) # Its successor serves
        again = [pid for _, pid in opened(process, stack, len(more) - len(left))]
        assert even(left + again, 4), Counter(left + again)


def test_a_worker_that_hangs_keeps_nobody_waiting(process: Process) -> None:
    "It has the fewest connections, and accepts none."
    with ExitStack() as stack:
        [(_, hung)] = opened(process, stack, 1)
        others = opened(process, stack, 11)
        os.kill(hung, signal.SIGSTOP)
        try:
            for ws, pid in others:
                if pid == hung: ws.socket.close()
            pids = [pid for _, pid in opened(process, stack, 12)]
            assert hung not in pids
        finally: os.kill(hung, signal.SIGCONT)


def test_what_a_dying_worker_has_not_accepted_is_served_by_others(process: Process) -> None:
    children = process.workers()
    for child in children: child.suspend()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(process.get, '/') for _ in range(20)]
        until(lambda: waiting(process.port) >= 20)
        children[0].kill()
        for child in children[1:]: child.resume()
        answers = [a.result(BOUND) for a in asked]
    assert [status for status, _ in answers] == [200] * 20
    assert str(children[0].pid) not in [pid for _, pid in answers]


def waiting(port: int) -> int:
    "How many connections the system has made for a listening socket."
    made = psutil.net_connections('tcp4')
    return sum(1 for c in made if c.laddr and c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED)
