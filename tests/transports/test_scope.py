"""The body of a request under another server: what a message costs, and what an answer leaves unread.

Counted is what is done for messages: no clock.
"""
from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from processes import asgi_server

from nbws.app import App
from nbws.transports import scope as of_scope

Messages = list[dict[str, Any]]
HOST = (b'host', b'localhost')
CHUNKED = (b'transfer-encoding', b'chunked')


class Server:
    "An ASGI server that has these messages at hand. Behind them the client waits, or leaves."
    def __init__(self, messages: Messages, leaves: bool = False) -> None:
        self.messages, self.leaves, self.sent = messages[::-1], leaves, []
        self.received, self.received_by_answer = 0, 0
    sent: Messages

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        if self.messages: return self.messages.pop()
        if not self.leaves: await asyncio.Event().wait()
        return {'type': 'http.disconnect'}

    async def send(self, message: dict[str, Any]) -> None:
        if not self.sent: self.received_by_answer = self.received
        self.sent.append(message)

    def post(self, app: App, *fields: tuple[bytes, bytes], http: str = '1.1',
             beside: Callable[[], Awaitable[None]] | None = None) -> None:
        "Let an app answer a POST."
        scope = {'type': 'http', 'method': 'POST', 'path': '/', 'http_version': http, 'headers': [HOST, *fields]}
        async def main() -> None:
            watching = asyncio.ensure_future(beside()) if beside else None
            await app(scope, self.receive, self.send)
            if watching: watching.cancel()
            await app.shutdown()
        asyncio.run(asyncio.wait_for(main(), BOUND))

    @property
    def head(self) -> dict[bytes, bytes]: return dict(self.sent[0]['headers'])
    @property
    def body(self) -> bytes: return b''.join(m['body'] for m in self.sent[1:])


def parts(n: int, more: bool = False, data: bytes = b'x') -> Messages:
    "A body in so many messages."
    messages = [{'type': 'http.request', 'body': data, 'more_body': True} for _ in range(n)]
    return messages if more else [*messages[:-1], {**messages[-1], 'more_body': False}]


def reads() -> App:
    app = App()
    @app.post('/')
    async def home(request: Any) -> str: return str(len(await request.body()))
    return app


def reads_nothing(until: asyncio.Event | None = None) -> App:
    app = App()
    @app.post('/')
    async def home() -> str:
        if until: await until.wait()
        return 'not read'
    return app


# ---------------------------------------------------------------- what a message costs

def test_a_message_is_no_reason_for_a_task_or_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    "hypercorn and granian bring each chunk in a message of its own, and a read may be 40,000 chunks."
    done: Counter[str] = Counter()
    def count(name: str) -> None:
        own = getattr(asyncio.SelectorEventLoop, name)
        def counted(self: Any, *args: Any, **named: Any) -> Any:
            done[name] += 1
            return own(self, *args, **named)
        monkeypatch.setattr(asyncio.SelectorEventLoop, name, counted)
    count('create_task')
    count('call_at')
    server = Server(parts(10_000))
    server.post(reads(), CHUNKED)
    assert server.body == b'10000'
    assert sum(done.values()) < 100, done


def test_messages_that_are_at_hand_leave_others_their_turn() -> None:
    n, turns = 10_000, [0]
    async def beside() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)
    server = Server(parts(n))
    server.post(reads(), CHUNKED, beside=beside)
    assert n / turns[0] <= 64


def test_what_waits_is_counted_once() -> None:
    "Who watches whether the client is still there read the lengths of all that had come, for each message."
    lengths = [0]
    class Part(bytes):
        def __len__(self) -> int:
            lengths[0] += 1
            return super().__len__()
    n, go_on = 2_000, asyncio.Event()
    server = Server(parts(n, data=Part(b'xy')))
    async def beside() -> None:
        while server.messages: await asyncio.sleep(0)  # noqa: ASYNC110
        go_on.set()
    server.post(reads_nothing(go_on), CHUNKED, beside=beside)
    assert server.body == b'not read'
    assert lengths[0] < 10 * n


# ---------------------------------------------------------------- what an answer leaves unread

LONG = (b'content-length', b'1000000')


@pytest.mark.parametrize('field', [CHUNKED, LONG])
def test_an_early_answer_ends_the_connection(field: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    "uvicorn goes on to parse what nobody reads, without a pause: 2 s for a read of chunks of one byte."
    monkeypatch.setattr(of_scope, 'LINGER', .05)
    server = Server(parts(100, more=True))
    server.post(reads_nothing(), field)
    assert server.head[b'connection'] == b'close'
    assert server.body == b'not read'
    assert [m.get('more_body') for m in server.sent] == [None, True, False]
    assert server.received_by_answer == 0
    assert server.received == 101 # The answer is out by then: who is cut off while it sends may lose it


@pytest.mark.parametrize(('fields', 'http'), [
    ([(b'content-length', b'1000')], '1.1'), # The server reads it in passing
    ([], '1.1'),
    ([CHUNKED], '2'), ([LONG], '2')]) # HTTP/2 has no such field, and ends a stream by itself
def test_other_answers_do_not(fields: list[tuple[bytes, bytes]], http: str) -> None:
    server = Server(parts(100, more=True))
    server.post(reads_nothing(), *fields, http=http)
    assert b'connection' not in server.head
    assert [m.get('more_body') for m in server.sent] == [None, False]
    assert server.received == 0


def test_nothing_is_left_of_a_body_that_was_read() -> None:
    server = Server(parts(100))
    server.post(reads(), CHUNKED)
    assert b'connection' not in server.head
    assert server.received == 100


@pytest.mark.parametrize('leaves', [False, True])
def test_a_rest_that_ends_ends_the_wait(leaves: bool) -> None:
    server = Server(parts(100, more=leaves), leaves)
    server.post(reads_nothing(), CHUNKED)
    assert server.head[b'connection'] == b'close'
    assert server.received == 100 + leaves
    assert server.body == b'not read'


def test_streams_and_refusals_end_it_too() -> None:
    app = App()
    @app.post('/')
    async def home() -> Any:
        yield 'a'
        yield 'b'
    server = Server(parts(3))
    server.post(app, CHUNKED)
    assert (server.head[b'connection'], server.body, server.received) == (b'close', b'ab', 3)
    server = Server(parts(3))
    server.post(app, CHUNKED, *[(b'x', b'y')] * 2000)
    assert (server.sent[0]['status'], server.head[b'connection'], server.received) == (431, b'close', 3)


EARLY = '''
from nbws import App
from nbws.transports import scope
scope.LINGER = 60 # A busy machine's client may pause
app = App()

@app.get('/')
def home(): return 'home'

@app.post('/')
async def post(request): return str(len(await request.form()))
'''


@pytest.mark.parametrize('name', ['uvicorn', 'hypercorn', 'granian'])
def test_a_form_that_is_too_long_under_each_server(tmp_path: Path, name: str) -> None:
    """The client gets its answer, though it sends on for a while, and then the end of the connection.

    granian ends the connection now and then while the client still sends; then only the next visitor is looked at."""
    (tmp_path/'early.py').write_text(EARLY)
    cut = (BrokenPipeError, ConnectionResetError) if name == 'granian' else ()
    with asgi_server(name, 'early:app', tmp_path) as process:
        with suppress(*cut), socket.create_connection(('127.0.0.1', process.port), BOUND) as s:
            s.sendall(b'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n'
                      b'Content-Type: application/x-www-form-urlencoded\r\n\r\n')
            piece = b'%x\r\n%b\r\n' % (65536, b'x' * 65536)
            for _ in range(20): s.sendall(piece)
            answer = s.recv(65536)
            assert answer.startswith(b'HTTP/1.1 413'), answer
            assert b'\r\nconnection: close\r\n' in answer.lower()
            s.sendall(piece + b'0\r\n\r\n')
            while s.recv(65536): pass
        assert process.get('/') == (200, 'home')
        assert 'Traceback' not in process.output, process.output


@pytest.mark.parametrize(('name', 'status'), [('uvicorn', 400), ('hypercorn', 200), ('granian', 200)])
def test_a_body_beside_an_upgrade(tmp_path: Path, name: str, status: int) -> None:
    """As `curl --http2` sends it. uvicorn on httptools hands over an empty one, which is an error, and no empty form:
    findings/uvicorn-body-beside-an-upgrade.sh."""
    (tmp_path/'early.py').write_text(EARLY)
    fields = {'Content-Type': 'application/x-www-form-urlencoded', 'Connection': 'Upgrade', 'Upgrade': 'soap'}
    with asgi_server(name, 'early:app', tmp_path) as process:
        client = HTTPConnection('127.0.0.1', process.port, timeout=BOUND)
        try:
            client.request('POST', '/', b'name=Ann', fields)
            answer = client.getresponse()
            text = answer.read().decode()
        finally: client.close()
        assert answer.status == status, text
        assert text == '1' if status == 200 else 'drops the body' in text
