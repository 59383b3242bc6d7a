"""`sys.exit()` in a handler or a task, and a handler whose own task somebody else cancels: on both kinds of loops.

Each ends its own call and nothing else. What else may be raised, and where, stands in `test_base_exceptions`."""
from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from http.client import IncompleteRead
from typing import Any

import pytest
from bound import BOUND
from logs import ExpectLog
from raw import get, serving
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from nbws import App
from nbws.server.listener import Server

# Python 3.10 cannot tell whose end it is that a handler hears of: its connection is dropped
CANCELLED = pytest.param('cancelled', marks=pytest.mark.skipif(sys.version_info < (3, 11), reason='needs cancelling()'))


async def cancelled() -> None:
    "Wait for a task that somebody else ends, as the button 'Stop' ends an answer that is being made."
    task = asyncio.create_task(asyncio.sleep(BOUND))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def fails(how: str) -> None:
    "Raise, or be cancelled, as `how` says."
    if how == 'exit': sys.exit('from a handler')
    await cancelled()


def make() -> App:
    "An app whose handlers of every kind fail as their path or message says."
    app = App(debug=True)

    @app.get('/answer/{how}')
    async def answer(how: str) -> None: await fails(how)

    @app.get('/stream/{how}')
    async def stream(how: str) -> AsyncIterator[str]:
        yield 'begun'
        await fails(how)

    @app.get('/task')
    async def task() -> str:
        app.state.task = asyncio.create_task(fails('exit'))
        return 'begun'

    @app.get('/run')
    async def run() -> str:
        app.state.task = app.run(fails('exit'))
        app.state.task.waited_for = True
        return 'begun'

    @app.get('/fine')
    async def fine() -> str:
        if (begun := getattr(app.state, 'task', None)) is not None:
            with pytest.raises(SystemExit): await begun
        return 'fine'

    @app.ws('/push')
    async def push(how: str) -> str:
        if how == 'fine': return 'fine'
        await fails(how)
        return ''

    @app.ws('/pull/{how}')
    async def pull(websocket: Any, how: str) -> None:
        await websocket.accept()
        await websocket.receive()
        await fails(how)
    return app


@pytest.fixture(params=['asyncio', 'uvloop'])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    with serving(make(), uvloop=request.param == 'uvloop') as server: yield server


NAMES = {'exit': 'SystemExit: from a handler', 'cancelled': 'CancelledError'}


@pytest.mark.parametrize('how', ['exit', CANCELLED])
def test_an_answer(server: Server, expect_log: ExpectLog, how: str) -> None:
    expect_log(NAMES[how], times=1)
    status, body = get(server, f'/answer/{how}')
    assert status == 500
    assert NAMES[how] in body.decode()
    assert get(server, '/fine') == (200, b'fine')


@pytest.mark.parametrize('how', ['exit', CANCELLED])
def test_a_stream_breaks_off(server: Server, expect_log: ExpectLog, how: str) -> None:
    expect_log(NAMES[how], times=1)
    with pytest.raises((IncompleteRead, ConnectionResetError)): get(server, f'/stream/{how}')
    assert get(server, '/fine') == (200, b'fine')


@pytest.mark.parametrize('how', ['exit', CANCELLED])
def test_a_socket(server: Server, expect_log: ExpectLog, how: str) -> None:
    "Of a handler of messages it lives on, in development; a handler that pulls has ended."
    expect_log(NAMES[how], times=2)
    url = f'ws://127.0.0.1:{server.port}'
    with connect(f'{url}/push', compression=None) as ws:
        for message in how, 'fine': ws.send(f'{{"how": "{message}"}}')
        assert ws.recv(BOUND) == 'fine'
    with connect(f'{url}/pull/{how}', compression=None) as ws:
        ws.send('go on')
        with pytest.raises(ConnectionClosedError, match='1011'): ws.recv(BOUND)
    assert get(server, '/fine') == (200, b'fine')


@pytest.mark.parametrize('path', ['/task', '/run'])
def test_a_task(server: Server, expect_log: ExpectLog, path: str) -> None:
    "Python lets it end the loop; here the loop goes on."
    expect_log(r'sys\.exit\(\) in a task', times=1)
    assert get(server, path) == (200, b'begun')
    assert get(server, '/fine') == (200, b'fine')
