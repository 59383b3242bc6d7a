"""A client that asks and leaves: its descriptor comes back at once, and the handler is cancelled or goes on alone."""
from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, asgi_server
from raw import BINARY, TIMEOUT, Raw, frame, handshake, serving, text, until

from nbws import App
from nbws.server.limits import Limits
from nbws.server.listener import Server

GET = b'GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n'
POST = b'POST /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n'


class Told:
    "What the handlers of `make` have done."
    def __init__(self) -> None:
        self.begun, self.cancelled, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.go_on, self.behind = threading.Event(), threading.Event()

    async def wait(self) -> str:
        self.begun.set()
        try: await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return 'late'


def make() -> tuple[App, Told]:
    app, told = App(), Told()

    @app.route('/wait', methods=['GET', 'POST'])
    async def wait() -> str: return await told.wait()

    @app.get('/sync')
    def sync() -> str:
        told.begun.set()
        told.go_on.wait(TIMEOUT)
        told.ended.set()
        return 'late'

    @app.post('/reads')
    async def reads(request: Any) -> str:
        async for _ in request.stream(): await told.wait()
        return 'read'

    @app.get('/soon')
    async def soon() -> str:
        await asyncio.sleep(.01)
        return 'soon'

    @app.get('/quick')
    async def quick() -> str: return 'quick'

    @app.get('/behind')
    async def behind(request: Any) -> Any:
        from nbws.core.response import PlainTextResponse
        async def task() -> None:
            told.begun.set()
            while not told.go_on.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110
            told.ended.set()
        return PlainTextResponse('answered', background=task)

    @app.ws('/ws')
    async def ws(websocket: Any) -> None:
        told.begun.set()
        while not told.go_on.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110
        try: await websocket.accept()
        finally: told.ended.set()
    return app, told


def connections(server: Server) -> int: return len(server.connections)


BODY = bytes(2**17)  # Reading pauses within it, and the kernel takes the rest: else the end of the stream cannot come
ASKED = {'async': GET % b'wait', 'sync': GET % b'sync', 'pipelined': GET % b'wait' + GET % b'quick' * 3,
         'a body nobody reads': POST % (b'wait', len(BODY)) + BODY,
         'half a body': POST % (b'wait', 2 * len(BODY)) + BODY,
         'a body half read': POST % (b'reads', 2 * len(BODY)) + BODY}


@pytest.mark.parametrize('how', ['closes', 'resets', 'says no more'])
@pytest.mark.parametrize('what', ASKED)
def test_the_descriptor_comes_back(uvloop: bool, what: str, how: str) -> None:
    app, told = make()
    with serving(app, uvloop=uvloop) as server:
        raw = Raw(server)
        raw.send(ASKED[what])
        assert told.begun.wait(TIMEOUT)
        if how == 'resets': raw.reset()
        elif how == 'closes': raw.sock.close()
        else: raw.sock.shutdown(socket.SHUT_WR)
        until(lambda: not connections(server))
        if what == 'sync':
            assert not told.ended.is_set()
            told.go_on.set()
            assert told.ended.wait(TIMEOUT)
        else: assert told.cancelled.wait(TIMEOUT)
        raw.sock.close()
        with Raw(server) as other: assert other.get(GET % b'quick')[0] == 200


def test_who_says_no_more_gets_what_comes_soon(uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.server.http1.PATIENCE', TIMEOUT)  # However busy the machine is
    app, _ = make()
    with serving(app, uvloop=uvloop) as server, Raw(server) as raw:
        raw.send(GET % b'soon' * 3)
        raw.sock.shutdown(socket.SHUT_WR)
        assert [raw.response()[0] for _ in range(3)] == [200] * 3
        assert raw.rest() == b''


def test_places_of_those_who_left_are_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    "At once, without the patience that is had otherwise."
    monkeypatch.setattr('nbws.server.http1.PATIENCE', TIMEOUT)
    app, _ = make()
    with serving(app, limits=Limits(max_connections=20)) as server:
        for _ in range(20):
            with Raw(server) as raw: raw.send(GET % b'wait')
        until(lambda: len(server.connections) == 20 and not server.table.accepting)
        for _ in range(3):
            with Raw(server) as raw: assert raw.get(GET % b'quick')[0] == 200
        server.stop(timeout=.1)  # Without patience for those who are left


def test_of_several_who_come_at_once_each_takes_another_ones_place(uvloop: bool) -> None:
    "The server finds them all in one turn of its loop, as on a busy machine; there were three too many."
    app, _ = make()
    gate = threading.Event()
    with serving(app, uvloop=uvloop, limits=Limits(max_connections=4)) as server, ExitStack() as stack:
        for _ in range(4): assert stack.enter_context(Raw(server)).get(GET % b'quick')[0] == 200
        server.loop.call_soon_threadsafe(gate.wait, TIMEOUT)
        late = [stack.enter_context(Raw(server)) for _ in range(4)]
        gate.set()
        for raw in late: assert raw.get(GET % b'quick')[0] == 200
        assert connections(server) == 4


@pytest.mark.skipif(not Path('/proc/self/fd').exists(), reason='needs /proc')
def test_many_leave() -> None:
    app, told = make()
    with serving(app) as server:
        def descriptors() -> int: return len(os.listdir('/proc/self/fd'))
        before = descriptors()
        for _ in range(100):
            for path in b'wait', b'sync':
                with Raw(server) as raw: raw.send(GET % path)
        with Raw(server) as raw: assert raw.get(GET % b'quick')[0] == 200
        until(lambda: descriptors() <= before + 2)
        told.go_on.set()


def test_what_runs_behind_an_answer_is_not_cancelled() -> None:
    app, told = make()
    with serving(app) as server:
        with Raw(server) as raw:
            assert raw.get(GET % b'behind')[2] == b'answered'
            assert told.begun.wait(TIMEOUT)
        until(lambda: not connections(server))
        told.go_on.set()
        assert told.ended.wait(TIMEOUT)


def test_a_handler_that_pulls_hears_of_it_when_it_accepts() -> None:
    app, told = make()
    with serving(app) as server:
        with Raw(server) as raw:
            raw.send(handshake('/ws', Host='localhost'))
            assert told.begun.wait(TIMEOUT)
        until(lambda: not connections(server))
        told.go_on.set()
        assert told.ended.wait(TIMEOUT)
        until(lambda: not app.sockets)


# ---------------------------------------------------------------- sockets

@pytest.mark.parametrize('how', ['closes', 'resets'])
@pytest.mark.parametrize('pulls', [False, True])
def test_a_socket_that_is_not_read(uvloop: bool, pulls: bool, how: str) -> None:
    "More waits for its busy handler than may, so nobody reads to the client's end. What waits is still handled."
    app, begun, go_on, handled = App(), threading.Event(), threading.Event(), []

    async def wait(data: Any) -> None:
        begun.set()
        while not go_on.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110
        handled.append(data)
    async def push(ws: Any, data: bytes) -> None: await wait(data)
    async def pull(websocket: Any) -> None:
        async for data in websocket: await wait(data)
    app.ws('/')(pull if pulls else push)
    with serving(app, uvloop=uvloop, limits=Limits(close_timeout=.5)) as server:
        raw = Raw(server)
        raw.open()
        raw.send(text('x') * 100)
        assert begun.wait(TIMEOUT)
        until(lambda: all(c.input.held for c in server.connections))
        if how == 'resets': raw.reset()
        else: raw.sock.close()
        until(lambda: not connections(server))
        assert not handled
        go_on.set()
        until(lambda: len(handled) >= 64)


def test_what_a_socket_said_before_it_left(uvloop: bool) -> None:
    "It has `close_timeout` seconds to be read, as soon as the handler goes on."
    app, begun, go_on, handled = App(), threading.Event(), threading.Event(), []
    @app.ws('/')
    async def ws(data: bytes) -> None:
        begun.set()
        while not go_on.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110
        handled.append(data)
    with serving(app, uvloop=uvloop, limits=Limits(close_timeout=TIMEOUT)) as server, Raw(server) as raw:
        raw.open()
        raw.send(text('x') * 100)
        assert begun.wait(TIMEOUT)
        until(lambda: all(c.input.held for c in server.connections))
        raw.send(text('x') * 100)
        raw.sock.close()
        go_on.set()
        until(lambda: len(handled) == 200 and not connections(server))


# ---------------------------------------------------------------- our app, on other people's servers

ELSEWHERE = '''
import asyncio, time
from nbws import App
app = App()

@app.route('/wait', methods=['GET', 'POST'])
async def wait():
    print('begun', flush=True)
    try: await asyncio.sleep(20)
    except asyncio.CancelledError:
        print('cancelled', flush=True)
        raise
    return 'late'

@app.post('/slow')
async def slow(request):
    await asyncio.sleep(.2)
    n = 0
    async for chunk in request.stream(): n += len(chunk)
    await asyncio.sleep(.2)
    return str(n)
'''


@pytest.mark.parametrize('name', ['uvicorn', 'hypercorn', 'granian'])
def test_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path/'elsewhere.py').write_text(ELSEWHERE)
    with asgi_server(name, 'elsewhere:app', tmp_path) as process:
        for asked in GET % b'wait', POST % (b'wait', 3) + b'abc':
            with socket.create_connection(('127.0.0.1', process.port), BOUND) as s:
                s.sendall(asked)
                process.says('begun')
            process.says('cancelled')
        for n in 0, 3, 100_000, 3_000_000:  # Who reads late gets all of it
            with socket.create_connection(('127.0.0.1', process.port), BOUND) as s:
                s.sendall((POST % (b'slow', n)).replace(b'\r\n\r\n', b'\r\nConnection: close\r\n\r\n') + bytes(n))
                assert b''.join(iter(lambda s=s: s.recv(65536), b'')).endswith(b'%d' % n)
        assert 'Traceback' not in process.output, process.output


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    "What stopping waits for is not told, however busy the machine is."
    monkeypatch.setattr('nbws.server.connections.SILENCE', TIMEOUT)


def flood(raw: Raw, first: bytes, more: bytes) -> None:
    "Say this, and then so much that neither the server nor the kernel takes any more."
    raw.send(first)
    raw.sock.settimeout(.5)
    with suppress(TimeoutError):
        for _ in range(2**25 // len(more)): raw.sock.sendall(more)


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('how', ['closes', 'resets'])
def test_stopping_waits_for_nobody_who_has_asked_without_end_and_left(uvloop: bool, how: str) -> None:
    "The client's end stood behind megabytes of requests that were not read: stopping waited as long as it may."
    app, told = make()
    with serving(app, uvloop=uvloop, limits=Limits(shutdown_timeout=10 * TIMEOUT)) as server:
        raw = Raw(server)
        flood(raw, GET % b'wait', GET % b'quick' * 1000)
        assert told.begun.wait(TIMEOUT)
        if how == 'resets': raw.reset()
        else: raw.sock.close()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert told.cancelled.wait(TIMEOUT)
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


@pytest.mark.usefixtures('quiet')
def test_stopping_answers_who_has_asked_without_end_and_stays(uvloop: bool) -> None:
    "The request that is being answered, and no other."
    app, told = make()
    with serving(app, uvloop=uvloop, limits=Limits(shutdown_timeout=10 * TIMEOUT)) as server, Raw(server) as raw:
        flood(raw, GET % b'sync', GET % b'quick' * 1000)
        assert told.begun.wait(TIMEOUT)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        until(lambda: server.stopping)
        told.go_on.set()
        status, _, body = raw.response()
        assert (status, body) == (200, b'late')
        assert raw.rest() == b''
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


@pytest.mark.usefixtures('quiet')
def test_stopping_waits_for_no_socket_that_has_said_too_much_and_left(uvloop: bool) -> None:
    app, begun, go_on = App(), threading.Event(), threading.Event()

    @app.ws('/busy')
    async def busy(data: bytes) -> None:
        begun.set()
        while not go_on.is_set(): await asyncio.sleep(.01)  # noqa: ASYNC110

    with serving(app, uvloop=uvloop, limits=Limits(shutdown_timeout=10 * TIMEOUT)) as server:
        raw = Raw(server)
        raw.open('/busy')
        flood(raw, frame(BINARY, b'x'), frame(BINARY, b'x' * 60_000) * 16)
        assert begun.wait(TIMEOUT)
        raw.sock.close()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        until(lambda: not connections(server))
        go_on.set()
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()
