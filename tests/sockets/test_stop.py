"A visitor stops the handler that runs for his socket: it ends, the socket goes on, and what waits is handled."
from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from live import Live, live
from logs import ExpectLog
from processes import asgi_server

from nbws.app import App
from nbws.sockets.dispatch import ASK, STOP, TOLD
from nbws.testing import AsyncClient


class Log(list[str]):
    "What handlers have done, from any thread."
    def until(self, *expected: str, order: Any = list) -> None:
        end = time.monotonic() + BOUND
        while order(self) != order(expected):
            assert time.monotonic() < end, f'{self} is not {expected}'
            time.sleep(.01)

    def until_all(self, *expected: str) -> None: self.until(*expected, order=sorted)


def speaking(c: Live) -> Any:
    ws = c.ws('/')
    ws.send('{"q": "long"}')
    assert ws.recv(BOUND) == 'long 0'
    return ws


def goes_on(ws: Any) -> None:
    "The rest of what was sent is skipped; the next message is answered."
    ws.send('{"q": "next"}')
    while (got := ws.recv(BOUND)).startswith('long'): pass
    assert got == 'next 0'


@pytest.mark.parametrize('stoppable', [False, True])
def test_a_generator_is_closed(stoppable: bool) -> None:
    "At its next `yield`, without an error; its `finally` runs."
    app, log = App(), Log()
    @app.ws('/', stoppable=stoppable)
    async def answer(q: str) -> Any:
        try:
            for n in range(100_000):
                yield f'{q} {n}'
                await asyncio.sleep(.005)
        finally: log.append(f'{q} ended')
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        log.until('long ended')
        goes_on(ws)


def test_where_it_waits_only_if_the_route_says_so() -> None:
    "Else a visitor could end any handler between two writes that belong together."
    app, log, go = App(), Log(), asyncio.Event()
    async def answer(q: str) -> Any:
        try:
            yield f'{q} 0'
            if q == 'long': await go.wait()
            log.append('both written')
            yield f'{q} 1'
            log.append('more')
        except asyncio.CancelledError:
            log.append('cancelled')
            raise
    app.ws('/')(answer)
    app.ws('/stoppable', stoppable=True)(answer)
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        ws.send('{"q": "next"}')
        with pytest.raises(TimeoutError): ws.recv(.2) # It waits behind
        c.server.loop.call_soon_threadsafe(go.set)
        assert [ws.recv(BOUND), ws.recv(BOUND)] == ['next 0', 'next 1'] # Not 'long 1', which came after the stop
        log.until('both written', 'both written', 'more')
        log.clear()
        go.clear()
        ws = c.ws('/stoppable')
        ws.send('{"q": "long"}')
        assert ws.recv(BOUND) == 'long 0'
        ws.send(STOP)
        goes_on(ws)
        log.until('cancelled', 'both written', 'more')


@pytest.mark.parametrize('twice', [False, True])
def test_an_async_handler_is_cancelled(twice: bool) -> None:
    "A second stop does not cut its `finally` short; what waited is answered in order."
    app, log = App(), Log()
    @app.ws('/', stoppable=True)
    async def answer(q: str, ws: Any) -> None:
        ws.send(f'{q} 0')
        try:
            if q == 'long': await asyncio.sleep(600)
        finally:
            await asyncio.sleep(.05)
            log.append(f'{q} cleared')
    with live(app) as c:
        ws = speaking(c)
        for n in range(3): ws.send(f'{{"q": "waits {n}"}}')
        for _ in range(1 + twice): ws.send(STOP)
        assert [ws.recv(BOUND) for _ in range(3)] == [f'waits {n} 0' for n in range(3)]
        log.until('long cleared', *(f'waits {n} cleared' for n in range(3)))


def test_who_cannot_be_stopped_is_told_about(expect_log: ExpectLog) -> None:
    "To the developer, with what to do; the handler ends by itself."
    expect_log('asked to stop answer, which goes on: let it `yield`', 1)
    app, go = App(), asyncio.Event()
    @app.ws('/')
    async def answer(q: str, ws: Any) -> str:
        ws.send(f'{q} 0')
        await go.wait()
        return f'{q} 1'
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        ws.send(ASK)
        c.server.loop.call_soon_threadsafe(go.set)
        assert [ws.recv(BOUND), ws.recv(BOUND)] == ['long 1', TOLD]


@pytest.mark.parametrize('stoppable', [False, True])
def test_a_sync_generator_is_closed_in_its_thread(stoppable: bool) -> None:
    app, log, go = App(), Log(), threading.Event()
    @app.ws('/', stoppable=stoppable)
    def answer(q: str) -> Iterator[str]:
        try:
            for n in range(3):
                yield f'{q} {n}'
                if q == 'long': assert go.wait(BOUND)
        finally: log.append(f'{q} ended')
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        if stoppable: # Nobody waits for the thread
            ws.send('{"q": "next"}')
            assert [ws.recv(BOUND) for _ in range(3)] == [f'next {n}' for n in range(3)]
            go.set()
            log.until_all('next ended', 'long ended') # In any order: it may have been between two steps
        else:
            ws.send(ASK) # Behind the stop: it is there before the thread goes on
            go.set()
            assert ws.recv(BOUND) == TOLD
            log.until('long ended')


@pytest.mark.parametrize('stoppable', [False, True])
def test_a_function_in_a_thread_ends_where_it_sends(stoppable: bool) -> None:
    app, log, go = App(), Log(), threading.Event()
    @app.ws('/', stoppable=stoppable)
    def answer(q: str, ws: Any) -> str:
        ws.send(f'{q} 0')
        if q == 'next': return 'bye'
        assert go.wait(BOUND)
        try: ws.send('too late')
        except asyncio.CancelledError:
            log.append('stopped')
            raise
        return 'much too late'
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        if stoppable: ws.send('{"q": "next"}')
        else:
            ws.ping().wait(BOUND) # The stop was read
            go.set()
            ws.send('{"q": "next"}')
        assert [ws.recv(BOUND), ws.recv(BOUND)] == ['next 0', 'bye']
        go.set()
        log.until('stopped')
        goes_on(ws)


def test_nothing_runs() -> None:
    "A stop that comes too late is harmless, and so is one in between."
    app = App()
    @app.ws('/')
    async def answer(q: str) -> Any: yield f'{q} 0'
    with live(app) as c:
        ws = c.ws('/')
        for _ in range(3):
            ws.send(STOP)
            goes_on(ws)
            ws.send(ASK)
            assert ws.recv(BOUND) == TOLD


def test_a_handler_that_loops_over_its_socket_gets_it_as_a_message() -> None:
    app = App()
    @app.ws('/')
    async def echo(websocket: Any) -> None:
        async for message in websocket: await websocket.send(f'got {message}')
    with live(app) as c:
        ws = c.ws('/')
        for text in (STOP, ASK):
            ws.send(text)
            assert ws.recv(BOUND) == f'got {text}'


def test_an_error_while_it_is_stopped_is_reported(expect_log: ExpectLog) -> None:
    expect_log('ZeroDivisionError', 1)
    app = App(debug=True)
    @app.ws('/', stoppable=True)
    async def answer(q: str) -> Any:
        yield f'{q} 0'
        try:
            if q == 'long': await asyncio.sleep(600)
        finally: 1/(q != 'long')
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        goes_on(ws)


def test_questions_pause_the_reading_like_messages() -> None:
    "A page that asks without end does not fill the memory of a server whose handler is busy."
    app, go = App(), asyncio.Event()
    @app.ws('/')
    async def answer(q: str) -> None: await go.wait()
    async def run() -> None:
        async with AsyncClient(app, timeout=.3) as client, client.ws('/') as ws:
            await ws.send('{"q": "long"}')
            asked = 0
            with pytest.raises(TimeoutError, match='its handler is busy'):
                while asked < 1000:
                    await ws.send(ASK)
                    asked += 1
            go.set()
            assert asked <= 64
            for _ in range(asked): assert await ws.receive(BOUND) == TOLD
    asyncio.run(run())


def test_the_server_ends_meanwhile() -> None:
    "A handler that is stopped while its server ends is cancelled by it, too."
    app, log = App(), Log()
    @app.ws('/', stoppable=True)
    async def answer(q: str) -> Any:
        yield f'{q} 0'
        try: await asyncio.sleep(600)
        finally: log.append('ended')
    with live(app) as c:
        ws = speaking(c)
        ws.send(STOP)
        log.until('ended')


def test_a_socket_that_has_just_opened_has_nothing_to_stop() -> None:
    "Its `conn` has not even begun: nobody is told of a handler that could not be stopped."
    app = App()
    @app.ws('/')
    async def answer(q: str) -> str: return f'{q} 0'
    async def run() -> None:
        async with AsyncClient(app) as client, client.ws('/') as ws:
            for _ in range(3):
                await ws.send(STOP)
                await ws.send('{"q": "next"}')
                assert await ws.receive() == 'next 0'
    asyncio.run(run())


ELSEWHERE = """
import asyncio
from nbws import App
app = App()

@app.get('/')
def home(): return 'here'

@app.ws('/tokens')
async def tokens(q: str):
    for n in range(100_000):
        yield f'{q} {n}'
        await asyncio.sleep(.005)

@app.ws('/waits', stoppable=True)
async def waits(q: str, send):
    await send(f'{q} 0')
    if q == 'long': await asyncio.sleep(1000)
"""


@pytest.mark.parametrize('name', ['uvicorn', 'hypercorn', 'granian'])
def test_under_other_servers(tmp_path: Path, name: str) -> None:
    (tmp_path/'elsewhere.py').write_text(ELSEWHERE)
    with asgi_server(name, 'elsewhere:app', tmp_path) as process:
        for path in '/tokens', '/waits':
            with process.ws(path) as ws:
                ws.send('{"q": "long"}')
                assert ws.recv(BOUND) == 'long 0'
                ws.send(STOP)
                goes_on(ws)
        assert 'Traceback' not in process.output, process.output
