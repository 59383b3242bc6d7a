"""Open sockets: what the receiver is told and when, how they end, and clients that do not read."""
from __future__ import annotations

import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from logs import ExpectLog
from raw import CLOSE, PING, PONG, TIMEOUT, App, Echo, Raw, call, close, frame, handshake, serving, text, until

from nbws.app import App as LiveApp
from nbws.server.limits import Limits
from nbws.core.messages import Payload
from nbws.notebook.patches import SWITCH_INTERVAL
from nbws.server.listener import Server
from nbws.sockets.monitor import CpuThrottle

GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.fixture
def app() -> App: return App()


@pytest.fixture
def server(uvloop: bool, app: App) -> Iterator[Server]:
    with serving(app, uvloop=uvloop) as server: yield server


ENDINGS: dict[str, tuple[bytes | None, tuple[int, str]]] = {
    'with a code': (close(3001, b'bye'), (3001, 'bye')), 'without a code': (frame(CLOSE), (1005, '')),
    'with an error': (text('a', rsv=1), (1002, 'a reserved bit is set')), 'without a close frame': (b'', (1006, '')),
    'in mid frame': (text('abc')[:5], (1006, '')), 'with a reset': (None, (1006, '')),
}


@pytest.mark.parametrize('name', ENDINGS)
def test_the_client_ends(server: Server, app: App, name: str) -> None:
    data, expected = ENDINGS[name]
    with Raw(server) as raw:
        raw.open()
        if data is None: raw.reset()
        else: raw.send(data)
        if data is not None and data[:1] in (b'', b'\x81'): raw.sock.close()
        until(lambda: len(app.sockets[0].calls) > 1)
    until(lambda: not server.connections)
    assert app.sockets[0].calls == ['opened', expected]


def test_the_app_ends(server: Server, app: App) -> None:
    with Raw(server) as raw:
        raw.open()
        conn = app.sockets[0].conn
        call(server, conn.close, 4000, 'enough')
        call(server, conn.close, 4001)
        call(server, conn.send, 'too late')
        assert raw.frame()[1:] == (CLOSE, struct.pack('>H', 4000) + b'enough')
        assert app.sockets[0].calls == ['opened']  # Not before the client has answered
        raw.send(text('ignored') + close(4000))
        assert raw.rest() == b''
    until(lambda: len(app.sockets[0].calls) > 1)
    call(server, conn.send, 'still dropped')
    assert app.sockets[0].calls == ['opened', (4000, '')]
    assert conn.buffered == 0


def test_the_app_ends_and_the_client_does_not_answer(uvloop: bool, app: App) -> None:
    with serving(app, uvloop=uvloop, limits=Limits(close_timeout=.3)) as server, Raw(server) as raw:
        raw.open()
        call(server, app.sockets[0].conn.close)
        until(lambda: len(app.sockets[0].calls) > 1)
    assert app.sockets[0].calls == ['opened', (1006, '')]


def test_a_silent_client_is_pinged_and_closed(uvloop: bool, app: App) -> None:
    "Not earlier than it should; both come later on a busy machine."
    with serving(app, uvloop=uvloop, limits=Limits(ws_ping_timeout=.6)) as server, Raw(server) as raw:
        begin = time.monotonic()
        raw.open()
        assert raw.frame()[1] == PING
        assert time.monotonic() - begin > .2
        assert raw.frame()[1:] == (CLOSE, struct.pack('>H', 1013) + b'silent for too long')
        assert time.monotonic() - begin > .5


def test_a_pong_is_a_sign_of_life(uvloop: bool, app: App) -> None:
    with serving(app, uvloop=uvloop, limits=Limits(ws_ping_timeout=3)) as server, Raw(server) as raw:
        raw.open()
        for _ in range(3): # The third one comes when 4.5 s have passed
            _, opcode, data = raw.frame()
            assert opcode == PING
            raw.send(frame(PONG, data))
        raw.send(close())
        assert raw.rest()[-4:] == b'\x88\x02\x03\xe8'


class Raises(Echo):
    def opened(self, conn: Any) -> None:
        super().opened(conn)
        if self.__class__ is RaisesAtOnce: raise RuntimeError('at once')
    def received(self, data: str | bytes) -> None: raise RuntimeError('on a message')


class RaisesAtOnce(Raises): ...


@pytest.mark.parametrize('receiver', [Raises, RaisesAtOnce])
def test_a_receiver_that_raises(uvloop: bool, expect_log: ExpectLog, receiver: type[Echo]) -> None:
    expect_log('a receiver raised')
    app = App(receiver)
    with serving(app, uvloop=uvloop) as server, Raw(server) as raw:
        raw.open()
        if receiver is Raises: raw.send(text('a') + text('b'))
        assert raw.frame()[1:] == (CLOSE, struct.pack('>H', 1011))
        raw.send(close(1011))
        assert raw.rest() == b''
    assert app.sockets[0].calls == ['opened', (1011, '')]


def test_ping(server: Server, app: App) -> None:
    with Raw(server) as raw:
        raw.open()
        call(server, app.sockets[0].conn.ping, b'a' * 200)
        assert raw.frame()[1:] == (PING, b'a' * 125)


def test_what_cannot_be_sent(server: Server, app: App) -> None:
    with Raw(server) as raw:
        raw.open()
        with pytest.raises(ValueError, match='cannot be sent'): call(server, app.sockets[0].conn.close, 1005 + 1)
        with pytest.raises(UnicodeEncodeError): call(server, app.sockets[0].conn.send, '\ud800')
        raw.send(text('still open') + close())
        assert raw.events()[0] == 'still open'


def test_a_broadcast_is_framed_once(server: Server, app: App) -> None:
    with Raw(server) as a, Raw(server) as b, Raw(server) as c:
        a.open()
        b.open(sec_websocket_extensions='permessage-deflate')
        c.open(sec_websocket_extensions='permessage-deflate')
        for data in ('short', 'a long text ' * 1000, bytes(5000)):
            payload = Payload(data)
            for echo in app.sockets: call(server, echo.conn.send, payload)
            raw = data.encode() if isinstance(data, str) else data
            wire = payload.wire
            assert a.frame()[2] == raw
            upper, _, packed = b.frame()
            assert c.frame()[2] == packed
            assert (zlib.decompress(packed + b'\0\0\xff\xff\x03\0', -15) if upper & 4 else packed) == raw
            call(server, app.sockets[0].conn.send, payload)
            assert payload.wire is wire
            a.frame()


def test_many_messages_in_one_read_are_answered_in_one_write(server: Server, app: App) -> None:
    with Raw(server) as raw:
        raw.open()
        read = 0
        def more() -> bool:
            nonlocal read
            read += 1
            return Raw.more(raw)
        raw.more = more  # type: ignore[method-assign]
        raw.send(text('a') * 50)
        assert raw.take(150) == b'\x81\x01a' * 50
        assert read <= 2


def test_an_app_that_asks_is_told_of_connections(uvloop: bool) -> None:
    "Each connection once, when it begins and when it ends, whether it became a socket or not."
    told: list[Any] = []
    class Link:
        def closed(self) -> None: told.append('closed')
    class Asks(App):
        def connected(self, client: Any) -> Link:
            told.append(client)
            return Link()
    with serving(Asks(), uvloop=uvloop) as server:
        for data in (GET, handshake()):
            with Raw(server) as raw:
                assert raw.get(data)[0] in (200, 101)
                here = raw.sock.getsockname()
            until(lambda: len(told) == 2)
            assert told == [here, 'closed']
            told.clear()


# Back-pressure

class Careful(Echo):
    "Echoes, and stops reading while its client does not read."
    held = high = 0

    def received(self, data: str | bytes) -> None:
        self.conn.send(data)
        self.high = max(self.high, self.conn.buffered)
        if self.conn.buffered > 65536:
            self.conn.pause(True)
            self.held += 1

    def drained(self) -> None:
        self.calls.append('drained')
        self.conn.pause(False)


def test_a_client_that_does_not_read(uvloop: bool) -> None:
    "Reading stops while it does not read, and goes on when it does: nothing is lost and little is held."
    app = App(Careful)
    with serving(app, uvloop=uvloop) as server, Raw(server, receive_buffer=65536) as raw:
        raw.open()
        n, data = 3000, 'a' * 10_000
        sender = threading.Thread(target=raw.send, args=[text(data)] * n)
        sender.start()
        until(lambda: app.sockets[0].held)
        time.sleep(.1)
        for _ in range(n): assert len(raw.frame()[2]) == 10_000
        sender.join(TIMEOUT)
        echo = app.sockets[0]
        assert 'drained' in echo.calls
        assert echo.high < 2**20
        raw.send(close())
        assert raw.events() == [('close', 1000, '')]


def test_a_paused_socket_can_be_closed(uvloop: bool) -> None:
    class Paused(Echo):
        def received(self, data: str | bytes) -> None:
            self.conn.pause(True)
            self.calls.append(data)
    app = App(Paused)
    with serving(app, uvloop=uvloop, limits=Limits(ws_ping_timeout=1)) as server, Raw(server) as raw:
        raw.open()
        raw.send(text('a'))
        until(lambda: 'a' in app.sockets[0].calls)
        time.sleep(1.5)  # Nobody is pinged while we do not listen
        raw.send(text('b') * 100)
        call(server, app.sockets[0].conn.close, 4000)
        assert raw.frame()[1:] == (CLOSE, struct.pack('>H', 4000))
        raw.send(close(4000))
        assert raw.rest() == b''
    assert app.sockets[0].calls == ['opened', 'a', (4000, '')]


def test_pausing_in_the_middle_of_a_read(uvloop: bool) -> None:
    "No message is lost or reordered, however often the receiver pauses."
    class Pausing(Echo):
        def received(self, data: str | bytes) -> None:
            self.calls.append(data)
            if int(data) % 50 == 7:
                self.conn.pause(True)
                self.conn.out.queue.loop.call_later(.001, self.conn.pause, False)
    app = App(Pausing)
    with serving(app, uvloop=uvloop) as server, Raw(server) as raw:
        raw.open()
        raw.send(b''.join(text(f'{n}') for n in range(2000)) + close())
        assert raw.events() == [('close', 1000, '')]
    assert app.sockets[0].calls == ['opened', *(f'{n}' for n in range(2000)), (1000, '')]


@pytest.mark.timed
def test_a_flood_does_not_starve_others(uvloop: bool) -> None:
    with serving(uvloop=uvloop) as server, Raw(server) as flood, Raw(server) as other:
        flood.open()
        other.open()
        ended = threading.Event()
        def run() -> None:
            while not ended.is_set(): flood.send(text('a' * 10) * 2000)
        def drain() -> None:
            while flood.sock.recv(2**20): pass
        threads = [threading.Thread(target=t) for t in (run, drain)]
        for t in threads: t.start()
        waits = []
        for _ in range(50):
            begin = time.process_time() # What the flood gets meanwhile: whatever else the machine does is no matter
            other.send(text('b'))
            assert other.frame()[2] == b'b'
            waits.append(time.process_time() - begin)
        ended.set()
        threads[0].join(TIMEOUT)
        flood.send(close())
        threads[1].join(TIMEOUT)
        assert sorted(waits)[45] < .25


def compute(seconds: float) -> None:
    "As a cell does."
    end = time.monotonic() + seconds
    while time.monotonic() < end: sum(range(100))


@pytest.fixture
def _quick() -> Iterator[None]:
    "Threads take turns as often as in a notebook that serves."
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    yield
    sys.setswitchinterval(before)


@pytest.mark.timed
@pytest.mark.usefixtures('_quick')
def test_a_cell_comes_first(uvloop: bool) -> None:
    """While a cell runs, a flood gets a share of the time and no more.

    CPU time of the server's thread, of the time by the clock: on a busy machine it is less.
    """
    app = LiveApp()
    @app.ws('/')
    async def echo(data: bytes) -> bytes: return data
    with serving(app, uvloop=uvloop) as server, Raw(server) as raw:
        raw.open(host='127.0.0.1')
        ended = threading.Event()
        def run() -> None:
            while not ended.is_set(): raw.send(text('a' * 10) * 100)
        def drain() -> None:
            while raw.sock.recv(2**20): pass
        threads = [threading.Thread(target=t) for t in (run, drain)]
        for t in threads: t.start()
        server.workers.budget = CpuThrottle()
        compute(.1)
        begin, spent = time.monotonic(), call(server, time.thread_time)
        compute(.6)
        share = (call(server, time.thread_time) - spent) / (time.monotonic() - begin)
        server.workers.budget = None
        ended.set()
        threads[0].join(TIMEOUT)
        raw.send(close())
        threads[1].join(TIMEOUT)
        assert share < .15
