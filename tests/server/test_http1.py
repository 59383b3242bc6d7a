"""HTTP/1.1 over real sockets: framing both ways, order, refusals, streams, and clients that dawdle or leave."""
from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from logs import ExpectLog
from raw import TIMEOUT, App, Echo, Raw, close, handshake, serving, text, until

from nbws.server.limits import Limits
from nbws.core.errors import HTTPException
from nbws.core.response import Response
from nbws.core.protocols import Upgrade
from nbws.server.context import ServerContext
from nbws.server.listener import Server
from nbws.server.parser import RequestParser

GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nHost: x\r\n'
CHUNKED = POST + b'Transfer-Encoding: chunked\r\n\r\n'


class Function(App):
    "An app of one function."
    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    async def http(self, request: Any) -> Any:
        return await super().http(request) if request.upgrade else await self.answer(request)


@pytest.fixture(scope='module')
def server(uvloop: bool) -> Iterator[Server]:
    "Answers with method, path and body."
    with serving(App(), uvloop=uvloop, limits=Limits(close_timeout=1, max_body=2**21)) as server: yield server


@pytest.fixture
def serve(uvloop: bool) -> Iterator[Callable[..., Server]]:
    "Start a server for one function."
    started: list[Server] = []
    def start(answer: Callable[[Any], Any], websockets: bool = True, **limits: float) -> Server:
        bounds = Limits(**{'close_timeout': 1, **limits})
        started.append(Server(Function(answer), uvloop=uvloop, websockets=websockets, limits=bounds).start())
        return started[-1]
    yield start
    for s in started: s.stop()


# Connections that stay and requests in order

def test_keep_alive(server: Server) -> None:
    with Raw(server) as raw:
        for n in range(3):
            status, headers, body = raw.get(b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n' % n)
            assert (status, body) == (200, b'GET /%d ' % n)
            assert 'connection' not in headers
            assert headers['date'].endswith(' GMT')
            assert 'server' not in headers


def test_close_on_demand(server: Server) -> None:
    with Raw(server) as raw:
        assert raw.get(b'GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n')[1]['connection'] == 'close'
        assert raw.rest() == b''


@pytest.mark.parametrize(('field', 'kept'), [(b'', False), (b'Connection: keep-alive\r\n', True)])
def test_http10(server: Server, field: bytes, kept: bool) -> None:
    with Raw(server) as raw:
        status, headers, body = raw.get(b'GET / HTTP/1.0\r\n' + field + b'\r\n')
        assert (status, headers['connection'], body) == (200, 'keep-alive' if kept else 'close', b'GET / ')
        if kept: assert raw.get(b'GET / HTTP/1.0\r\n\r\n')[0] == 200
        assert raw.rest() == b''


def test_pipelined_requests_are_answered_in_order(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response:
        n = int(request.path[1:])
        if n % 3 == 1: await asyncio.sleep(.001 * (n % 4))
        return Response((await request.body()) or request.path)
    with Raw(serve(answer)) as raw:
        data = b''
        for n in range(300):
            data += b'%b /%d HTTP/1.1\r\nHost: x\r\n' % (b'GET' if n % 5 else b'POST', n)
            if n % 5: data += b'\r\n'
            elif n % 2: data += b'Content-Length: 5\r\n\r\n%05d' % n
            else: data += b'Transfer-Encoding: chunked\r\n\r\n3\r\n%03d\r\n0\r\n\r\n' % n
        threading.Thread(target=raw.send, args=(data,)).start()
        bodies = [raw.response()[2] for _ in range(300)]
    assert bodies == [b'/%d' % n if n % 5 else b'%05d' % n if n % 2 else b'%03d' % n for n in range(300)]


def test_a_flood_of_requests_by_a_client_that_does_not_read(serve: Callable[..., Server]) -> None:
    "What it pipelines is not parsed, let alone answered, before it has read what it got."
    count = 0
    async def answer(request: Any) -> Response:
        nonlocal count
        count += 1
        return Response(b'a' * 10_000)
    with Raw(serve(answer), receive_buffer=4096) as raw:
        raw.sock.settimeout(.5)
        with pytest.raises(TimeoutError): raw.send(GET * 1_000_000)
        assert count < 2000


@pytest.mark.parametrize('cut', range(1, 60, 7))
def test_cut_anywhere(server: Server, cut: int) -> None:
    data = b'\r\n' + CHUNKED + b'3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n' + GET
    with Raw(server) as raw:
        for i in range(0, len(data), cut): raw.send(data[i:i + cut])
        assert raw.response()[2] == b'POST / abcde'
        assert raw.response()[2] == b'GET / '


@pytest.mark.parametrize(('count', 'end'), [(30, None), (60, 431)])
def test_trailers_are_counted_however_they_are_cut(count: int, end: int | None) -> None:
    "All of them together may have as many bytes as a header."
    limits = Limits(max_line=200, max_headers=500)
    context = ServerContext(limits=limits, scheme='http', sockets_enabled=True, context_takeover=False)
    data = CHUNKED + b'3\r\nabc\r\n0\r\n' + b'X: aaaaaaaaaa\r\n' * count + b'\r\n'
    for size in range(1, len(data) + 1):
        parser = RequestParser(context)
        pieces = iter(range(0, len(data), size))
        while not parser.queue or not (parser.queue[0].complete or parser.queue[0].refusal):
            at = next(pieces)
            parser.parse(data[at:at + size])
        [exchange] = parser.queue
        assert (exchange.complete, exchange.refusal and exchange.refusal.status_code) == (end is None, end)


def test_half_closed(server: Server) -> None:
    "A client that has nothing more to say still gets its answers."
    with Raw(server) as raw:
        raw.send(GET * 3)
        raw.sock.shutdown(1)
        assert [raw.response()[0] for _ in range(3)] == [200] * 3
        assert raw.rest() == b''


# What the app sees

@pytest.mark.parametrize(('line', 'path', 'host'), [
    (b'GET /a%20b?c HTTP/1.1', '/a b', 'x'), (b'GET http://other:1/p?q HTTP/1.1', '/p', 'other:1'),
    (b'GET HTTP://other HTTP/1.1', '/', 'other'), (b'OPTIONS * HTTP/1.1', '*', 'x'),
    (b'DELETE //a HTTP/1.1', '//a', 'x'),
])
def test_targets(serve: Callable[..., Server], line: bytes, path: str, host: str) -> None:
    async def answer(request: Any) -> Response: return Response(f'{request.path} {request.host}')
    with Raw(serve(answer)) as raw: assert raw.get(line + b'\r\nHost: x\r\n\r\n')[2].decode() == f'{path} {host}'


def test_request_facts(serve: Callable[..., Server]) -> None:
    seen: list[Any] = []
    async def answer(request: Any) -> Response:
        seen.append(request)
        return Response()
    server = serve(answer)
    with Raw(server) as raw:
        raw.get(b'PATCH /p HTTP/1.1\r\nHost: x\r\nX-Two:  a \r\nx-two: \xe9\r\n\r\n')
        r, = seen
        assert r.peer == raw.sock.getsockname()
    assert r.server == ('127.0.0.1', server.port)
    assert (r.method, r.scheme, r.http_version, r.upgrade) == ('PATCH', 'http', '1.1', False)
    assert r.headers.getlist('x-two') == ['a', 'é']


# What is refused

CODED = b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
REFUSED: dict[str, tuple[int, bytes]] = {
    'no host': (400, b'GET / HTTP/1.1\r\n\r\n'),
    'two hosts': (400, b'GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n'),
    'a host with a path': (400, b'GET / HTTP/1.1\r\nHost: x/y\r\n\r\n'),
    'a host with a space': (400, b'GET / HTTP/1.1\r\nHost: x y\r\n\r\n'),
    'two lengths': (400, POST + b'Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc'),
    'two different lengths': (400, POST + b'Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc'),
    'a list of lengths': (400, POST + b'Content-Length: 3, 3\r\n\r\nabc'),
    'a signed length': (400, POST + b'Content-Length: +3\r\n\r\nabc'),
    'a negative length': (400, POST + b'Content-Length: -3\r\n\r\nabc'),
    'a hexadecimal length': (400, POST + b'Content-Length: 0x3\r\n\r\nabc'),
    'an empty length': (400, POST + b'Content-Length:\r\n\r\nabc'),
    'an endless length': (400, POST + b'Content-Length: 99999999999999999999\r\n\r\nabc'),
    'length and coding': (400, POST + b'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    'coding and length': (400, POST + b'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n'),
    'chunked twice': (400, POST + b'Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n'),
    'chunked in two fields': (400, POST + b'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    'identity': (501, POST + b'Transfer-Encoding: identity\r\n\r\nabc'),
    'gzip': (501, POST + b'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'),
    'gzip, and chunked in another field': (501, POST + b'Transfer-Encoding: gzip\r\n' + CODED),
    'identity, and chunked in another field': (501, POST + b'Transfer-Encoding: identity\r\n' + CODED),
    'not quite chunked': (501, POST + b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'),
    'chunked with a vertical tab': (400, POST + b'Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n'),
    'chunked in 1.0': (400, b'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    'space before the colon': (400, POST + b'Content-Length : 3\r\n\r\nabc'),
    'space in a name': (400, POST + b'Content Length: 3\r\n\r\nabc'),
    'a folded field': (400, POST + b'X: a\r\n b\r\n\r\n'),
    'a field folded by a tab': (400, POST + b'X: a\r\n\tb\r\n\r\n'),
    'a space before the first field': (400, b'GET / HTTP/1.1\r\n Host: x\r\n\r\n'),
    'bare CR': (400, POST + b'X: a\rContent-Length: 3\r\n\r\nabc'),
    'bare LF': (400, POST + b'X: a\nContent-Length: 3\r\n\r\nabc'),
    'all bare LF': (400, b'GET / HTTP/1.1\nHost: x\n\n'),
    'NUL in a value': (400, POST + b'X: a\0b\r\n\r\n'),
    'a control in a value': (400, POST + b'X: a\x07b\r\n\r\n'),
    'no name': (400, POST + b': a\r\n\r\n'),
    'no colon': (400, POST + b'X\r\n\r\n'),
    'a fragment': (400, b'GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n'),
    'two spaces before the target': (400, b'GET  / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'two spaces behind the target': (400, b'GET /  HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a space at the end of the line': (400, b'GET / HTTP/1.1 \r\nHost: x\r\n\r\n'),
    'a bare CR first': (400, b'\rGET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a bare CR behind an empty line': (400, b'\r\n\rGET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a bare LF first': (400, b'\nGET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'nothing but CR': (400, b'\r' * 20_000),
    'another protocol': (400, b'DESCRIBE / RTSP/1.0\r\nHost: x\r\n\r\n'),
    'a space in the target': (400, b'GET /a b HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a raw byte in the target': (400, b'GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a relative target': (400, b'GET a HTTP/1.1\r\nHost: x\r\n\r\n'),
    'another scheme': (400, b'GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a user in the target': (400, b'GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n'),
    'star for GET': (400, b'GET * HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a tunnel': (501, b'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a method that is no token': (400, b'BR@W / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'an endless method': (400, b'B' * 40 + b' / HTTP/1.1\r\nHost: x\r\n\r\n'),
    'version 1.2': (505, b'GET / HTTP/1.2\r\nHost: x\r\n\r\n'),
    'version 2': (505, b'GET / HTTP/2.0\r\nHost: x\r\n\r\n'),
    'version 0.9': (505, b'GET /\r\n\r\n'),
    'no version': (400, b'GET / \r\nHost: x\r\n\r\n'),
    'TLS to a plain port': (400, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
    'garbage': (400, b'\xff\xfe\xfd' * 10),
    'HTTP/2 by prior knowledge': (400, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    'a chunk size with 0x': (400, CHUNKED + b'0x3\r\nabc\r\n0\r\n\r\n'),
    'a chunk size with a sign': (400, CHUNKED + b'+3\r\nabc\r\n0\r\n\r\n'),
    'a chunk size with a space': (400, CHUNKED + b'3 \r\nabc\r\n0\r\n\r\n'),
    'a chunk size of nothing': (400, CHUNKED + b'\r\nabc\r\n0\r\n\r\n'),
    'an endless chunk size': (400, CHUNKED + b'fffffffffffffffff\r\nabc\r\n0\r\n\r\n'),
    'a chunk longer than its size': (400, CHUNKED + b'2\r\nabc\r\n0\r\n\r\n'),
    'a chunk that ends in LF': (400, CHUNKED + b'3\r\nabc\n0\r\n\r\n'),
    'a chunk size that ends in LF': (400, CHUNKED + b'3\nabc\r\n0\r\n\r\n'),
    'LF in a chunk extension': (400, CHUNKED + b'3;a\nb\r\nabc\r\n0\r\n\r\n'),
    'a folded trailer': (400, CHUNKED + b'3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n'),
    'a length in the trailer': (400, CHUNKED + b'3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n'),
    'an unknown expectation': (417, POST + b'Expect: wonders\r\nContent-Length: 3\r\n\r\n'),
    'two expectations': (417, POST + b'Expect: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n'),
    'many trailers': (431, CHUNKED + b'3\r\nabc\r\n0\r\n' + b'X: a\r\n' * 6_000 + b'\r\n'),
    'a long trailer': (431, CHUNKED + b'3\r\nabc\r\n0\r\nX: ' + b'a' * 32768 + b'\r\n\r\n'),
    'a long trailer without an end': (431, CHUNKED + b'3\r\nabc\r\n0\r\nX: ' + b'a' * 60_000),
    'a long name of a trailer': (431, CHUNKED + b'3\r\nabc\r\n0\r\n' + b'X' * 60_000),
    'a long chunk extension': (431, CHUNKED + b'3;a=' + b'b' * 60_000),
    'a long chunk size': (431, CHUNKED + b'0' * 60_000),
    'a long target': (414, b'GET /' + b'a' * 8192 + b' HTTP/1.1\r\nHost: x\r\n\r\n'),
    'a long target without an end': (414, b'GET /' + b'a' * 20000),
    'a long header': (431, b'GET / HTTP/1.1\r\nHost: x\r\n' + b'X: %s\r\n' % (b'a' * 1000) * 40 + b'\r\n'),
    'a long field': (431, b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 32768 + b'\r\n\r\n'),
    'a long field without an end': (431, b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 60000),
    'a long name without an end': (431, b'GET / HTTP/1.1\r\nHost: x\r\n' + b'X' * 60000),
    'a long body': (413, POST + b'Content-Length: 2097153\r\n\r\nabc'),
    'a long body in chunks': (413, CHUNKED + b'100000\r\n%b\r\n' % (b'a' * 2**20) * 2 + b'1\r\na\r\n'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(server: Server, name: str) -> None:
    "The right status, and the end: what follows is not taken for a request."
    status, data = REFUSED[name]
    with Raw(server) as raw:
        raw.send(data + GET)
        got, headers, _ = raw.response()
        assert (got, headers['connection']) == (status, 'close')
        assert raw.rest() == b''


@pytest.mark.parametrize('name', ['two lengths', 'bare LF', 'garbage', 'a method that is no token', 'a folded trailer',
                                  'two spaces before the target', 'a bare CR first', 'a long trailer'])
def test_refused_behind_good_ones(server: Server, name: str) -> None:
    with Raw(server) as raw:
        raw.send(GET * 2 + REFUSED[name][1])
        assert [raw.response()[0] for _ in range(2)] == [200] * 2
        assert raw.response()[0] == REFUSED[name][0]
        assert raw.rest() == b''


@pytest.mark.parametrize('method', [b'BREW', b'get', b'GETS', b'X-Y'])
def test_a_method_that_nobody_knows_reaches_the_app(server: Server, method: bytes) -> None:
    "With its body; the connection goes on, however the bytes are cut."
    data = POST + b'Content-Length: 3\r\n\r\nabc' + method + POST[4:] + b'Content-Length: 5\r\n\r\nhello' + GET
    for cut in (1, 2, 5, len(data)):
        with Raw(server) as raw:
            for i in range(0, len(data), cut): raw.send(data[i:i + cut])
            assert raw.response()[0] == 200
            status, _, body = raw.response()
            assert (status, body.split()[0], b'hello' in body) == (200, method, True)
            assert raw.response()[0] == 200


@pytest.mark.parametrize('before', [GET, POST + b'Content-Length: 3\r\n\r\nabc',
                                    POST + b'Content-Length: 3\r\n\r\n\r\n\r' + b'\r\n',
                                    CHUNKED + b'3\r\n\r\n\r\r\n0\r\n\r\n',
                                    CHUNKED + b'19\r\n\r\n\r\nGET / HTTP/1.1\r\nHost:\r\n0\r\nA: b\r\n\r\n'])
@pytest.mark.parametrize('line', [b'GET  / HTTP/1.1', b'\rGET / HTTP/1.1', b'GET / HTTP/1.1'])
def test_every_request_line_is_read(server: Server, before: bytes, line: bytes) -> None:
    "Wherever the request begins, and however it is cut."
    data = before + line + b'\r\nHost: x\r\n\r\n'
    for cut in (1, 2, 3, 7, len(before) - 1, len(before) + 1, len(data)):
        with Raw(server) as raw:
            for i in range(0, len(data), cut): raw.send(data[i:i + cut])
            assert raw.response()[0] == 200
            assert raw.response()[0] == (200 if line == GET[:14] else 400)


def test_a_chunked_body_may_be_cut_up(server: Server) -> None:
    "Extensions and chunks of a byte, again and again, are within the limits."
    body = b'1;' + b'x' * 1000 + b'\r\na\r\n'
    with Raw(server) as raw:
        threading.Thread(target=raw.send, args=(CHUNKED + body * 200 + b'0\r\nX: a\r\n\r\n' + GET,)).start()
        assert raw.response()[2] == b'POST / ' + b'a' * 200
        assert raw.response()[0] == 200


def test_long_trailers_reach_an_app_that_reads(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response:
        try: return Response(await request.body())
        except HTTPException as e: return Response(e.detail, e.status_code)
    with Raw(serve(answer, max_headers=300)) as raw:
        raw.send(CHUNKED + b'3\r\nabc\r\n')
        raw.send(b'0\r\n' + b'X: a\r\n' * 80)
        assert raw.response()[0] == 431
        assert raw.rest() == b''


# Bodies

@pytest.mark.parametrize('n', [0, 1, 65536, 65537, 2**21])
def test_bodies(server: Server, n: int) -> None:
    with Raw(server) as raw:
        for _ in range(2):
            raw.send(POST + b'Content-Length: %d\r\n\r\n' % n + b'a' * n)
            assert raw.response()[2] == b'POST / ' + b'a' * n
        sizes = [min(50000, n - i) for i in range(0, n, 50000)]
        raw.send(CHUNKED, *(b'%x\r\n%b\r\n' % (size, b'b' * size) for size in sizes), b'0\r\n\r\n')
        assert raw.response()[2] == b'POST / ' + b'b' * n


def test_a_body_is_read_at_the_pace_of_the_app(serve: Callable[..., Server]) -> None:
    gate = threading.Event()
    async def answer(request: Any) -> Response:
        await asyncio.to_thread(gate.wait, TIMEOUT)
        size = 0
        async for chunk in request.stream(): size += len(chunk)
        return Response(f'{size}')
    server = serve(answer, max_body=2**26)
    with Raw(server) as raw:
        raw.send(POST + b'Content-Length: %d\r\n\r\n' % 2**26)
        sender = threading.Thread(target=raw.send, args=(bytes(2**26),))
        sender.start()
        sender.join(.3)
        assert sender.is_alive()  # 64 MiB did not fit anywhere
        gate.set()
        assert raw.response()[2] == b'%d' % 2**26
        sender.join(TIMEOUT)


def test_a_body_that_the_app_does_not_want(serve: Callable[..., Server]) -> None:
    "The answer comes while the client still sends, and it is not lost."
    async def answer(request: Any) -> Response: return Response('no, thank you', 403)
    with Raw(serve(answer, max_body=2**30)) as raw:
        raw.send(POST + b'Content-Length: 50000000\r\n\r\n')
        try: raw.send(bytes(5_000_000))
        except OSError: pass
        status, headers, body = raw.response()
        assert (status, headers['connection'], body) == (403, 'close', b'no, thank you')


def test_expect_continue(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response:
        return Response('no', 403) if request.path == '/no' else Response(await request.body())
    server = serve(answer)
    with Raw(server) as raw:
        raw.send(POST + b'Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n')
        assert raw.until(b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        raw.send(b'abc')
        assert raw.response()[2] == b'abc'
        raw.send(POST + b'Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc')  # It did not wait
        assert raw.response()[2] == b'abc'
        assert raw.get(b'GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n')[0] == 200  # Nothing to wait for
        no = POST.replace(b'/', b'/no', 1)
        status, headers, _ = raw.get(no + b'Expect: 100-continue\r\nContent-Length: 3\r\n\r\n')
        assert (status, headers['connection']) == (403, 'close')
        assert raw.rest() == b''


def test_a_client_that_leaves_in_the_middle_of_a_body(serve: Callable[..., Server]) -> None:
    seen: list[Any] = []
    async def answer(request: Any) -> Response:
        try: await request.body()
        except Exception as e: seen.append(e)
        return Response('nobody reads this')
    with Raw(serve(answer)) as raw: raw.send(CHUNKED + b'3\r\nab')
    until(lambda: seen)
    assert 'has left' in str(seen[0])


# Answers

@pytest.mark.parametrize(('status', 'body'), [(200, b'abc'), (204, b''), (304, b''), (404, b'abc'), (299, b'abc')])
def test_statuses(serve: Callable[..., Server], status: int, body: bytes) -> None:
    async def answer(request: Any) -> Response: return Response(b'abc', status)
    with Raw(serve(answer)) as raw:
        for _ in range(2):
            got, headers, content = raw.get(GET)
            assert (got, content) == (status, body)
            assert 'transfer-encoding' not in headers
            assert headers.get('content-length') == (None if status == 204 else '3')  # 304: what 200 would have said


def test_head(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response:
        if request.path == '/file': return Response(b'', headers={'content-length': '1234'})
        return Response(iter(['abc']) if request.path == '/stream' else b'abc')
    with Raw(serve(answer)) as raw:
        for path, field, value in [('/', 'content-length', '3'), ('/file', 'content-length', '1234'),
                                   ('/stream', 'transfer-encoding', 'chunked')]:
            raw.send(f'HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
            status, headers, _ = raw.response(head_only=True)
            assert (status, headers[field]) == (200, value)
        assert raw.get(GET)[2] == b'abc'


async def slowly(*chunks: Any) -> AsyncIterator[Any]:
    for c in chunks:
        await asyncio.sleep(.001)
        yield c


STREAMS: dict[str, Callable[[], Any]] = {
    'async': lambda: slowly('a', b'b', '', bytearray(b'c'), 'ü'), 'empty': lambda: slowly(),
    'generator': lambda: (c for c in ['a', b'b', b'', 'cü']), 'iterator': lambda: iter(['abc', 'ü']),
    'list': lambda: ['a', b'b', 'cü'], 'one': lambda: ['abcü'],
}


@pytest.mark.parametrize('kind', STREAMS)
def test_streams(serve: Callable[..., Server], kind: str) -> None:
    expected = b'' if kind == 'empty' else 'abcü'.encode()
    async def answer(request: Any) -> Response: return Response(STREAMS[kind]())
    with Raw(serve(answer)) as raw:
        for _ in range(2):
            status, headers, body = raw.get(GET)
            assert (status, headers['transfer-encoding'], body) == (200, 'chunked', expected)
        status, headers, body = raw.get(b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        assert (status, headers['connection'], body) == (200, 'close', expected)
        assert 'transfer-encoding' not in headers


def test_a_stream_of_known_length(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response: return Response(slowly('abc', 'def'), headers={'Content-Length': '6'})
    with Raw(serve(answer)) as raw:
        for _ in range(2):
            _, headers, body = raw.get(GET)
            assert (headers['content-length'], body) == ('6', b'abcdef')
            assert 'transfer-encoding' not in headers


@pytest.mark.parametrize('length', [4, 100])
def test_a_stream_of_wrong_length(serve: Callable[..., Server], expect_log: ExpectLog, length: int) -> None:
    expect_log('an answer broke off')
    fields = {'content-length': str(length)}
    async def answer(request: Any) -> Response: return Response(slowly('abc', 'def'), headers=fields)
    with Raw(serve(answer)) as raw:
        raw.send(GET + GET)
        raw.until(b'\r\n\r\n')
        assert raw.rest() == (b'abc' if length == 4 else b'abcdef')  # And no answer to the second request


def test_a_stream_that_raises(serve: Callable[..., Server], expect_log: ExpectLog) -> None:
    expect_log('an answer broke off.*\n(.*\n)*RuntimeError: half-way', times=3)
    async def broken(first: bool) -> AsyncIterator[str]:
        if first: yield 'abc'
        await asyncio.sleep(0)
        raise RuntimeError('half-way')
    async def answer(request: Any) -> Response: return Response(broken(request.path != '/early'))
    server = serve(answer)
    with Raw(server) as raw:
        raw.send(GET)
        raw.until(b'\r\n\r\n')
        assert raw.rest() == b'3\r\nabc\r\n'  # No last chunk
    with Raw(server) as raw:
        assert raw.get(b'GET /early HTTP/1.1\r\nHost: x\r\n\r\n')[0] == 500
    with Raw(server) as raw:
        raw.send(b'GET / HTTP/1.0\r\n\r\n')
        raw.until(b'\r\n\r\n')
        with pytest.raises(ConnectionResetError): raw.rest()  # The end of the stream would be the end of the body


def test_a_chunk_of_a_wrong_type(serve: Callable[..., Server], expect_log: ExpectLog) -> None:
    expect_log('an answer broke off')
    async def answer(request: Any) -> Response: return Response(slowly({'a': 1.5}))
    with Raw(serve(answer)) as raw: assert raw.get(GET)[0] == 500


@pytest.mark.parametrize('kind', ['waits', 'yields', 'sync', 'half-closed'])
def test_a_client_that_leaves_ends_the_stream(serve: Callable[..., Server], kind: str) -> None:
    ended = threading.Event()
    async def waits() -> AsyncIterator[str]:
        try:
            yield 'first'
            await asyncio.sleep(TIMEOUT if kind != 'yields' else .005)
            while True:
                yield 'more'
                await asyncio.sleep(.005)
        finally: ended.set()
    def sync() -> Iterator[str]:
        try:
            while True:
                yield 'more'
                time.sleep(.005)
        finally: ended.set()
    async def answer(request: Any) -> Response: return Response(sync() if kind == 'sync' else waits())
    with Raw(serve(answer)) as raw:
        raw.send(GET)
        raw.until(b'\r\n')
        if kind == 'half-closed':
            raw.sock.shutdown(1)
            raw.rest()
    assert ended.wait(TIMEOUT / 2)


def test_a_stream_waits_for_its_client(serve: Callable[..., Server]) -> None:
    "An endless generator is not run ahead of a client that does not read, and others are served meanwhile."
    made = 0
    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bytes(10_000)
    async def answer(request: Any) -> Response: return Response(endless() if request.path == '/' else b'other')
    server = serve(answer)
    with Raw(server, receive_buffer=4096) as raw, Raw(server) as other:
        raw.send(GET)
        raw.take(100)
        assert other.get(b'GET /other HTTP/1.1\r\nHost: x\r\n\r\n')[2] == b'other'
        before = -1
        while before != made: # Every buffer is full when there comes no more
            before = made
            time.sleep(.2)
        assert made < 1000
        raw.take(10**6)
        until(lambda: made > before)


def test_a_stream_that_never_waits_lets_others_in(serve: Callable[..., Server]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True: yield b'a' * 1000
    async def answer(request: Any) -> Response: return Response(endless() if request.path == '/' else b'other')
    server = serve(answer)
    with Raw(server) as raw, Raw(server) as other:
        raw.send(GET)
        reader = threading.Thread(target=raw.take, args=(5_000_000,))
        reader.start()
        for _ in range(10): assert other.get(b'GET /other HTTP/1.1\r\nHost: x\r\n\r\n')[2] == b'other'
        reader.join(TIMEOUT)


def test_events_are_announced_before_the_first(serve: Callable[..., Server]) -> None:
    async def never() -> AsyncIterator[str]:
        await asyncio.sleep(TIMEOUT)
        yield ''
    async def answer(request: Any) -> Response: return Response(never(), media_type='text/event-stream')
    with Raw(serve(answer)) as raw:
        raw.send(GET)
        assert b'text/event-stream' in raw.until(b'\r\n\r\n')


@pytest.mark.parametrize('field', ['x: a\r\nset-cookie: b=c', 'x: a\nb', 'x: a\0', 'x\r\ny: a', 'x: €'])
def test_fields_that_would_break_out(serve: Callable[..., Server], expect_log: ExpectLog, field: str) -> None:
    told = 'Percent-encode it' if not field.isascii() else 'a line break' # The handler that says so is told
    expect_log(told, times=2)
    async def answer(request: Any) -> Response:
        return Response(b'abc' if request.path == '/' else slowly('abc'), headers=[tuple(field.split(': ', 1))])
    with Raw(serve(answer)) as raw:
        for path in b'/', b'/stream':
            status, headers, body = raw.get(b'GET %b HTTP/1.1\r\nHost: x\r\n\r\n' % path)
            assert (status, body) == (500, b'Internal Server Error')
            assert 'set-cookie' not in headers


def test_framing_is_not_the_apps_business(serve: Callable[..., Server]) -> None:
    fields = [('Transfer-Encoding', 'chunked'), ('Content-Length', '9'), ('Connection', 'upgrade'), ('Keep-Alive', '5')]
    async def answer(request: Any) -> Response:
        return Response(b'abc', headers=[*fields, ('connection', 'close')] if request.path == '/last' else fields)
    with Raw(serve(answer)) as raw:
        _, headers, body = raw.get(GET)
        assert (headers['content-length'], body) == ('3', b'abc')
        assert not {'transfer-encoding', 'connection', 'keep-alive'} & set(headers)
        assert raw.get(b'GET /last HTTP/1.1\r\nHost: x\r\n\r\n')[1]['connection'] == 'close'
        assert raw.rest() == b''


def test_an_app_that_raises(serve: Callable[..., Server], expect_log: ExpectLog) -> None:
    expect_log('GET / failed')
    async def answer(request: Any) -> Response: raise RuntimeError('this must not happen')
    with Raw(serve(answer)) as raw:
        assert raw.get(GET)[2] == b'Internal Server Error'
        assert raw.sock.fileno() > 0


@pytest.mark.parametrize('kind', ['async', 'sync', 'object'])
def test_background(serve: Callable[..., Server], kind: str) -> None:
    done = threading.Event()
    async def later() -> None:
        await asyncio.sleep(.01)
        done.set()
    class Task:
        async def __call__(self) -> None: await later()
    async def answer(request: Any) -> Response:
        return Response(b'abc', background={'async': later, 'sync': done.set, 'object': Task()}[kind])
    with Raw(serve(answer)) as raw:
        assert raw.get(GET)[2] == b'abc'
        assert done.wait(TIMEOUT)
        assert raw.get(GET)[2] == b'abc'


def test_the_app_may_be_replaced(serve: Callable[..., Server]) -> None:
    async def one(request: Any) -> Response: return Response('one')
    async def two(request: Any) -> Response: return Response('two')
    server = serve(one)
    with Raw(server) as raw:
        assert raw.get(GET)[2] == b'one'
        server.app = Function(two)
        assert raw.get(GET)[2] == b'two'


# Handshakes that are not

def test_a_handshake_may_be_answered_otherwise(serve: Callable[..., Server]) -> None:
    server = serve(lambda r: None)
    class Refusing(App):
        async def http(self, request: Any) -> Any: return Response('not today', 403)
    server.app = Refusing()
    with Raw(server) as raw:
        status, headers, body = raw.get(handshake() + text('early'))
        assert (status, headers['connection'], body) == (403, 'close', b'not today')
        assert raw.rest() == b''


def test_no_websockets(serve: Callable[..., Server]) -> None:
    "Then a handshake is an ordinary request, and so is what follows it."
    async def answer(request: Any) -> Response: return Response(f'{request.path} {request.upgrade}')
    with Raw(serve(answer, websockets=False)) as raw:
        raw.send(handshake('/a') + b'GET /b HTTP/1.1\r\nHost: x\r\n\r\n')
        assert [raw.response()[2] for _ in range(2)] == [b'/a False', b'/b False']


@pytest.mark.parametrize('body', [b'Content-Length: 3\r\n\r\nabc',
                                  b'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'])
def test_another_upgrade_is_ignored_with_its_body(server: Server, body: bytes) -> None:
    with Raw(server) as raw:
        raw.send(POST + b'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n' + body + GET)
        assert [raw.response()[2] for _ in range(2)] == [b'POST / abc', b'GET / ']


def test_a_subprotocol_nobody_offered(serve: Callable[..., Server], expect_log: ExpectLog) -> None:
    expect_log("did not offer the subprotocol 'telnet'")
    class Wrong(App):
        async def http(self, request: Any) -> Any:
            self.sockets.append(Echo())
            return Upgrade(self.sockets[-1], 'telnet')
    server = serve(lambda r: None)
    server.app = app = Wrong()
    with Raw(server) as raw: assert raw.get(handshake())[0] == 500
    assert app.sockets[0].calls[0][0] == 1006


# Clients that dawdle

def test_a_slow_header(serve: Callable[..., Server]) -> None:
    server = serve(lambda r: None, header_timeout=1, keepalive_timeout=TIMEOUT)
    with Raw(server) as raw:
        raw.send(b'GET / HTTP/1.1\r\nHo')
        assert raw.response()[0] == 408
        assert raw.rest() == b''
    with Raw(server) as raw: assert raw.rest() == b''  # Not a byte: it is not told anything


def test_a_slow_header_that_trickles(serve: Callable[..., Server]) -> None:
    with Raw(serve(lambda r: None, header_timeout=1)) as raw:
        raw.send(GET[:-2] + b'X: ')
        raw.sock.settimeout(.02)
        while b'\r\n' not in raw.buffer:
            try: assert raw.more(), 'it was not told anything'
            except TimeoutError: raw.send(b'x') # Now and then, and never the end
        raw.sock.settimeout(TIMEOUT)
        assert raw.response()[0] == 408


def test_idle_between_requests(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response: return Response('abc')
    with Raw(serve(answer, keepalive_timeout=.2)) as raw:
        assert raw.get(GET)[0] == 200
        assert raw.rest() == b''


@pytest.mark.parametrize('head', [POST + b'Content-Length: 10\r\n\r\nabc', CHUNKED + b'3\r\nab',
                                  POST + b'Content-Length: 100000\r\n\r\nabc'])
def test_a_slow_body(serve: Callable[..., Server], head: bytes) -> None:
    async def answer(request: Any) -> Response:
        try: return Response(await request.body())
        except HTTPException as e: return Response(e.detail, e.status_code)
    with Raw(serve(answer, request_timeout=.2)) as raw:
        raw.send(head)
        assert raw.response()[0] == 408
        assert raw.rest() == b''


def test_a_handler_may_take_its_time(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response:
        await asyncio.sleep(2)
        return Response('abc')
    server = serve(answer, header_timeout=.8, keepalive_timeout=.8, request_timeout=.8)
    with Raw(server) as raw: assert raw.get(GET)[2] == b'abc'


def test_a_client_that_never_reads_is_dropped(serve: Callable[..., Server]) -> None:
    asked = threading.Event()
    async def answer(request: Any) -> Response:
        asked.set()
        return Response(bytes(20_000_000))
    server = serve(answer, request_timeout=.3)
    with Raw(server, receive_buffer=4096) as raw:
        raw.send(GET)
        assert asked.wait(TIMEOUT)
        until(lambda: not server.connections)


def test_a_client_that_does_not_close_is_dropped(serve: Callable[..., Server]) -> None:
    async def answer(request: Any) -> Response: return Response('abc')
    server = serve(answer, close_timeout=.2)
    with Raw(server) as raw:
        raw.get(b'GET / HTTP/1.0\r\n\r\n')
        until(lambda: not server.connections)


def test_slow_clients_do_not_starve_others(server: Server) -> None:
    slow = [Raw(server) for _ in range(200)]
    try:
        for n, raw in enumerate(slow): raw.send((POST + b'Content-Length: 1000\r\n\r\n' + b'a' * 500)[:n * 3])
        with Raw(server) as raw:
            begin = time.process_time() # What the others take meanwhile, whatever else the machine does
            for _ in range(50): assert raw.get(GET)[0] == 200
            assert time.process_time() - begin < 2
    finally:
        for raw in slow: raw.sock.close()


def test_a_socket_after_requests(server: Server) -> None:
    with Raw(server) as raw:
        assert raw.get(GET)[0] == 200
        raw.open()
        raw.send(text('a') + close())
        assert raw.events() == ['a', ('close', 1000, '')]
