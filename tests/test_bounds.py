"""What one visitor can make a server keep: messages that wait, pongs that nobody reads, rooms that nobody is in."""
from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import raw
from raw import PING, PONG, App, Raw, frame, serving, text, until

from nbws.conn import Limits
from nbws.messages import Response

MIB = 2**20


@pytest.fixture(params=['asyncio', 'uvloop'])
def uvloop(request: pytest.FixtureRequest) -> bool:
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    return bool(request.param == 'uvloop')


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
        assert len(conn.queue) < 1000
        assert n and client.response()[2] == b'x' * 100_000
