"""Answers that are yielded, bodies that are read as they come, what runs around them, and what a client may cost."""
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import raw
from live import BOUND, Live, live
from logs import ExpectLog

from nbws.app import App
from nbws.common import EventStream, sse_message
from nbws.server.limits import Limits
from nbws.core.html import P
from nbws.core.errors import HTTPException, StartError
from nbws.core.request import Request
from nbws.core.response import HTMLResponse, Response, StreamingResponse
from nbws.core.routing import Owner
from nbws.server.listener import Server
from nbws.tremolo import Tremolo
from nbws.sockets.workers import Workers

GET = b'GET / HTTP/1.1\r\nhost: x\r\n\r\n'


def event() -> threading.Event: return threading.Event()


async def settled(values: list[Any]) -> None:
    "Wait until many turns of the loop bring nothing more."
    last = -1
    while last != len(values):
        last = len(values)
        for _ in range(300): await asyncio.sleep(0)


# Generators

@pytest.mark.parametrize('kind', ['async', 'sync'])
def test_what_is_yielded_is_streamed(kind: str) -> None:
    app, go = App(), event()
    if kind == 'async':
        @app.get('/')
        async def page(n: int = 2) -> AsyncIterator[Any]:
            yield P('first')
            await Workers.here().threads.run(go.wait, BOUND)
            for i in range(n): yield f'<b>{i}</b>'
            yield None
            yield b'\0'
    else:
        @app.get('/')
        def page(n: int = 2) -> Iterator[Any]:
            yield P('first')
            go.wait(BOUND)
            for i in range(n): yield f'<b>{i}</b>'
            yield None
            yield b'\0'
    with live(app) as c, c.http.stream('GET', '/?n=1') as r:
        chunks = r.iter_raw()
        assert next(chunks) == b'<p>first</p>' # Before the handler goes on
        go.set()
        assert b''.join(chunks) == b'<b>0</b>\0'
        assert r.headers['content-type'] == 'text/html; charset=utf-8'


def endless(kind: str, sent: list[int], done: threading.Event) -> Any:
    "A handler that yields without end."
    if kind == 'async':
        async def page() -> AsyncIterator[bytes]:
            try:
                while True:
                    sent.append(1)
                    yield b'x' * 65536
            finally: done.set()
        return page
    def sync_page() -> Iterator[bytes]:
        try:
            while True:
                sent.append(1)
                yield b'x' * 65536
        finally: done.set()
    return sync_page


@pytest.mark.parametrize('kind', ['async', 'sync'])
def test_a_client_that_stops_reading_stops_the_generator_and_one_that_leaves_ends_it(kind: str) -> None:
    app, sent, done = App(), [], event()
    app.get('/')(endless(kind, sent, done))
    with live(app) as c:
        with raw.Raw(c.server, receive_buffer=4096) as client:
            client.send(GET)
            client.until(b'\r\n\r\n')
            c.wait(settled(sent))
            stalled = len(sent)
            assert 0 < stalled < 500
            read = 0
            while len(sent) == stalled: # Reading lets it go on
                client.more()
                read += len(client.buffer)
                client.buffer = b''
            assert read
            assert not done.is_set()
        assert done.wait(BOUND)


@pytest.mark.parametrize('kind', ['async', 'sync'])
def test_a_client_that_resets_ends_the_generator(kind: str) -> None:
    app, sent, done = App(), [], event()
    app.get('/')(endless(kind, sent, done))
    with live(app) as c:
        client = raw.Raw(c.server)
        client.send(GET)
        client.until(b'\r\n\r\n')
        client.reset()
        assert done.wait(BOUND)


def test_a_generator_that_waits_when_the_client_leaves() -> None:
    app, done, order = App(), event(), []
    @app.get('/')
    async def page() -> AsyncIterator[str]:
        try:
            yield 'a'
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            order.append('cancelled')
            raise
        finally:
            order.append('finally')
            done.set()
    with live(app) as c:
        with c.http.stream('GET', '/') as r: next(r.iter_raw())
        assert done.wait(BOUND)
    assert order == ['cancelled', 'finally']


def test_head_closes_the_generator() -> None:
    app, done = App(), event()
    app.get('/')(endless('async', [], done))
    with live(app) as c:
        r = c.http.head('/')
        assert (r.status_code, r.content) == (200, b'')
        assert done.wait(BOUND)


def test_errors_before_the_first_chunk_are_answered(expect_log: ExpectLog) -> None:
    app = App()
    @app.get('/{what}')
    async def page(what: str) -> AsyncIterator[str]:
        if what == 'missing': raise HTTPException(404, 'no such page')
        if what == 'broken': raise KeyError('early')
        yield 'a'
    @app.get('/sync')
    def sync() -> Iterator[str]:
        if app: raise HTTPException(410)
        yield 'a'
    @app.get('/nothing')
    async def nothing() -> AsyncIterator[str]:
        return
        yield
    expect_log("KeyError: 'early'", 1)
    with live(app) as c:
        assert ((r := c.get('/missing')).status_code, r.text) == (404, '404 no such page')
        assert c.get('/broken').status_code == 500
        assert c.get('/sync').status_code == 410
        assert ((r := c.get('/nothing')).status_code, r.content) == (200, b'')


@pytest.mark.parametrize('version', ['1.0', '1.1'])
def test_errors_after_the_first_chunk_break_off_and_are_told_once(version: str, expect_log: ExpectLog) -> None:
    app = App()
    @app.get('/')
    async def page() -> AsyncIterator[str]:
        yield 'begun'
        raise KeyError('late')
    expect_log("KeyError: 'late'", 1)
    with live(app) as c:
        with raw.Raw(c.server) as client:
            client.send(GET.replace(b'1.1', version.encode()))
            with pytest.raises((EOFError, ConnectionResetError)): # No end that could be taken for one
                client.response()
        assert app.routes[0].stats.errors == 1
        assert app.log[-1].text.endswith("KeyError: 'late'")


def test_streaming_response() -> None:
    app = App()
    async def numbers() -> AsyncIterator[str]:
        for i in range(3): yield f'{i}\n'
    @app.get('/')
    def page() -> Response: return StreamingResponse(numbers(), media_type='text/plain', headers={'x-a': 'b'})
    @app.get('/list')
    def listed() -> Response: return StreamingResponse(['a', b'b'])
    @app.get('/length')
    def length() -> Response: return StreamingResponse(iter([b'ab', b'c']), headers={'content-length': '3'})
    with live(app) as c:
        assert ((r := c.get()).text, r.headers['x-a']) == ('0\n1\n2\n', 'b')
        assert c.get('/list').text == 'ab'
        assert ((r := c.get('/length')).text, 'transfer-encoding' in r.headers) == ('abc', False)


def test_events() -> None:
    app, go, done = App(), event(), event()
    @app.get('/')
    async def events() -> Response:
        async def each() -> AsyncIterator[str]:
            try:
                await Workers.here().threads.run(go.wait, BOUND)
                while True:
                    yield sse_message(P('a\nb'), event='news')
                    await asyncio.sleep(0)
            finally: done.set()
        return EventStream(each())
    with live(app) as c:
        with c.http.stream('GET', '/') as r: # The head comes before the first event
            assert r.headers['content-type'] == 'text/event-stream; charset=utf-8'
            assert r.headers['cache-control'] == 'no-cache'
            go.set()
            lines = r.iter_lines()
            assert [next(lines) for _ in range(4)] == ['event: news', 'data: <p>a', 'data: b</p>', '']
        assert done.wait(BOUND)


# Uploads

def test_an_upload_is_read_as_it_comes() -> None:
    app, got, more = App(), [], event()
    @app.post('/')
    async def upload(request: Request) -> str:
        async for chunk in request.stream():
            got.append(chunk)
            more.set()
        return str(sum(map(len, got)))
    with live(app) as c, raw.Raw(c.server) as client:
        client.send(b'POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n')
        assert more.wait(BOUND)
        assert got == [b'abc'] # Before the rest is sent
        client.send(b'2\r\nde\r\n0\r\n\r\n')
        assert client.response()[2] == b'5'


def test_an_upload_waits_for_a_slow_handler() -> None:
    app, go = App(), []
    @app.post('/')
    async def upload(request: Request) -> str:
        go.append(asyncio.Event())
        await go[0].wait()
        return str(len(await request.body()))
    size = 2**26
    with live(app, limits=Limits(max_body=2**27)) as c, raw.Raw(c.server) as client:
        client.send(b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n' % size)
        sent, piece = 0, b'x' * 2**20
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while sent < size: sent += client.sock.send(piece[:size - sent])
        assert sent < size // 2 # The rest waits in the client
        client.sock.settimeout(BOUND)
        c.server.loop.call_soon_threadsafe(go[0].set)
        while sent < size: sent += client.sock.send(piece[:size - sent])
        assert client.response()[2] == b'%d' % size


def test_a_client_that_leaves_ends_the_upload(expect_log: ExpectLog) -> None:
    app, errors, done = App(), [], event()
    @app.post('/')
    async def upload(request: Request) -> None:
        try: await request.body()
        except HTTPException as e: errors.append(e.detail)
        finally: done.set()
    with live(app) as c:
        client = raw.Raw(c.server)
        client.send(b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n' + b'x' * 70000)
        client.reset()
        assert done.wait(BOUND)
    assert errors == ['the client has left']


# Limits

@pytest.fixture
def limited() -> Iterator[Live]:
    "An app behind a server with small limits."
    app = App()
    @app.route('/', methods=['get', 'post'])
    async def page(request: Request) -> str: return str(len(await request.body()))
    @app.post('/stream')
    async def stream(request: Request) -> str:
        async for _ in request.stream(): pass
        return 'read'
    with live(app, limits=Limits(max_body=100, max_headers=500, max_line=200, header_timeout=1, request_timeout=1,
                                 keepalive_timeout=1)) as c: yield c


@pytest.mark.parametrize(('data', 'status'), [
    (b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n' + b'x' * 100, 200),
    (b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\n\r\n' + b'x' * 101, 413),
    (b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999999\r\nexpect: 100-continue\r\n\r\n', 413),
    (b'POST /stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n65\r\n' + b'x' * 101 + b'\r\n', 413),
    (b'GET / HTTP/1.1\r\nhost: x\r\nx-long: ' + b'x' * 600 + b'\r\n\r\n', 431),
    (b'GET / HTTP/1.1\r\nhost: x\r\n' + b''.join(b'x-%d: y\r\n' % i for i in range(200)) + b'\r\n', 431),
    (b'GET /' + b'x' * 300 + b' HTTP/1.1\r\nhost: x\r\n\r\n', 414),
    (b'GET / HTTP/1.1\r\nhost: x\r\nx-never-ends', 408),
    (b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx', 408),
    (b'POST /stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab', 408),
    (b'GET / HTTP/1.1\r\n\r\n', 400),
    (b'nonsense\r\n\r\n', 400),
])
def test_limits(limited: Live, data: bytes, status: int) -> None:
    with raw.Raw(limited.server) as client:
        assert client.get(data)[0] == status
        assert status == 200 or client.rest() == b'' # And no more


def test_an_idle_connection_is_closed(limited: Live) -> None:
    with raw.Raw(limited.server) as client:
        assert client.get(GET)[0] == 200
        assert client.rest() == b''


def test_an_answer_that_is_not_taken_is_given_up() -> None:
    app, sent, done = App(), [], event()
    app.get('/')(endless('async', sent, done))
    with live(app, limits=Limits(request_timeout=0.2)) as c, raw.Raw(c.server, receive_buffer=4096) as client:
        client.send(GET)
        assert done.wait(BOUND)


# Background tasks

def test_background_tasks_run_when_the_answer_has_left(expect_log: ExpectLog) -> None:
    app, ran, go, done = App(), [], event(), event()
    def sync() -> None:
        go.wait(BOUND)
        ran.append(threading.current_thread().name.startswith('nbws-worker'))
        done.set()
    async def later() -> None:
        ran.append(asyncio.get_running_loop() is app.loop)
        done.set()
    async def breaks() -> None:
        done.set()
        raise KeyError('behind')
    tasks = {'sync': sync, 'async': later, 'lambda': lambda: later(), 'breaks': breaks}
    @app.get('/{what}')
    async def page(what: str) -> Response: return HTMLResponse('answered', background=tasks[what])
    expect_log("KeyError: 'behind'", 1)
    with live(app) as c:
        for what in tasks:
            done.clear()
            assert c.get(f'/{what}').text == 'answered' # For `sync`, before `go` is set
            go.set()
            assert done.wait(BOUND)
    assert ran == [True, True, True]


def test_background_of_a_stream() -> None:
    app, order, done = App(), [], event()
    async def items() -> AsyncIterator[str]:
        for i in range(2):
            order.append(i)
            yield str(i)
    async def after() -> None:
        order.append('after')
        done.set()
    @app.get('/')
    async def page() -> Response: return Response(items(), background=after)
    with live(app) as c:
        assert c.get().text == '01'
        assert done.wait(BOUND)
    assert order == [0, 1, 'after']


# Lifespan

def test_lifespan_and_hooks_in_order() -> None:
    order: list[Any] = []
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        order.append('enter')
        yield
        order.append('exit')
    app = App(lifespan=lifespan, on_startup=[lambda: order.append('start')], on_shutdown=lambda: order.append('stop'))
    @app.on_startup
    async def more() -> None: order.append(asyncio.get_running_loop() is app.loop)
    @app.on_event('shutdown')
    def last() -> None: order.append('last')
    with live(app):
        assert order == ['start', True, 'enter']
        ran = event()
        @app.on_startup
        def late() -> None: ran.set()
        assert ran.wait(BOUND)
    assert order[3:] == ['exit', 'stop', 'last']


def test_a_start_that_fails_is_told_and_leaves_nothing() -> None:
    app = App()
    @app.on_startup
    async def breaks() -> None: raise KeyError('database')
    with pytest.raises(StartError, match=r"failed to start up: KeyError\('database'\)"): Server(app).start()


def test_a_stop_hook_that_fails_keeps_no_other_from_running(expect_log: ExpectLog) -> None:
    app, ran = App(), []
    @app.on_shutdown
    def breaks() -> None: raise KeyError('first')
    @app.on_shutdown
    def runs() -> None: ran.append(1)
    expect_log("KeyError: 'first'", 1)
    with live(app): pass
    assert ran == [1]


def test_hooks_of_a_cell_that_is_run_again_are_replaced() -> None:
    app = App()
    class Cell(type(app.environment)):  # type: ignore[misc]
        run = 0
        def here(self) -> Owner: return Owner('cell-1', f'cell [{self.run}]')
    app.environment = cell = Cell()
    for cell.run in 1, 2:
        @app.on_startup
        def start() -> None: ...
        @app.on_shutdown
        def stop() -> None: ...
        @app.middleware
        async def around(request: Request, call_next: Any) -> Any: return await call_next(request)
    assert [len(hooks) for hooks in (app.startup_hooks, app.shutdown_hooks, app.middlewares)] == [1, 1, 1]
    assert app.startup_hooks == [start]


# Proxies

def test_proxies_are_told_not_to_collect_what_streams(tmp_path: Path) -> None:
    "nginx holds an answer back otherwise; what has a length is left to it, and what the app says stays."
    (tmp_path/'x.txt').write_text('x' * 100_000)
    app, field = App(), 'x-accel-buffering'
    async def events() -> AsyncIterator[str]:
        yield sse_message(P('now'))
    @app.get('/events')
    def sse() -> Response: return EventStream(events())
    @app.get('/yields')
    def yields() -> Iterator[str]: yield 'a'
    @app.get('/own')
    def own() -> Response: return StreamingResponse(iter('ab'), headers={field: 'yes'})
    @app.get('/page')
    def page() -> Any: return P('whole')
    app.static('/files', tmp_path)

    async def theirs(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] != 'http': return
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]})
        await send({'type': 'http.response.body', 'body': b'data: 1\n\n'})
    app.mount('/theirs', theirs)
    tremolo = Tremolo()
    @tremolo.route('/')
    async def tells(sse: Any = None) -> None: await sse.send('a')
    with live(app) as c:
        told = {path: c.get(path).headers.get(field) for path in
                ('/events', '/yields', '/own', '/theirs/', '/page', '/files/x.txt', '/_nbws/nbws.js')}
    with live(tremolo) as c: told['tremolo'] = c.get().headers.get(field)
    assert told == {'/events': 'no', '/yields': 'no', '/own': 'yes', '/theirs/': 'no', '/page': None,
                    '/files/x.txt': None, '/_nbws/nbws.js': None, 'tremolo': 'no'}
