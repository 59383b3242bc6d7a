"""What one visitor can make a server keep: messages that wait, pongs that nobody reads, rooms that nobody is in."""
from __future__ import annotations

import asyncio
import gc
import select
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import raw
from raw import BINARY, CLOSE, PING, PONG, TEXT, App, Raw, frame, serving, text, until
from tornado.iostream import IOStream
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from nbws.app import App as AnyApp
from nbws.transports.asgi import asgi as served_by_asgi
from nbws.server.limits import Limits
from nbws.adapters.detect import as_app
from nbws.jupyter.tunnel import tunnel
from nbws.core.response import Response
from nbws.testing import AsyncClient
from nbws.tremolo import Tremolo
from nbws.sockets.workers import Workers

MIB = 2**20
# However busy the machine is: a client that does not read answers no ping, and a full server gives somebody up
PATIENT = Limits(ws_ping_timeout=10 * raw.TIMEOUT, request_timeout=10 * raw.TIMEOUT)


# Pongs

def pour(client: Raw, data: bytes, most: int) -> tuple[int, bytes]:
    "Send `data` over and over until nobody takes it for a second. Returns how often, and what is left of the last one."
    client.sock.settimeout(1)
    n, left = 0, b''
    try:
        while n * len(data) < most:
            left = left or data
            left = left[client.sock.send(left):]
            n += not left
    except TimeoutError: return n + bool(left), left
    finally: client.sock.settimeout(raw.TIMEOUT)
    raise AssertionError(f'{most} bytes were taken from a client that reads nothing')


def afterwards(client: Raw, left: bytes) -> threading.Thread:
    "Send what is left while the answers are read."
    sender = threading.Thread(target=client.send, args=[left])
    sender.start()
    return sender


def test_pongs_that_nobody_reads_stop_the_pings(uvloop: bool) -> None:
    "Above the mark the server reads no more pings, holds little, and goes on when its client reads: no pong is lost."
    app = App()
    with serving(app, uvloop=uvloop) as server, Raw(server, receive_buffer=65536) as client:
        client.open()
        n, left = pour(client, frame(PING, b'p' * 120) * 500, 80 * MIB) # Kernels keep a few MiB in each direction
        assert app.sockets[0].conn.buffered < MIB
        sender = afterwards(client, left)
        for _ in range(n * 500): assert client.frame()[1:] == (PONG, b'p' * 120)
        sender.join(raw.TIMEOUT)
        client.send(text('alive'))
        assert client.frame()[2] == b'alive'


def test_who_sends_pings_and_never_reads_is_closed(uvloop: bool) -> None:
    "The silence is the client's, though it is the server that does not read."
    app = App()
    with serving(app, uvloop=uvloop, limits=Limits(ws_ping_timeout=1, close_timeout=1)) as server:
        with Raw(server, receive_buffer=65536) as client:
            client.open()
            try: pour(client, frame(PING, b'p' * 120) * 500, 80 * MIB)
            except OSError: pass # Closed already
            until(lambda: len(app.sockets[0].calls) > 1)
    assert app.sockets[0].calls[-1] == (1006, '')


def test_pings_of_ours_do_not_pile_up(uvloop: bool) -> None:
    app = App()
    with serving(app, uvloop=uvloop) as server, Raw(server, receive_buffer=65536) as client:
        client.open()
        conn = app.sockets[0].conn
        def ping() -> None:
            for _ in range(100_000): conn.ping(b'p' * 120)
        server.loop.call_soon_threadsafe(ping)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server.loop).result(raw.TIMEOUT)
        assert conn.buffered < MIB
        client.send(frame(PING, b'mine'))
        while client.frame()[1:] != (PONG, b'mine'): pass


def test_requests_of_a_client_that_reads_no_answers_wait(uvloop: bool) -> None:
    "HTTP's pipelining: at most one answer is kept above the mark, and the requests behind it are not read."
    class Long(App):
        async def http(self, request: Any) -> Response: return Response(b'x' * 100_000)
    with serving(Long(), uvloop=uvloop) as server, Raw(server, receive_buffer=65536) as client:
        ask = b'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
        n, _ = pour(client, ask * 100, 80 * MIB)
        (conn,) = server.connections
        assert conn.transport.get_write_buffer_size() < MIB
        assert len(conn.exchanges.parser.queue) < 1000
        assert n and client.response()[2] == b'x' * 100_000


# Messages that wait

def compressed(data: bytes, opcode: int = TEXT) -> bytes:
    "A frame of `data`, compressed (RFC 7692)."
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return frame(opcode, (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


class Held:
    "Handlers that wait until they may go on, and what they got."
    def __init__(self) -> None: self.got, self.go = [], threading.Event()
    got: list[int]

    async def handle(self, data: Any) -> None:
        self.got.append(len(data))
        await Workers.here().threads.run(self.go.wait, raw.TIMEOUT)


def push(held: Held) -> Any:
    app = AnyApp()
    @app.ws('/')
    async def ws(data: bytes) -> None: await held.handle(data)
    return app

def pull(held: Held) -> Any:
    app = AnyApp()
    @app.ws('/')
    async def ws(websocket: Any) -> None:
        async for data in websocket: await held.handle(data)
    return app

def tremolo(held: Held) -> Any:
    app = Tremolo('bounds')
    @app.route('/')
    async def ws(websocket: Any = None, **_: Any) -> None:
        await websocket.accept()
        while True: await held.handle(await websocket.receive())
    return app

def asgi(held: Held) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({'type': 'websocket.accept'})
        while (message := await receive())['type'] == 'websocket.receive':
            await held.handle(message.get('text') or message.get('bytes'))
    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] == 'websocket': await app(scope, receive, send)
    return as_app(served)

def tornado(held: Held) -> Any:
    class Handler(WebSocketHandler):
        async def on_message(self, message: Any) -> None: await held.handle(message)
    return as_app(Application([('/', Handler)]))


def kept(server: Any, held: Held) -> float:
    "MiB that are in use when the server reads no more."
    until(lambda: held.got)
    quiet(server)
    return tracemalloc.get_traced_memory()[0] / MIB


@contextmanager
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try: yield
    finally: tracemalloc.stop()


@pytest.mark.parametrize('kind', [push, pull, tremolo, asgi, tornado])
def test_what_waits_for_a_busy_handler_is_bounded_by_its_inflated_size(kind: Any) -> None:
    "714 KB of compressed frames were 664 MiB: one message of 10 MiB is at work, and next to nothing waits behind it."
    held = Held()
    with serving(kind(held), limits=PATIENT) as server, Raw(server) as client:
        client.open(Sec_WebSocket_Extensions='permessage-deflate')
        data = compressed(b'x' * (10 * MIB - 1), BINARY) * 5
        with traced():
            sender = afterwards(client, data)
            assert kept(server, held) < 13
        held.go.set()
        until(lambda: len(held.got) == 5)
        sender.join(raw.TIMEOUT)
        assert held.got == [10 * MIB - 1] * 5


@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('size', [300_000, 3_000_000])
def test_many_messages_and_long_ones_stop_at_a_mebibyte(packed: bool, size: int, uvloop: bool) -> None:
    "One read may hold hundreds of frames that inflate to much: decoding stops where reading does, also within one."
    held, data = Held(), b'x' * size
    with serving(push(held), uvloop=uvloop, limits=PATIENT) as server, Raw(server) as client:
        client.open(Sec_WebSocket_Extensions='permessage-deflate')
        data = frame(BINARY, b'first') + (compressed(data, BINARY) if packed else frame(BINARY, data)) * 20
        with traced():
            sender = afterwards(client, data)
            assert kept(server, held) < 4
        held.go.set()
        until(lambda: len(held.got) == 21)
        sender.join(raw.TIMEOUT)
        assert held.got[1:] == [size] * 20


def with_echo(held: Held) -> Any:
    app = push(held)
    @app.ws('/echo')
    def echo(data: bytes) -> bytes: return data
    return app


def test_all_sockets_together_are_bounded_and_small_messages_pass(uvloop: bool) -> None:
    held, data = Held(), frame(BINARY, b'first') + compressed(bytes(900_000), BINARY) * 4
    limits = replace(PATIENT, max_waiting_total=4 * MIB)
    with serving(with_echo(held), uvloop=uvloop, limits=limits) as server, ExitStack() as clients:
        with traced():
            for _ in range(20):
                client = clients.enter_context(Raw(server))
                client.open(Sec_WebSocket_Extensions='permessage-deflate')
                client.send(data)
            until(lambda: len(held.got) == 20)
            assert kept(server, held) < 4 + 20 * 1.2 # 64 KiB each, and what one look at compressed bytes may bring
        assert server.quota.full
        other = clients.enter_context(Raw(server))
        other.open('/echo')
        other.send(frame(BINARY, b'e' * 50_000))
        assert other.frame()[2] == b'e' * 50_000
        other.send(frame(BINARY, b'e' * 500_000)) # It waits, for no other has room
        held.go.set()
        assert other.frame()[2] == b'e' * 500_000
        until(lambda: len(held.got) == 100)
    assert server.quota.used == 0


def test_where_nothing_moves_who_holds_most_is_closed(uvloop: bool) -> None:
    "A full server is never stuck: whoever holds most gives way to those who wait."
    held, data = Held(), frame(BINARY, b'first') + frame(BINARY, bytes(900_000))
    limits = replace(PATIENT, request_timeout=.5, max_waiting_total=2 * MIB)
    with serving(with_echo(held), uvloop=uvloop, limits=limits) as server, ExitStack() as clients:
        greedy = [clients.enter_context(Raw(server)) for _ in range(4)]
        for client in greedy:
            client.open()
            client.send(data)
        until(lambda: server.quota.full)
        other = clients.enter_context(Raw(server))
        other.open('/echo')
        other.send(frame(BINARY, b'e' * 500_000))
        assert other.frame()[2] == b'e' * 500_000
        ready, _, _ = select.select([c.sock for c in greedy], [], [], raw.TIMEOUT)
        closed = next(c for c in greedy if c.sock in ready)
        assert closed.frame()[1:] == (CLOSE, (1013).to_bytes(2, 'big') + b'too much waits here')
        held.go.set()


def quiet(server: Any) -> None:
    "Wait until the server reads no more."
    last, now = -1, 0
    while last != now:
        last = now
        async def turns() -> int:
            for _ in range(50): await asyncio.sleep(.001)
            return sum(c.input.decoder.partial + c.input.decoder.undecoded for c in server.connections)
        now = asyncio.run_coroutine_threadsafe(turns(), server.loop).result(raw.TIMEOUT)


@pytest.mark.parametrize('kind', [push, pull, tremolo])
def test_under_a_foreign_server_reading_stops_by_bytes(kind: Any) -> None:
    "ASGI's receive is not called while more than 1 MiB waits."
    held, taken = Held(), []
    async def run() -> None:
        end = asyncio.Event()
        async def receive() -> Any:
            if not taken: taken.append('connect')
            elif len(taken) <= 10: taken.append('message')
            else: await end.wait()
            if taken[-1] == 'connect': return {'type': 'websocket.connect'}
            if not end.is_set(): return {'type': 'websocket.receive', 'bytes': bytes(600_000)}
            return {'type': 'websocket.disconnect', 'code': 1000}
        async def send(message: Any) -> None: ...
        scope = {'type': 'websocket', 'path': '/', 'headers': [(b'host', b'localhost')], 'query_string': b''}
        serving = asyncio.ensure_future(served_by_asgi(kind(held), scope, receive, send))
        while not held.got: await asyncio.sleep(.01)  # noqa: ASYNC110
        for _ in range(100): await asyncio.sleep(0)
        assert len(taken) <= 4 # The connect, the one at work, and two that wait
        held.go.set()
        while len(held.got) < 10: await asyncio.sleep(.01)  # noqa: ASYNC110
        end.set()
        await asyncio.wait_for(serving, raw.TIMEOUT)
        await Workers.here().close()
    asyncio.run(run())
    assert held.got == [600_000] * 10


@pytest.mark.parametrize('kind', [push, pull, tremolo])
def test_under_a_foreign_server_one_long_message_is_taken_at_a_time(kind: Any) -> None:
    "A second one was taken while the handler was at work, and the server, or middleware, had a third one meanwhile."
    held, taken = Held(), 0
    async def run() -> None:
        end = asyncio.Event()
        async def receive() -> Any:
            nonlocal taken
            taken += 1
            if taken == 1: return {'type': 'websocket.connect'}
            if taken <= 5: return {'type': 'websocket.receive', 'bytes': bytes(2_000_000)}
            await end.wait()
            return {'type': 'websocket.disconnect', 'code': 1000}
        async def send(message: Any) -> None: ...
        scope = {'type': 'websocket', 'path': '/', 'headers': [(b'host', b'localhost')], 'query_string': b''}
        serving = asyncio.ensure_future(served_by_asgi(kind(held), scope, receive, send))
        while not held.got: await asyncio.sleep(.01)  # noqa: ASYNC110
        for _ in range(100): await asyncio.sleep(0)
        assert taken == 2 # The connect, and the one at work
        held.go.set()
        while len(held.got) < 4: await asyncio.sleep(.01)  # noqa: ASYNC110
        end.set()
        await asyncio.wait_for(serving, raw.TIMEOUT)
        await Workers.here().close()
    asyncio.run(run())
    assert held.got == [2_000_000] * 4


def test_a_tests_client_waits_for_a_busy_handler() -> None:
    held = Held()
    async def run() -> None:
        async with AsyncClient(push(held), timeout=3) as client, client.ws('/') as ws:
            with pytest.raises(TimeoutError, match='its handler is busy'):
                for _ in range(4): await ws.send(bytes(600_000))
            held.go.set()
            await ws.send(b'last')
            while held.got[-1:] != [4]: await asyncio.sleep(.01)  # noqa: ASYNC110
        await Workers.here().close()
    asyncio.run(run())
    assert 2 <= len(held.got) <= 4


def test_messages_behind_the_end_of_a_handler_that_pulls_call_it_no_more() -> None:
    calls: list[Any] = []
    app = AnyApp()
    @app.ws('/')
    async def once(websocket: Any) -> None:
        calls.append(await websocket.receive())
    with serving(app) as server, Raw(server) as client:
        client.open()
        client.send(b''.join(text(f'{n}') for n in range(30)))
        assert client.frame()[1:] == (CLOSE, (1000).to_bytes(2, 'big'))
        client.send(raw.close())
        assert client.rest() == b''
    assert calls == ['0']


@pytest.mark.parametrize('outward', [True, False])
def test_jupyters_proxy_keeps_little_of_what_nobody_reads(outward: bool) -> None:
    "In both directions the tunnel reads no more than it can pass on: pings, pongs and messages alike."
    async def run() -> int:
        (browser, there), (app, here) = socket.socketpair(), socket.socketpair()
        passing = asyncio.ensure_future(tunnel(IOStream(browser), IOStream(app), lambda: None))
        source = here if outward else there
        source.setblocking(False)
        sent = quiet = 0
        while quiet < 50 and sent < 64 * MIB:
            try: sent += source.send(frame(PING, b'p' * 120) * 500)
            except BlockingIOError: quiet += 1
            else: quiet = 0
            await asyncio.sleep(.002)
        for end in here, there: end.close()
        await asyncio.wait_for(passing, raw.TIMEOUT)
        return sent
    assert asyncio.run(run()) < 4 * MIB # Most of it is in the kernel
