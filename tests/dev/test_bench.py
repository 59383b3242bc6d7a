"The bench's own arithmetic: what it makes of results, and that its client counts a stall."
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

if sys.platform != 'linux': pytest.skip('the bench is for Linux', allow_module_level=True)

from bench import parts
from bench.__main__ import (MESSAGE, SERVERS, TWO_LOOPS, better_loops, busiest, cpu_each, figure_table, middle, ratios,
                            table_of_parts)

BENCH = Path(parts.__file__).parent


def result(rate: float, *server: float, count: int = 1000, **more: Any) -> dict[str, Any]:
    return {'rate': rate, 'count': count, 'server': list(server), 'cpu': 1.0, **more}


def test_the_cpu_of_an_answer_is_that_of_all_processes() -> None:
    assert cpu_each(result(1, 0.03, 0.01)) == pytest.approx(40)


def test_a_peer_stays_on_the_loop_that_takes_less_cpu() -> None:
    first = {'nbws': result(1, 0.9), 'aiohttp': result(9, 0.5), 'aiohttp, uvloop': result(1, 0.4),
             'tornado': result(1, 0.6), 'tornado, uvloop': result(9, 0.7), 'picows, uvloop': result(1, 9)}
    assert better_loops(first) == ['nbws', 'aiohttp, uvloop', 'tornado', 'picows, uvloop']
    assert set(TWO_LOOPS) < set(SERVERS)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was half as fast in round 1, and round 2 has only one of them
    ours, theirs = {0: result(20, 0.1), 1: result(10, 0.2), 2: result(1, 9)}, {0: result(10, 0.3), 1: result(5, 0.6)}
    assert ratios(ours, theirs, 'rate') == [2, 2, 2]
    assert ratios(ours, theirs, 'CPU') == pytest.approx([3, 3, 3])
    assert ratios({0: ours[0]}, theirs, 'rate') == [2, 2, 2]
    assert ratios({2: ours[2]}, theirs, 'rate') == []


def test_a_table_says_how_many_times_as_good_nbws_is() -> None:
    found = {'nbws': {0: result(20_000, 0.02, 0.02, **{'late p50': 1.0, 'late p99': 2.0})},
             'aiohttp, uvloop': {0: result(10_000, 0.06, 0.02, **{'late p50': 3.0, 'late p99': None})}}
    *_, ours, theirs = figure_table('echo', found, workers=2).splitlines()
    assert ours == '| nbws | 20.0 | 40.0 |  |  |  | 1.00 | 2.00 | 50 : 50 | 1 |'
    assert theirs == '| aiohttp on uvloop | 10.0 | 80.0 | 2.00 x | 2.00 x | 2.00 to 2.00 | 3.00 | nan | 75 : 25 | 1 |'


def test_the_spread_over_workers_leaves_out_who_only_looks_after_them() -> None:
    assert busiest({0: result(1, 0.001, 0.2, 0.6), 1: result(1, 0.001, 0.6, 0.2)}, 2) == '75 : 25'
    assert middle({0: result(3), 1: result(1), 2: result(2)}, 'rate') == 2


def test_parts_that_have_changed_are_named() -> None:
    found = {'nbws': {'same': 5.0, 'grew': 3.0, 'new': 1.0}, 'before': {'same': 5.1, 'grew': 2.0, 'gone': 2.0}}
    assert table_of_parts('ms', found, 0.5).splitlines() == [
        '| ms | nbws | before | difference |', '| --- | --- | --- | --- |', '| grew | 3.00 | 2.00 | +1.00 |',
        '| new | 1.00 | 0.00 | +1.00 |', '| gone | 0.00 | 2.00 | -2.00 |', '| all | 9.00 | 9.10 | -0.10 |']
    assert table_of_parts('ms', {'nbws': found['nbws']}, 2).splitlines()[2:] == [
        '| same | 5.00 |', '| grew | 3.00 |', '| all | 9.00 |']


def test_the_parts_of_a_start() -> None:
    bare = 'import time: self [us] | cumulative | imported package\nimport time:       100 |   100 | codecs\n'
    report = f'''{bare}import time:      1500 |  2000 |   nbws.core.html
import time:       500 |   500 |     json.decoder
import time:       250 |   250 | nbws
'''
    assert parts.imported(report, bare) == {'nbws.core': 1.5, 'json': 0.5, 'nbws': 0.25}
    assert parts.start_parts(['imports 10.5', 'app 10.75'], 10, 11) == {'imports': 500, 'app': 250, 'first page': 250}
    assert parts.start_parts(['app 10.5', 'serve() 11.5'], 10, 11) == {'app': 500, 'serve()': 500, 'first page': 0}
    assert parts.name_of('/a/nbws/nbws/server/conn.py') == 'nbws/server/conn.py'
    assert parts.name_of('/a/lib/python3.11/site-packages/tornado/web.py') == 'tornado'
    assert parts.name_of('/usr/lib/python3.11/asyncio/events.py') == 'standard library'


@pytest.fixture(scope='module')
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which('gcc'): pytest.skip('there is no gcc here')
    binary = tmp_path_factory.mktemp('bench') / 'load'
    subprocess.run(['gcc', '-O2', '-o', binary, BENCH / 'load.c'], check=True)
    return binary


@contextmanager
def stalling(wait: Callable[[int], object]) -> Iterator[int]:
    "A server for one connection that waits before each answer, by its number."
    with socket.create_server(('127.0.0.1', 0)) as listener:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError): # The client has ended
                number, rest = 0, b''
                while data := connection.recv(65536):
                    *asked, rest = (rest + data).split(b'\r\n\r\n')
                    for _ in asked:
                        wait(number)
                        number += 1
                        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


def told(load: Path, *arguments: object) -> dict[str, Any]:
    ran = subprocess.run([load, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_an_open_loop_counts_all_who_wait_behind_a_stall(load: Path) -> None:
    # Half of a second of one that has 100 a second: about 50 were due meanwhile, of which a closed loop asks one
    def wait(number: int) -> None:
        if number == 60: time.sleep(0.5)
    with stalling(wait) as port: late = told(load, 'openhttp', port, '/', 1, 1, 1, 100, '')
    assert late['p99'] >= 400
    assert late['count'] >= 60


def test_an_open_loop_counts_who_is_never_answered(load: Path) -> None:
    over = threading.Event()
    with stalling(lambda number: number < 40 or over.wait(60)) as port:
        late = told(load, 'openhttp', port, '/', 1, 1, 1, 100, '')
        over.set()
    assert late['p99'] >= 5000 # As long as it waits for the last ones


def test_the_load_knows_the_cpu_time_of_servers(load: Path) -> None:
    def work(number: int) -> None:
        until = time.thread_time() + 0.002
        while time.thread_time() < until: pass
    with stalling(work) as port:
        found = told(load, 'http', port, '/', 1, 0.5, 1, 0, '', os.getpid())
    assert len(found['server']) == 1
    assert found['count'] and found['p50'] >= 2
    assert cpu_each(found) >= 1900 # Of what it is asked to take for each, 2000


def test_echoes_of_the_server_in_c(load: Path) -> None:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    with subprocess.Popen([load, 'serve', str(port)]) as process:
        try:
            for _ in range(600):
                with socket.socket() as s:
                    if not s.connect_ex(('127.0.0.1', port)): break
                time.sleep(0.05)
            for mode, rate in (('echo', 0), ('open', 200)):
                found = told(load, mode, port, '/echo', 4, 0.3, 10, rate, MESSAGE, process.pid)
                assert found['count'] > 0
                assert 0 < found['p50'] <= found['p99']
        finally: process.kill()
