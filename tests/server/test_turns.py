"""One read may bring tens of thousands of chunks, requests or frames: others have their turn in between.

Counted is what happens within one turn of the loop: no clock.
"""
from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from raw import BINARY, CONT, TEXT, TIMEOUT, App, Echo, Raw, frame, serving

from nbws.server.frames import Assembler
from nbws.server.http1 import ENOUGH
from nbws.core.errors import HTTPException
from nbws.core.response import Response
from nbws.server.parser import RequestParser

KIB = 1024


@pytest.fixture(params=['asyncio', 'uvloop'])
def uvloop(request: pytest.FixtureRequest) -> bool:
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    return bool(request.param == 'uvloop')


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
    assert turns.most < 1100


def test_a_client_that_leaves_between_two_turns(uvloop: bool) -> None:
    "Nothing is left of it, and nothing raises."
    async def none(server: Any) -> bool: return not server.connections
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
        while not asyncio.run_coroutine_threadsafe(none(server), server.loop).result(): pass
