"""Sync handlers that wait: they take nothing from others, their visitors may leave, and a server that stops goes on."""
from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from logs import RECORDS, ExpectLog
from bound import BOUND
from raw import Raw, get, serving, until
from websockets.sync.client import connect

from nbws import App
from nbws.sockets import threads
from nbws.transports import scope as asgi_scope
from nbws.server.limits import Limits
from nbws.adapters.detect import as_app
from nbws.core.response import Response
from nbws.server.listener import Server
from nbws.sockets.threads import THREADS, Threads

MANY = THREADS + 8


class Waiting:
    "Handlers that wait until they are released."
    def __init__(self) -> None:
        self.queue: queue.Queue[str] = queue.Queue()
        self.begun, self.closed = threading.Semaphore(0), threading.Semaphore(0)
        self.app = App()

        @self.app.get('/handler')
        def handler() -> str: return self.wait()

        @self.app.get('/generator')
        def generator() -> Iterator[str]:
            try:
                yield 'begun'
                yield self.wait()
            finally: self.closed.release()

        @self.app.ws('/socket')
        def socket(msg: str) -> str: return self.wait()

        @self.app.get('/quick')
        def quick() -> str: return 'quick'

    def wait(self) -> str:
        self.begun.release()
        return self.queue.get(timeout=BOUND)

    def release(self, n: int) -> None:
        for _ in range(n): self.queue.put('released')


@pytest.fixture
def waiting() -> Waiting: return Waiting()


@pytest.fixture
def server(waiting: Waiting) -> Iterator[Server]:
    with serving(waiting.app) as server:
        yield server
        waiting.release(2 * MANY)
        on_loop(server, lambda: True)


def on_loop(server: Server, call: Callable[[], Any]) -> Any:
    "What `call` returns, on the server's loop."
    async def ask() -> Any: return call()
    return asyncio.run_coroutine_threadsafe(ask(), server.loop).result(BOUND)


def visit(server: Server, path: str) -> socket.socket:
    s = socket.create_connection(('127.0.0.1', server.port), BOUND)
    s.sendall(f'GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n'.encode())
    return s


async def true(condition: Callable[[], Any]) -> None:
    "As `until`, on a loop; whoever calls it has the bound."
    while not condition(): await asyncio.sleep(.01)  # noqa: ASYNC110


@pytest.mark.parametrize('path', ['/handler', '/generator'])
def test_visitors_who_wait_keep_nobody_from_a_thread(server: Server, waiting: Waiting, path: str) -> None:
    with ExitStack() as stack:
        for _ in range(MANY): stack.enter_context(visit(server, path))
        for _ in range(MANY): assert waiting.begun.acquire(timeout=BOUND)
        assert get(server, '/quick') == (200, b'quick')
    assert get(server, '/quick') == (200, b'quick')
    waiting.release(MANY)
    until(lambda: on_loop(server, lambda: len(server.workers.threads._threads)) <= THREADS)


def test_messages_that_wait_keep_nobody_from_a_thread(server: Server, waiting: Waiting) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            ws = stack.enter_context(connect(f'ws://127.0.0.1:{server.port}/socket', compression=None))
            ws.send('{"msg": "x"}')
        for _ in range(MANY): assert waiting.begun.acquire(timeout=BOUND)
        assert get(server, '/quick') == (200, b'quick')
        waiting.release(MANY)


def test_a_generator_that_is_left_while_it_waits_is_closed(server: Server, waiting: Waiting) -> None:
    "By its own thread, at its next `yield`; until then the thread is given up."
    with visit(server, '/generator'): assert waiting.begun.acquire(timeout=BOUND)
    threads = server.workers.threads
    until(lambda: on_loop(server, lambda: any(job.given_up for job in threads._running.values())))
    assert not waiting.closed.acquire(blocking=False)
    waiting.release(1)
    assert waiting.closed.acquire(timeout=BOUND)
    until(lambda: on_loop(server, lambda: not (threads._running or threads._pending)))


def test_threads_are_bounded_and_the_bound_is_told(expect_log: ExpectLog) -> None:
    expect_log(r'all 4 threads are taken, by .*wait \(4 times\)', times=1)
    gate = threading.Event()
    def wait() -> None: gate.wait(BOUND)
    def name() -> str: return threading.current_thread().name

    async def main() -> None:
        threads = Threads(asyncio.get_running_loop(), limit=1, most=2, abandoned=2)
        async def fill(n: int) -> list[asyncio.Task[Any]]:
            tasks = [asyncio.ensure_future(threads.run(wait)) for _ in range(2)]
            await true(lambda: len(threads._running) == n)
            return tasks
        for n in 2, 4:
            for task in await fill(n): task.cancel() # Their visitors leave
        late = [asyncio.ensure_future(threads.run(wait)), asyncio.ensure_future(threads.run(name))]
        await true(lambda: threads._told)
        assert len(threads._threads) == 4
        late.pop(0).cancel() # Waits for a thread: it is never called
        gate.set()
        assert (await late[0]).startswith('nbws-worker')
        await true(lambda: len(threads._threads) == 1 and (threads._pending, threads._running) == (0, {}))
        await threads.close()
    asyncio.run(asyncio.wait_for(main(), BOUND))


def test_where_functions_come_to_their_end_there_are_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    "What they compute would only take longer, each; where the process computes, threads come one by one."
    monkeypatch.setattr(threads, 'LOOK', BOUND) # It looks when we say so
    gate = threading.Event()

    async def main() -> None:
        threads = Threads(asyncio.get_running_loop(), limit=1)
        waiting = [asyncio.ensure_future(threads.run(gate.wait, BOUND)) for _ in range(5)]
        await asyncio.sleep(0)
        assert len(threads._threads) == 1
        for ended, cpu, n in (1, 0.0, 1), (0, 1e6, 2), (1, 0.0, 2), (0, 0.0, 5):
            growth = threads._growth
            growth.ended, growth.clock, growth.cpu = ended, time.monotonic() - 1, time.process_time() - cpu
            threads._look()
            assert len(threads._threads) == n
        gate.set()
        await asyncio.gather(*waiting)
        await threads.close()
    asyncio.run(main())


@pytest.mark.parametrize('left', [True, False])
@pytest.mark.parametrize('path', ['/handler', '/generator'])
def test_stopping_does_not_wait_for_them(waiting: Waiting, expect_log: ExpectLog, path: str, left: bool) -> None:
    "Beyond its bound, that is: here a handler would go on for long."
    expect_log(f'left behind: .*{path[1:]}', times=1)
    with ExitStack() as stack:
        with Server(waiting.app, limits=Limits(shutdown_timeout=0.3)) as server:
            s = stack.enter_context(visit(server, path))
            assert waiting.begun.acquire(timeout=BOUND)
            if left: s.close()
            began = time.monotonic()
        assert time.monotonic() - began < BOUND / 2
    waiting.release(1)


def test_an_event_stream_ends_when_the_server_stops() -> None:
    "It has no end of its own, and a browser comes again: to the server that is started next."
    app, ended = App(), threading.Event()

    @app.get('/events')
    async def events() -> Response:
        async def stream() -> Any:
            try:
                yield 'data: 1\n\n'
                await asyncio.sleep(BOUND)
            finally: ended.set()
        return Response(stream(), media_type='text/event-stream')
    with Server(app, limits=Limits(shutdown_timeout=BOUND)) as server:
        s = visit(server, '/events')
        with s:
            heard = b''
            while b'data: 1' not in heard: heard += s.recv(4096)
            server.stop()
            while chunk := s.recv(4096): heard += chunk
    assert heard.endswith(b'0\r\n\r\n')
    assert ended.is_set()


def test_it_says_what_stopping_waits_for(waiting: Waiting, expect_log: ExpectLog) -> None:
    expect_log(rf'stopping: waiting for 2 times GET /handler, at most {BOUND:g} s', times=1)
    with ExitStack() as stack:
        server = Server(waiting.app, limits=Limits(shutdown_timeout=BOUND)).start()
        for _ in range(2): stack.enter_context(visit(server, '/handler'))
        for _ in range(2): assert waiting.begun.acquire(timeout=BOUND)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        until(lambda: any('stopping' in r.getMessage() for r in RECORDS.kept))
        waiting.release(2)
        stopping.join(BOUND)
        assert not stopping.is_alive()


# ---------------------------------------------------------------- bodies

async def asks(scope: Any, receive: Any, send: Any) -> None:
    "An ASGI application that reads the whole body."
    if scope['type'] == 'lifespan': return
    while (await receive()).get('more_body'): pass


def reads() -> App:
    app = App()
    @app.post('/')
    async def home(request: Any) -> str: return str(len(await request.body()))
    return app


@pytest.mark.parametrize('kind', ['nbws', 'wsgi', 'asgi'])
@pytest.mark.parametrize('framing', ['content-length: 70000', 'content-length: 100', 'transfer-encoding: chunked'])
def test_a_body_has_a_least_speed(kind: str, framing: str) -> None:
    "One byte now and then is no silence; it is too slow all the same."
    app = {'nbws': reads(), 'wsgi': as_app(echo), 'asgi': as_app(asks)}[kind]
    piece = b'1\r\nx\r\n' if 'chunked' in framing else b'x'
    with serving(app, limits=Limits(request_timeout=0.4)) as server:
        with socket.create_connection(('127.0.0.1', server.port), BOUND) as s:
            s.sendall(f'POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n{framing}\r\n\r\n'.encode())
            answer, end = b'', time.monotonic() + BOUND
            s.settimeout(0.05)
            while b' 408 ' not in answer and time.monotonic() < end:
                try: answer += s.recv(4096)
                except TimeoutError: s.sendall(piece)
            assert answer.startswith(b'HTTP/1.1 408')


def test_a_body_has_a_least_speed_under_other_peoples_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_scope, 'BODY_SILENCE', 0.4)
    sent: list[Any] = []
    async def receive() -> Any:
        await asyncio.sleep(0.05)
        return {'type': 'http.request', 'body': b'x', 'more_body': True}
    async def send(message: Any) -> None: sent.append(message)
    scope = {'type': 'http', 'method': 'POST', 'path': '/', 'headers': [(b'host', b'x'), (b'content-length', b'9999')]}
    async def main() -> None:
        app = reads()
        await app(scope, receive, send)
        await app.shutdown()
    asyncio.run(asyncio.wait_for(main(), BOUND))
    assert sent[0]['status'] == 408


# ---------------------------------------------------------------- WSGI

def echo(environ: Any, start: Any) -> list[bytes]:
    data = environ['wsgi.input'].read()
    start('200 OK', [('x-length', environ.get('CONTENT_LENGTH', ''))])
    return [b'%d' % len(data), b' ', data[-5:]]


def test_bodies_that_come_slowly_hold_no_thread() -> None:
    with serving(as_app(echo)) as server, ExitStack() as stack:
        slow = [stack.enter_context(Raw(server)) for _ in range(MANY)]
        for client in slow: client.send(b'POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n\r\n1')
        assert get(server, '/')[1].startswith(b'0')
        assert len(server.workers.threads._threads) == 1
        slow[0].send(b'x' * 99_994 + b'last!')
        assert b'100000 last!' in slow[0].until(b'last!')


def test_a_long_body_and_a_chunked_one() -> None:
    "A long one is in a file meanwhile; the length of a chunked one is known, for Django asks for it."
    with serving(as_app(echo)) as server, Raw(server) as client:
        n = 3 * 2**20
        head = b'POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n'
        client.send(head + b'content-length: %d\r\n\r\n' % n + b'x' * (n - 5) + b'last!')
        assert b'%d last!' % n in client.until(b'last!')
        client.send(head + b'transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\n last!\r\n0\r\n\r\n')
        answer = client.until(b'last!')
        assert b'11 last!' in answer and b'x-length: 11' in answer


def test_a_thread_that_was_not_scheduled_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    "It has nothing to do, and only needs its turn on a busy machine; one that runs a function has its bound as before."
    turn = threading.Event()

    class Late(queue.SimpleQueue[Any]):
        def get(self, *args: Any, **kwargs: Any) -> Any:
            job = super().get(*args, **kwargs)
            if job is None: turn.wait(BOUND)
            return job

    async def main() -> tuple[set[threading.Thread], bool]:
        pool = Threads(asyncio.get_running_loop(), limit=2)
        monkeypatch.setattr(pool, '_jobs', Late())
        await asyncio.gather(pool.run(lambda: None), pool.run(lambda: None))
        made = set(pool._threads)
        closing = asyncio.ensure_future(pool.close(timeout=0.01))
        await asyncio.wait([closing], timeout=0.1)
        waits = not closing.done()
        turn.set()
        await closing
        return made, waits

    made, waits = asyncio.run(main())
    assert len(made) == 2 and waits
    assert not any(thread.is_alive() for thread in made)


def test_a_thread_that_has_nothing_to_do_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, 'IDLE', 0.05)
    turn = threading.Event()

    class Stuck(queue.SimpleQueue[Any]):
        def get(self, *args: Any, **kwargs: Any) -> Any:
            turn.wait(BOUND)
            return None

    async def main() -> set[threading.Thread]:
        pool = Threads(asyncio.get_running_loop(), limit=1)
        monkeypatch.setattr(pool, '_jobs', Stuck())
        pool._spawn(1)
        made = set(pool._threads)
        await asyncio.wait_for(pool.close(timeout=0.01), BOUND)
        return made

    made = asyncio.run(main())
    turn.set()
    for thread in made: thread.join(BOUND)
