"""One read may bring tens of thousands of chunks, requests or frames: others have their turn in between.

Counted is what happens within one turn of the loop: no clock.
"""
from __future__ import annotations

import asyncio
import socket
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
from raw import BINARY, CONT, TEXT, TIMEOUT, App, Echo, Raw, frame, serving, until

from nbws.server.frames import FRAMES, Assembler
from nbws.server.http1 import ENOUGH, RequestInput
from nbws.server.limits import Limits
from nbws.core.data import ROUNDS, STEP, parse_form, parse_query
from nbws.core.errors import HTTPException
from nbws.core.response import Response
from nbws.server.parser import RequestParser
from nbws.sockets.workers import Workers
from nbws.transports.asgi import asgi
from nbws.app import App as AnyApp

KIB = 1024


class Turns:
    "Counts things by the turn of the loop that they happen in."
    def __init__(self) -> None: self.turn, self.things = 0, Counter[int]()
    def __call__(self) -> None: self.things[self.turn] += 1
    @property
    def most(self) -> int: return max(self.things.values())

    @contextmanager
    def of(self, loop: Any) -> Iterator[None]:
        over = False
        def next_turn() -> None:
            self.turn += 1
            if not over: loop.call_soon(next_turn)
        loop.call_soon_threadsafe(next_turn)
        try: yield
        finally: over = True


@contextmanager
def sending(client: Raw, data: bytes) -> Iterator[None]:
    "Meanwhile the answers are read."
    sender = threading.Thread(target=client.send, args=[data])
    sender.start()
    try: yield
    finally: sender.join()


@pytest.mark.parametrize('n', [300, 30_000])
def test_a_body_of_small_chunks(uvloop: bool, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    "40,000 chunks of a byte, which are one read, took half a second."
    turns, on_body = Turns(), RequestParser.on_body
    def counting(self: RequestParser, chunk: bytes) -> None:
        turns()
        on_body(self, chunk)
    monkeypatch.setattr(RequestParser, 'on_body', counting)
    with serving(uvloop=uvloop) as server, Raw(server) as client, turns.of(server.loop):
        head = b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
        with sending(client, head + b'1\r\nx\r\n' * n + b'0\r\n\r\n' + b'GET /next HTTP/1.1\r\nHost: x\r\n\r\n'):
            assert client.response()[2] == b'POST / ' + b'x' * n
            assert client.response()[2] == b'GET /next '
    assert sum(turns.things.values()) == n
    assert turns.most < 3 * ENOUGH # Each step ends with 4 KiB, of which some are those that led to its end


def test_what_came_of_a_body_before_it_went_wrong_is_handed_on(uvloop: bool) -> None:
    got: list[bytes] = []
    begun = threading.Event()
    class Reads(App):
        async def http(self, request: Any) -> Any:
            begun.set()
            try:
                async for chunk in request.stream(): got.append(chunk)
            except HTTPException as e: return Response('', e.status_code)
    with serving(Reads(), uvloop=uvloop) as server, Raw(server) as client:
        client.send(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        assert begun.wait(TIMEOUT)
        client.send(b'1\r\nx\r\n' * 3 + b'no number\r\n')
        assert client.response()[0] == 400
    assert b''.join(got) == b'xxx'


def test_requests_without_end(uvloop: bool) -> None:
    "9,000 requests are one read."
    turns, n = Turns(), 5000
    class Counts(App):
        async def http(self, request: Any) -> Any:
            turns()
            return Response(request.path.encode())
    with serving(Counts(), uvloop=uvloop) as server, Raw(server) as client, turns.of(server.loop):
        with sending(client, b''.join(b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n' % i for i in range(n))):
            for i in range(n): assert client.response()[2] == b'/%d' % i
    assert turns.most <= 40


@pytest.mark.parametrize('kind', [TEXT, BINARY])
def test_messages_as_fast_as_they_can_be_read(uvloop: bool, kind: int) -> None:
    "uvloop reads 32 times from a connection before others have their turn: 128 messages of 64 KiB."
    turns, n = Turns(), 400
    class Counts(Echo):
        def received(self, data: str | bytes) -> None:
            turns()
            if data in ('last', b'last'): self.conn.send('so it is')
    with serving(App(Counts), uvloop=uvloop) as server, Raw(server) as client, turns.of(server.loop):
        client.open()
        with sending(client, frame(kind, b'x' * 64 * KIB) * n + frame(kind, 'last')):
            assert client.frame()[2] == b'so it is'
    assert sum(turns.things.values()) == n + 1
    assert turns.most <= 6


def test_a_body_as_fast_as_it_can_be_read(uvloop: bool) -> None:
    turns, size = Turns(), 20 * 2**20
    class Counts(App):
        async def http(self, request: Any) -> Any:
            length = 0
            async for chunk in request.stream():
                length += len(chunk)
                turns.things[turns.turn] += len(chunk)
            return Response(str(length))
    with serving(Counts(), uvloop=uvloop) as server, Raw(server) as client, turns.of(server.loop):
        with sending(client, b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % size + bytes(size)):
            assert client.response()[2] == b'%d' % size
    assert turns.most <= 3 * 256 * KIB


def test_what_comes_behind_a_refusal(uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    "It is read, so that the answer is not lost; while it came as fast as it could, nobody else had a turn."
    turns, receive, size = Turns(), RequestInput.receive, 20 * 2**20
    def counting(self: RequestInput, data: bytes) -> None:
        turns.things[turns.turn] += len(data)
        receive(self, data)
    monkeypatch.setattr(RequestInput, 'receive', counting)
    limits = Limits(max_body=1000, close_timeout=TIMEOUT)
    with serving(uvloop=uvloop, limits=limits) as server, Raw(server) as client, turns.of(server.loop):
        client.send(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % size)
        client.send(bytes(size))
        assert client.response()[0] == 413
        client.sock.shutdown(socket.SHUT_WR)
        until(lambda: not server.connections)
    assert sum(turns.things.values()) > size
    assert turns.most <= 3 * 256 * KIB


def test_fragments_without_end(uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, take, n = Turns(), Assembler.take, 50_000
    def counting(self: Assembler, *args: Any) -> int:
        turns()
        return take(self, *args)
    monkeypatch.setattr(Assembler, 'take', counting)
    with serving(uvloop=uvloop) as server, Raw(server) as client, turns.of(server.loop):
        client.open()
        data = frame(TEXT, 'a', fin=False) + frame(CONT, fin=False) * n + frame(CONT, 'z') + frame(TEXT, 'next')
        with sending(client, data):
            assert client.frame()[2] == b'az'
            assert client.frame()[2] == b'next'
    assert turns.most <= 2 * FRAMES + 2


def test_a_client_that_leaves_between_two_turns(uvloop: bool) -> None:
    "Nothing is left of it, and nothing raises."
    with serving(uvloop=uvloop) as server:
        for data in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' * 5000,
                     b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' + b'1\r\nx\r\n' * 20_000):
            with Raw(server) as client:
                client.sock.settimeout(.01)
                try: client.sock.sendall(data)
                except TimeoutError: pass
        with Raw(server) as client:
            client.open()
            client.sock.settimeout(.01)
            try: client.sock.sendall(frame(TEXT, 'x' * 300_000) * 3 + frame(TEXT, 'a', fin=False)
                                     + frame(CONT, fin=False) * 50_000)
            except TimeoutError: pass
        until(lambda: not server.connections)


# ---------------------------------------------------------------- under another server

def under_a_server(app: Any, messages: list[Any], **scope: Any) -> list[Any]:
    "What an app sends to an ASGI server that has these messages at hand; behind them the client leaves."
    sent: list[Any] = []
    async def receive() -> Any: return messages.pop(0) if messages else {'type': 'websocket.disconnect', 'code': 1000}
    async def send(message: Any) -> None: sent.append(message)
    async def run() -> None:
        of = {'type': 'websocket', 'path': '/', 'headers': [(b'host', b'localhost')], 'query_string': b'', **scope}
        try: await asyncio.wait_for(asgi(app, of, receive, send), TIMEOUT)
        finally: await Workers.here().close()
    asyncio.run(run())
    return sent


@pytest.mark.parametrize(('size', 'most'), [(3, 65), (100_000, 4)])
def test_messages_that_an_asgi_server_has_at_hand(size: int, most: int) -> None:
    app, turns, n = AnyApp(), Turns(), 1000
    @app.ws('/')
    async def ws(data: bytes) -> None: turns()
    @app.on_startup
    async def begin() -> None:
        loop = asyncio.get_running_loop()
        def next_turn() -> None:
            turns.turn += 1
            loop.call_soon(next_turn)
        next_turn()
    messages = [{'type': 'websocket.connect'}, *({'type': 'websocket.receive', 'text': 'x' * size} for _ in range(n))]
    under_a_server(app, messages)
    assert sum(turns.things.values()) == n
    assert turns.most <= most


def test_a_message_from_an_asgi_server_is_held_by_its_handler_alone() -> None:
    "It was held by the loop that reads, too, until the next one came."
    app, kept = AnyApp(), []
    @app.ws('/')
    async def ws(data: bytes) -> None:
        await asyncio.sleep(0)
        kept.append(tracemalloc.get_traced_memory()[0])
    def messages() -> list[Any]:
        return [{'type': 'websocket.connect'}, {'type': 'websocket.receive', 'text': 'x' * 9 * 2**20}]
    class Once(list[Any]):
        "Makes each message when it is asked for."
        def __init__(self) -> None: super().__init__([0, 1])
        def pop(self, at: int = 0) -> Any: return messages()[super().pop(at)]
    tracemalloc.start()
    try: under_a_server(app, Once())
    finally: tracemalloc.stop()
    assert 9 * 2**20 < kept[0] < 11 * 2**20


@pytest.mark.parametrize('kind', ['http', 'websocket'])
def test_endless_header_fields_from_an_asgi_server(kind: str) -> None:
    "uvicorn has no limit for them, and takes trailers for such: building a request of a million took seconds."
    app, asked = AnyApp(), []
    @app.get('/')
    def home() -> str: asked.append(1); return 'home'
    @app.ws('/')
    async def ws(data: str) -> None: asked.append(1)
    headers = [(b'host', b'localhost'), *[(b'x', b'y')] * 100_000]
    first = {'type': 'http.request', 'body': b''} if kind == 'http' else {'type': 'websocket.connect'}
    sent = under_a_server(app, [first], type=kind, method='GET', headers=headers,
                          extensions={'websocket.http.response': {}})
    assert [m['status'] for m in sent if 'status' in m] == [431]
    assert not asked


# ---------------------------------------------------------------- what takes long to decode

MIB = 2**20
ESCAPED = b'a=' + b'%41' * (MIB // 3 - 10)
CUT = b'{"a": "' + rb'\ud83d' * (MIB // 6 - 10) + b'"}'
DECODERS = {'form': 'nbws.core.data.unquote_to_bytes', 'json': 'nbws.core.request.from_json',
            'message': 'nbws.web.socket_endpoint.parse_message', 'pulled': 'nbws.sockets.websocket.from_json'}
TYPES = {'form': 'application/x-www-form-urlencoded', 'json': 'application/json'}


def decoding_app() -> AnyApp:
    app = AnyApp()
    @app.post('/form')
    async def form(a: str) -> str: return str(len(a))
    @app.post('/json')
    async def json(request: Any) -> str: return str(len((await request.json())['a']))
    @app.ws('/message')
    async def message(a: str) -> str: return str(len(a))
    @app.ws('/pulled')
    async def pulled(websocket: Any) -> None: await websocket.send(str(len((await websocket.receive_json())['a'])))
    return app


def tremolo_app() -> Any:
    from nbws.tremolo import Tremolo
    app = Tremolo()
    @app.route('/form')
    async def form(request: Any, **_: Any) -> bytes: return str(len((await request.form())['a'][0])).encode()
    return app


class Pieces(Turns):
    "The turns of the loop in which a decoder was called with something long."
    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        name = DECODERS[kind]
        module, _, attribute = name.rpartition('.')
        decode = getattr(import_module(module), attribute)
        def counting(data: Any, *args: Any) -> Any:
            if len(data) > 1000: self()
            return decode(data, *args)
        monkeypatch.setattr(name, counting)

    def check(self, n: int) -> None:
        "There were so many; each had a turn of its own, and a visitor would have been answered between two."
        assert sum(self.things.values()) >= n
        assert self.most == 1
        assert min(b - a for a, b in pairwise(sorted(self.things))) >= ROUNDS # Counted before or behind it in a turn


@pytest.mark.parametrize(('kind', 'make'), [*((kind, decoding_app) for kind in DECODERS), ('form', tremolo_app)])
def test_of_many_long_texts_one_is_decoded_at_a_time(kind: str, make: Any, uvloop: bool,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    "Ten forms or messages of 1 MiB had a piece each in every turn of the loop, and a visitor waited for ten or fifty."
    pieces, n = Pieces(kind, monkeypatch), 10
    with serving(make(), uvloop=uvloop) as server, pieces.of(server.loop):
        def one() -> bytes:
            with Raw(server) as client:
                if kind in TYPES:
                    body = ESCAPED if kind == 'form' else CUT
                    head = f'POST /{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {TYPES[kind]}\r\n'
                    client.send(head.encode() + b'Content-Length: %d\r\n\r\n' % len(body) + body)
                    return client.response()[2]
                client.open(f'/{kind}')
                client.send(frame(TEXT, CUT))
                return client.frame()[2]
        with ThreadPoolExecutor(n) as pool: answers = list(pool.map(lambda _: one(), range(n)))
    size = MIB // 3 - 10 if kind == 'form' else MIB // 6 - 10
    assert answers == [b'%d' % size] * n
    pieces.check(n if kind != 'form' else n * len(ESCAPED) // STEP)


@pytest.mark.parametrize('kind', DECODERS)
def test_of_many_long_texts_one_is_decoded_at_a_time_under_another_server(kind: str,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    app, pieces, n, sent = decoding_app(), Pieces(kind, monkeypatch), 10, []
    async def call() -> None:
        body = ESCAPED if kind == 'form' else CUT
        messages = ([{'type': 'http.request', 'body': body}] if kind in TYPES else
                    [{'type': 'websocket.connect'}, {'type': 'websocket.receive', 'text': CUT.decode()}])
        answered = asyncio.Event()
        async def receive() -> Any:
            if messages: return messages.pop(0)
            await answered.wait()
            return {'type': 'websocket.disconnect', 'code': 1000}
        async def send(message: Any) -> None:
            if data := message.get('text') or (message.get('body') or b'').decode():
                sent.append(int(data))
                answered.set()
        headers = [(b'host', b'localhost'), *([(b'content-type', TYPES[kind].encode())] if kind in TYPES else [])]
        await asgi(app, {'type': 'http' if kind in TYPES else 'websocket', 'method': 'POST', 'path': f'/{kind}',
                         'headers': headers, 'query_string': b''}, receive, send)
    async def run() -> None:
        with pieces.of(asyncio.get_running_loop()):
            await asyncio.wait_for(asyncio.gather(*(call() for _ in range(n))), TIMEOUT)
        await Workers.here().close()
    asyncio.run(run())
    assert sent == [MIB // 3 - 10 if kind == 'form' else MIB // 6 - 10] * n
    pieces.check(n)


@pytest.mark.parametrize('value', ['%', '%4', 'a%', '%%41', '%41' * 20_000, 'a%41' * 20_000, 'é%C3%A9+' * 9_000,
                                   '%' * 70_000])
def test_a_long_form_is_decoded_like_a_short_one(value: str) -> None:
    "However it is cut in pieces: no escape is."
    async def chunks() -> AsyncIterator[bytes]: yield body
    fields = [('a', value), ('b', ''), ('c' * 3, value[:100]), *[('d', value[:7])] * 300, ('e', value)]
    for before in range(4):
        body = b'x=' + b'.' * before + b'&' + b'&'.join(f'{k}={v}'.encode() for k, v in fields)
        if len(body) <= STEP: body += b'&f=' + b'.' * STEP
        form = asyncio.run(parse_form('application/x-www-form-urlencoded', chunks()))
        assert form.multi_items() == parse_query(body).multi_items()
