"""The server's life, what its clients cost, and what it leaves behind: nothing."""
from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from raw import BINARY, CLOSE, TIMEOUT, App, Echo, Raw, call, close, frame, handshake, serving, text, until

from nbws.server.limits import Limits
from nbws.core.errors import StartError
from nbws.core.response import Response
from nbws.core.protocols import Upgrade
from nbws.server.listener import Server, load_tls

GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.fixture(scope='module')
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    "The contexts of a server and of a client that trusts it."
    if not shutil.which('openssl'): pytest.skip('openssl makes the certificate')
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                    '-keyout', folder/'key.pem', '-out', folder/'cert.pem'], check=True, capture_output=True)
    return load_tls(folder/'cert.pem', folder/'key.pem'), ssl.create_default_context(cafile=str(folder/'cert.pem'))


# Starting

def test_start_and_stop(uvloop: bool) -> None:
    server = Server(App(), uvloop=uvloop)
    assert 'not running' in repr(server)
    assert server.start() is server
    assert server.start() is server
    assert server.port > 0
    assert server.url == f'http://127.0.0.1:{server.port}'
    with Raw(server) as raw: assert raw.get(GET)[0] == 200
    server.stop()
    server.stop()
    assert not server.running
    with pytest.raises(ConnectionRefusedError): Raw(server)


def test_restart_keeps_the_port(uvloop: bool) -> None:
    server = Server(App(), uvloop=uvloop)
    ports = set()
    for _ in range(3):
        ports.add(server.start().port)
        with Raw(server) as raw:
            raw.open()
            server.stop(timeout=.1)
    assert len(ports) == 1


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path/'cert.pem').write_text('this is none')
    with pytest.raises(StartError, match=r'cert.pem cannot be used'): load_tls(tmp_path/'cert.pem')
    with pytest.raises(StartError, match='does not exist'): load_tls(tmp_path/'other.pem')


class Startup(App):
    "An app whose start takes its time, or fails."
    def __init__(self, seconds: float = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.seconds, self.error, self.calls = seconds, error, []

    async def startup(self) -> None:
        self.calls.append('startup')
        await asyncio.sleep(self.seconds)
        if self.error: raise self.error

    async def shutdown(self) -> None: self.calls.append('shutdown')


def test_lifespan() -> None:
    app = Startup()
    with serving(app): assert app.calls == ['startup']
    assert app.calls == ['startup', 'shutdown']


def test_a_start_up_that_fails() -> None:
    server = Server(Startup(error=RuntimeError('no database')))
    with pytest.raises(StartError, match='no database'): server.start()
    with pytest.raises(ConnectionRefusedError): Raw(server)


def test_a_start_up_that_does_not_end() -> None:
    begin = time.monotonic()
    with pytest.raises(StartError, match='not up after'): Server(Startup(TIMEOUT)).start(timeout=.2)
    assert time.monotonic() - begin < TIMEOUT / 2


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match='max_message must be more than 0'): Limits(max_message=0)


# Stopping

def test_sockets_are_closed_with_1012(uvloop: bool) -> None:
    app = App()
    with serving(app, uvloop=uvloop) as server:
        clients = [Raw(server) for _ in range(20)]
        for raw in clients: raw.open()
        def polite(raw: Raw) -> None:
            assert raw.frame()[1:] == (CLOSE, struct.pack('>H', 1012) + b'the server stops')
            raw.send(close(1012))
            assert raw.rest() == b''
        readers = [threading.Thread(target=polite, args=(raw,)) for raw in clients]
        for r in readers: r.start()
        begin = time.monotonic()
        server.stop(timeout=TIMEOUT)
        assert time.monotonic() - begin < TIMEOUT / 2
        for r in readers: r.join(TIMEOUT)
        for raw in clients: raw.sock.close()
    assert [e.calls[-1][0] for e in app.sockets] == [1012] * 20
    assert all(len([c for c in e.calls if isinstance(c, tuple)]) == 1 for e in app.sockets)


def test_a_client_that_does_not_answer_the_close(uvloop: bool) -> None:
    app = App()
    with serving(app, uvloop=uvloop) as server, Raw(server) as raw:
        raw.open()
        begin = time.monotonic()
        server.stop(timeout=.2)
        assert time.monotonic() - begin < TIMEOUT / 2
    assert app.sockets[0].calls == ['opened', (1012, '')]


class Slow(App):
    "An app that answers after a time, or streams without an end."
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.ended = seconds, 0

    async def http(self, request: Any) -> Any:
        if request.upgrade: return await super().http(request)
        if request.path == '/stream': return Response(self.stream())
        if request.path == '/pull': return Response(self.pull())
        await asyncio.sleep(self.seconds)
        return Response('done')

    async def stream(self) -> Any:
        try:
            while True:
                yield 'more '
                await asyncio.sleep(.01)
        finally: self.ended += 1

    def pull(self) -> Any:
        try:
            while True:
                yield 'more '
                time.sleep(.05)
        finally: self.ended += 1


def test_requests_are_finished(uvloop: bool) -> None:
    begun, go = threading.Event(), threading.Event()
    class Waits(App):
        async def http(self, request: Any) -> Any:
            begun.set()
            await asyncio.to_thread(go.wait, TIMEOUT)
            return Response('done')
    with serving(Waits(), uvloop=uvloop) as server, Raw(server) as raw, Raw(server) as idle:
        raw.send(GET + GET)
        until(lambda: begun.is_set() and len(server.connections) == 2)
        stopper = threading.Thread(target=server.stop, args=(TIMEOUT,))
        stopper.start()
        until(lambda: server.stopping)
        go.set()
        status, headers, body = raw.response()
        assert (status, headers['connection'], body) == (200, 'close', b'done')
        assert raw.rest() == b''
        assert idle.rest() == b''
        raw.sock.close()
        idle.sock.close()
        stopper.join(TIMEOUT)


def test_what_does_not_finish_is_ended(uvloop: bool) -> None:
    app = Slow(TIMEOUT)
    with serving(app, uvloop=uvloop) as server, Raw(server) as slow, Raw(server) as stream, Raw(server) as pull:
        slow.send(GET)
        stream.send(b'GET /stream HTTP/1.1\r\nHost: x\r\n\r\n')
        pull.send(b'GET /pull HTTP/1.1\r\nHost: x\r\n\r\n')
        stream.take(20)
        pull.take(20)
        begin = time.monotonic()
        server.stop(timeout=.2)
        assert time.monotonic() - begin < TIMEOUT / 2
    assert app.ended == 2


def test_stop_from_many_threads() -> None:
    server = Server(App()).start()
    with Raw(server) as raw:
        raw.open()
        threads = [threading.Thread(target=server.stop, args=(.1,)) for _ in range(5)]
        for t in threads: t.start()
        for t in threads: t.join(TIMEOUT)
    assert not server.running


def test_what_an_app_has_left_on_the_loop_is_cancelled() -> None:
    ended: list[str] = []
    class Forgets(App):
        async def startup(self) -> None:
            async def forever() -> None:
                try: await asyncio.sleep(1000)
                finally: ended.append('task')
            self.task = asyncio.create_task(forever())
            await asyncio.sleep(0)
    with serving(Forgets()): pass
    assert ended == ['task']


def test_stop_from_its_own_thread() -> None:
    class Stops(App):
        async def http(self, request: Any) -> Any:
            server.stop(timeout=.1)
            return Response('stopping')
    server = Server(Stops()).start()
    with Raw(server) as raw: assert raw.get(GET)[2] == b'stopping'
    until(lambda: not server.running)
    until(lambda: not any(t.name.startswith('nbws') for t in threading.enumerate()))


def test_half_open_things_do_not_hold_it_up(uvloop: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    for options in ({}, {'ssl': tls[0]}):
        with serving(uvloop=uvloop, **options) as server:
            raws = [Raw(server) for _ in range(10)]
            for n, raw in enumerate(raws): raw.send(b'' if options else handshake()[:n * 5])
            until(lambda s=server: len(s.connections) + len(s.table.accepting) == 10)
            begin = time.monotonic()
            server.stop(timeout=.3)
            assert time.monotonic() - begin < TIMEOUT / 2
            for raw in raws: raw.sock.close()


def test_nothing_goes_past_tls(uvloop: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    app = App()
    with serving(app, uvloop=uvloop, ssl=tls[0]) as server, Raw(server, tls[1]) as raw:
        raw.open()
        for _ in range(4):
            raw.send(text('hello'))
            assert raw.frame()[2] == b'hello'
        assert app.sockets[-1].conn.out.fd == -1


def test_on_a_loop_that_is_there() -> None:
    async def main() -> None:
        one, two = await Server(App()).astart(), await Server(Slow(.05)).astart()
        assert one.loop is two.loop is asyncio.get_running_loop()
        def ask(server: Server) -> int:
            with Raw(server) as raw: return raw.get(GET)[0]
        assert await asyncio.to_thread(ask, one) == 200
        asking = asyncio.create_task(asyncio.to_thread(ask, two))
        await one.astop()  # The other one goes on
        assert await asking == 200
        assert await asyncio.to_thread(ask, two) == 200
        await two.astop()
        assert len(asyncio.all_tasks()) == 1
    asyncio.run(main())


SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from raw import App
from nbws.server.listener import Server
class Loud(App):
    async def shutdown(self): print('shut down', flush=True)
Server(Loud(), uvloop={uvloop}).run(lambda s: print(s.port, flush=True))
print('ended', flush=True)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground(uvloop: bool, number: int) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), uvloop=uvloop)
    with subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        server = Server(App())
        server.port = int(process.stdout.readline())
        with Raw(server) as raw:
            raw.open()
            process.send_signal(number)
            assert raw.frame()[1] == CLOSE
            raw.send(close(1012))
            assert raw.rest() == b''
        assert process.stdout.read().split('\n')[:2] == ['shut down', 'ended']
        assert process.wait(TIMEOUT) == 0


# TLS

def test_tls(uvloop: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(uvloop=uvloop, ssl=tls[0]) as server:
        assert server.url.startswith('https://')
        with Raw(server, tls[1]) as raw:
            for n in (0, 100_000):
                raw.send(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % n + b'a' * n)
                assert raw.response()[2] == b'POST / ' + b'a' * n
            raw.open()
            for n in (1, 1000, 500_000):
                raw.send(text('a' * n))
                assert raw.frame()[2] == b'a' * n
            raw.send(close(3000))
            assert raw.events() == [('close', 3000, '')]
        with Raw(server, tls[1]) as raw:
            raw.open()
            raw.send(text(b'\xff'))
            assert raw.frame()[2][:2] == struct.pack('>H', 1007)


def test_tls_handshake_and_frames_in_one_record(uvloop: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(uvloop=uvloop, ssl=tls[0]) as server, Raw(server, tls[1]) as raw:
        raw.send(handshake() + text('a') + text('b') + close())
        assert raw.response()[0] == 101
        assert raw.events() == ['a', 'b', ('close', 1000, '')]


@pytest.mark.filterwarnings('ignore:unclosed transport:ResourceWarning')  # asyncio's own, on Python 3.10
def test_clients_that_spoil_the_tls_handshake(uvloop: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(uvloop=uvloop, ssl=tls[0], limits=Limits(header_timeout=2)) as server:
        for data in (GET, b'\x16\x03\x01', b'\x16\x03\x01\x00\xff' + b'a' * 300, b''):
            raw = Raw(server)
            raw.send(data)
            if data: raw.reset()
            else: raw.sock.close()
        silent = Raw(server)
        with Raw(server, tls[1]) as raw: assert raw.get(GET)[0] == 200
        try: assert silent.rest() == b''  # Dropped after the time for a header
        except ConnectionResetError: pass
        silent.sock.close()
        until(lambda: not server.table.accepting)


# What it costs

def test_too_many_connections(uvloop: bool) -> None:
    "At the limit idle connections make room; where none idles, the new one is closed."
    with serving(uvloop=uvloop, limits=Limits(max_connections=10)) as server:
        sockets = [Raw(server) for _ in range(5)]
        for raw in sockets: raw.open()
        idle = [Raw(server) for _ in range(5)]
        until(lambda: len(server.connections) == 10)
        for _ in range(5):
            sockets.append(Raw(server))
            sockets[-1].open()
        for raw in idle:
            try: assert raw.rest() == b''
            except ConnectionResetError: pass
        with Raw(server) as raw:
            try: assert raw.rest() == b''
            except ConnectionResetError: pass
        for raw in sockets:
            raw.send(text('a'))
            assert raw.frame()[2] == b'a'
        for raw in [*sockets, *idle]: raw.sock.close()
        until(lambda: not server.connections)
        with Raw(server) as raw: assert raw.get(GET)[0] == 200


MEMORY = """
import sys; sys.path[:0] = {tests!r}, {tests!r} + '/server'
from raw import App
from test_conn import Careful
from nbws.server.limits import Limits
from nbws.server.listener import Server
server = Server(App(Careful), uvloop={uvloop}, limits=Limits(max_body=2**21))
server.run(lambda s: print(s.port, flush=True))
"""


@pytest.fixture(scope='module')
def process(uvloop: bool) -> Iterator[tuple[Server, Any]]:
    "A server in a process of its own, and the function that tells its memory in bytes."
    script = MEMORY.format(tests=str(Path(__file__).parents[1]), uvloop=uvloop)
    with subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        server = Server(App())
        server.port = int(process.stdout.readline())
        for _ in range(3):
            with Raw(server) as raw:
                raw.open(sec_websocket_extensions='permessage-deflate')
                raw.send(frame(BINARY, bytes(2**20)))
                raw.frame()
        yield server, psutil.Process(process.pid).memory_info
        process.terminate()
        assert process.wait(TIMEOUT) == 0


MIB = 2**20
SENT: dict[str, Callable[[], list[bytes]]] = {
    'a bomb': lambda: [frame(BINARY, zlib.compress(bytes(128 * MIB), 9)[2:-4], rsv=4)],
    'a long message': lambda: [frame(BINARY, bytes(32 * MIB))],
    'a long body': lambda: [GET[:-2] + b'Transfer-Encoding: chunked\r\n\r\n2000000\r\n', bytes(32 * MIB)],
    'a stalled reader': lambda: [frame(BINARY, bytes(MIB))] * 64,
}


@pytest.mark.parametrize('kind', SENT)
def test_memory(process: tuple[Server, Any], kind: str) -> None:
    """128 MiB in a compressed message, 32 MiB in a frame or body, 64 MiB for a client that does not read: under 8 MiB.

    Messages and bodies may have 2 MiB.
    """
    server, memory = process
    data = SENT[kind]() # Before connecting: on a busy machine it takes longer than the server waits for a request
    before = memory().rss
    seen, ended = [before], threading.Event()
    def watch() -> None:
        while not ended.wait(.005): seen.append(memory().rss)
    with Raw(server, receive_buffer=4096 if kind == 'a stalled reader' else 0) as raw:
        if kind != 'a long body': raw.open(sec_websocket_extensions='permessage-deflate')
        def send() -> None:
            try: raw.send(*data)
            except OSError: pass
        threads = [threading.Thread(target=t) for t in (watch, send)]
        for t in threads: t.start()
        try:
            if kind == 'a long body': assert raw.response()[0] == 413
            elif kind == 'a stalled reader': threads[1].join(.5)
            else: assert ('close', 1009) in [event[:2] for event in raw.events()]
        finally:
            raw.reset()
            ended.set()
            for t in threads: t.join(TIMEOUT)
    assert max(seen) - before < 8 * MIB
    with Raw(server) as raw: assert raw.get(GET)[0] == 200


def test_memory_of_idle_sockets(process: tuple[Server, Any]) -> None:
    server, memory = process
    first = [Raw(server) for _ in range(100)]
    for raw in first: raw.open()
    before = memory().rss
    many = [Raw(server) for _ in range(900)]
    for raw in many:
        raw.open(sec_websocket_extensions='permessage-deflate')
        raw.send(text('a'))
    for raw in many: raw.frame()
    each = (memory().rss - before) / len(many)
    for raw in first + many: raw.sock.close()
    assert each < 5 * 1024


def test_nothing_is_left_of_connections(uvloop: bool) -> None:
    "Good ones, refused ones, reset ones: neither objects nor descriptors stay."
    app = App()
    with serving(app, uvloop=uvloop, limits=Limits(close_timeout=1)) as server:
        def visit(n: int) -> None:
            for i in range(n):
                with Raw(server) as raw:
                    if i % 6 == 0: raw.get(GET)
                    elif i % 6 == 1: raw.get(b'garbage\r\n\r\n')
                    elif i % 6 == 2: raw.send(GET[:20])
                    else:
                        raw.open(sec_websocket_extensions='permessage-deflate')
                        if i % 6 == 3: raw.send(text('a') + close())
                        elif i % 6 == 4: raw.send(text(b'\xff'))
                        if i % 6 < 5: raw.rest()
                        else: raw.reset()
            app.sockets.clear()
            until(lambda: not server.connections)
            call(server, lambda: None)
        visit(60)
        gc.collect()
        objects, files = len(gc.get_objects()), len(os.listdir('/proc/self/fd'))
        visit(1800)
        gc.collect()
        assert len(gc.get_objects()) - objects < 300
        assert abs(len(os.listdir('/proc/self/fd')) - files) < 5


def test_an_app_cannot_break_the_switch(uvloop: bool) -> None:
    "A client that has left while the handshake was considered, by an app that goes on: the receiver is told, once."
    gate, app = threading.Event(), App()
    class Waits(App):
        async def http(self, request: Any) -> Any:
            try: await asyncio.sleep(TIMEOUT)
            except asyncio.CancelledError: await asyncio.to_thread(gate.wait, TIMEOUT)
            app.sockets.append(Echo())
            return Upgrade(app.sockets[-1])
    with serving(Waits(), uvloop=uvloop) as server:
        with Raw(server) as raw:
            raw.send(handshake())
            until(lambda: server.connections)
            raw.reset()
        until(lambda: not server.connections)
        gate.set()
        until(lambda: app.sockets and app.sockets[0].calls)
    assert app.sockets[0].calls == [(1006, '')]


EXHAUSTED = """
import os, resource, sys, threading, time; sys.path.insert(0, {tests!r})
from raw import App, Raw
from nbws.server.listener import Server
server = Server(App(), uvloop={uvloop}).start()
GET = b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'
with Raw(server) as raw: assert raw.get(GET)[0] == 200
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
kept, waiting = [Raw(server) for _ in range(5)], []
for raw in kept: assert raw.get(GET)[0] == 200
for raw in kept: raw.open()
files = []
while True: # All that is left, but for one client's end
    try: files.append(os.open('/dev/null', 0))
    except OSError: break
os.close(files.pop())
late = Raw(server)
late.send(GET)
begin = time.process_time()
time.sleep(.7)
assert time.process_time() - begin < .2, 'it spins'
for fd in files: os.close(fd)
assert late.response()[0] == 200
for raw in kept:
    raw.send(b'\\x81\\x81aaaa' + bytes([ord('x') ^ ord('a')]))
    assert raw.frame()[2] == b'x'
server.stop(timeout=.1)
print('done')
"""


def test_no_file_left(uvloop: bool) -> None:
    "A process that has opened all the files it may neither spins nor dies, and serves again when it can."
    script = EXHAUSTED.format(tests=str(Path(__file__).parents[1]), uvloop=uvloop)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.stdout == 'done\n', done.stderr
    assert done.stderr.count('too many files open') in (1, 2)


# An end that is gone without a word

@pytest.mark.skipif(not hasattr(socket, 'TCP_USER_TIMEOUT'), reason='only Linux has it')
def test_the_system_watches_connections(uvloop: bool) -> None:
    "An idle event stream would be kept for ever; accepted connections inherit what the listening socket has."
    app = App()
    with serving(app, uvloop=uvloop, limits=Limits(request_timeout=12)) as server, Raw(server) as raw:
        raw.open()
        transport = next(iter(server.connections)).transport
        with socket.socket(fileno=os.dup(transport.get_extra_info('socket').fileno())) as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            assert [accepted.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [6, 2, 3, 12_000]
