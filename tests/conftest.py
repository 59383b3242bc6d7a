"""What every test here is held to: it leaves no thread, descriptor or process, and logs only what it announced.

Warnings are errors (pyproject.toml), and each test ends with a collection, so that an unclosed socket, file or loop, a
task destroyed while pending or a coroutine that nobody awaited fails the test that caused it.
"""
from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lean  # noqa: F401  # before nbformat and Jupyter
import psutil
import pytest
from hypothesis import settings
from logs import RECORDS, WATCHED, ExpectLog, text

if TYPE_CHECKING:
    from redises import Make

    from nbws.core.protocols import Broker

os.environ['NBWS_ALLOWED_HOSTS'] = 'x'  # what tests of the protocol call the host, instead of a loopback name

settings.register_profile('nbws', deadline=None)  # A test may be slow on a machine that is busy
settings.load_profile('nbws')

GRACE = 20.0  # seconds in which what is on its way out may end: only what is left behind takes them


def ends(left: Callable[[], list[str]]) -> list[str]:
    "What `left` still names once it had time to end."
    until = time.monotonic() + GRACE
    while (names := left()) and time.monotonic() < until: time.sleep(.01)
    return names


def threads() -> set[threading.Thread]: return set(threading.enumerate())


def descriptors() -> Counter[str]:
    "Open sockets, pipes and event queues of this process, as `socket:[12345]`; empty where there is no /proc."
    found: Counter[str] = Counter()
    try: numbers = os.listdir('/proc/self/fd')
    except OSError: return found
    for fd in numbers:
        try: target = os.readlink(f'/proc/self/fd/{fd}')
        except OSError: continue  # listdir's own
        if target.startswith(('socket:[', 'pipe:[', 'anon_inode:')) and target not in STANDARD: found[target] += 1
    return found


# What stdin, stdout and stderr may be: pytest's capture opens and closes duplicates of them around a test.
STANDARD: frozenset[str] = frozenset()
STANDARD = frozenset(target for target in descriptors() if not target.startswith('anon_inode:'))


def children() -> set[psutil.Process]: return set(psutil.Process().children(recursive=True))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line('markers', 'timed: measures a time with little to spare: `make unit` runs it by itself')
    for name in WATCHED: logging.getLogger(name).addHandler(RECORDS)


def pytest_unconfigure(config: pytest.Config) -> None:
    for name in WATCHED: logging.getLogger(name).removeHandler(RECORDS)


# Files that take longest. They begin first, so that all workers end at about the same time.
LONGEST = ('test_packaging.py', 'test_cli.py', 'test_extension.py', 'test_cells.py', 'test_machines.py',
           'test_frames.py', 'test_conformance.py', 'test_simulation.py', 'test_names.py', 'test_turns.py')


@pytest.hookimpl(trylast=True)  # pytest itself sorts, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int: return (*LONGEST, item.path.name).index(item.path.name)
    items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    "What stands now stays: without it a collection after each test costs 50 times as much."
    try: import uvloop
    except ImportError: pass
    else: uvloop.new_event_loop().close()  # libuv makes a pipe for signals with its first loop, and keeps it
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope='module')
def _no_process_left() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # What the module before has imported stays, too
    before = children()
    yield
    left = ends(lambda: [str(p) for p in children() - before if p.is_running()])
    assert not left, f'processes left by this module: {left}'


@pytest.fixture(scope='module')
def clients_loop() -> Iterator[None]:
    "The loop that jupyter_client keeps for the thread of blocking clients: for modules that talk to kernels."
    from jupyter_core.utils import ensure_event_loop
    loop = ensure_event_loop()
    yield
    loop.close()


@pytest.fixture(params=['memory', 'redis'])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    "Each call makes another process' broker of the same rooms."
    from redises import redis_server

    from nbws.sockets.brokers import MemoryBroker
    from nbws.sockets.redis_broker import RedisBroker
    if request.param == 'memory':
        broker = MemoryBroker()
        yield lambda: broker
    else:
        with redis_server() as server: yield lambda: RedisBroker(server.url)


@pytest.fixture
def broker(make: Make) -> Broker: return make()


@dataclass
class Before:
    "What stood when a test's own fixtures began: those of wider scope stand already, and may stay."
    log: ExpectLog
    threads: set[threading.Thread]
    descriptors: Counter[str]


BEFORE = pytest.StashKey[Before]()


@pytest.fixture(autouse=True)
def expect_log(request: pytest.FixtureRequest) -> Iterator[ExpectLog]:
    "`expect_log('pattern')` in a test announces log records at WARNING or above from nbws, tornado or asyncio."
    before = request.node.stash[BEFORE] = Before(ExpectLog(), threads(), descriptors())
    yield before.log
    # A test's first fixture ends last, and right after it pytest looks for unraisable exceptions.
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    try: yield
    finally: records = RECORDS.take()
    if not (before := item.stash.get(BEFORE, None)): return  # a fixture of wider scope failed
    before.log.check([text(record) for record in records])
    left = ends(lambda: [t.name for t in threads() - before.threads])
    assert not left, f'threads left: {left}'
    left = ends(lambda: sorted((descriptors() - before.descriptors).elements()))
    assert not left, f'descriptors left: {left}'
