"""How answers leave: those of a turn of the loop together, nearly always past the transport, always in order."""
from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from raw import TIMEOUT, App, Raw, call, serving, text, until

from nbws.core.engine import WHY
from nbws.core.speedups import ALONE
from nbws.server.output import OutputBuffer, OutputGroup, WriteQueue

compiled = pytest.mark.skipif(bool(WHY), reason='in Python alone, all that is written goes by the transport')


class Recorder:
    "A transport that keeps what is written to it."
    def __init__(self) -> None: self.log: list[bytes] = []
    def write(self, data: bytes) -> None: self.log.append(bytes(data))
    def is_closing(self) -> bool: return False
    def get_write_buffer_size(self) -> int: return 0
    def abort(self) -> None: pass


class Turn:
    "A loop, as far as a queue needs one."
    def __init__(self) -> None: self.calls: list[Callable[[], None]] = []
    def call_soon(self, call: Callable[[], None]) -> None: self.calls.append(call)
    def end(self) -> None:
        while self.calls: self.calls.pop(0)()


def handled(out: OutputBuffer, *said: bytes) -> None:
    "A read is handled, and answered."
    out.collects = True
    for data in said: out.write(data)
    out.settle()


def some(turn: Turn, count: int, kind: Any = WriteQueue) -> tuple[WriteQueue, list[OutputBuffer], list[list[bytes]]]:
    "A queue, connections, and what each has written."
    queue = kind(turn)
    outs = [OutputBuffer(Recorder(), queue) for _ in range(count)]
    return queue, outs, [out.transport.log for out in outs]


def test_those_who_write_in_one_turn_wait_for_each_other() -> None:
    turn = Turn()
    _, (one, another), logs = some(turn, 2)
    for _ in range(3):
        handled(one, b'a', b'b')
        handled(another, b'c')
        assert logs == [[], []]
        assert len(turn.calls) == 1
        turn.end()
        assert logs == [[b'ab'], [b'c']]
        for log in logs: log.clear()


def test_a_lone_one_waits_for_nobody_but_now_and_then() -> None:
    turn = Turn()
    queue, (one, another), (log, other) = some(turn, 2)
    waited = []
    for _ in range(1 + ALONE + 1 + ALONE):
        log.clear()
        handled(one, b'a', b'b')
        waited.append(not log)
        turn.end()
        assert log == [b'ab']
    assert waited == [True, *[False] * ALONE, True, *[False] * ALONE]
    handled(one, b'a') # Waits; and now another one comes
    handled(another, b'c')
    turn.end()
    log.clear()
    other.clear()
    handled(one, b'a')
    assert not log and queue.alone == 0


def test_what_has_waited_for_a_while_leaves_before_the_turn_ends() -> None:
    turn = Turn()
    queue, outs, logs = some(turn, 9)
    for out in outs[:3]: handled(out, b'x')
    assert logs == [[]] * 9
    queue.since -= 1 # Second
    for out in outs[3:]: handled(out, b'x')
    assert logs == [[b'x']] * 4 + [[]] * 5
    turn.end()
    assert logs == [[b'x']] * 9


def test_much_does_not_wait() -> None:
    turn = Turn()
    _, (out,), (log,) = some(turn, 1)
    handled(out, bytes(65_536), b'1', b'2')
    assert [len(data) for data in log] == [65_537]
    turn.end()
    assert [len(data) for data in log] == [65_537, 1]


def test_what_was_said_before_a_broadcast_is_written_before_it() -> None:
    turn = Turn()
    queue, outs, logs = some(turn, 70)
    group = OutputGroup(queue, None)
    for out in outs: out.join(group)
    outs[0].collects = True
    outs[0].write(b'before ')
    group.send(['all'], outs)
    outs[0].write(b' behind')
    outs[0].settle()
    turn.end()
    assert b''.join(logs[0]) == b'before \x81\x03all behind'
    assert b''.join(logs[1]) == b'\x81\x03all'


def test_one_that_fails_keeps_no_other_from_being_written() -> None:
    turn = Turn()
    failed: list[Any] = []
    class Queue(WriteQueue):
        __slots__ = ()
        def failed(self, thing: Any) -> None: failed.append(thing)
    queue, outs, logs = some(turn, 3, Queue)
    def fails(data: bytes) -> None: raise OSError('it fails')
    outs[1].transport.write = fails
    queue.put_all(outs, b'to all')
    assert (logs, failed) == ([[b'to all'], [], [b'to all']], [outs[1]])
    for out in outs: handled(out, b'more')
    turn.end()
    assert (logs, failed) == ([[b'to all', b'more'], [], [b'to all', b'more']], [outs[1]] * 2)


# Past the transport

async def written(out: OutputBuffer) -> None:
    "The transport has written all that it had."
    end = time.monotonic() + TIMEOUT
    while out.transport.get_write_buffer_size():
        assert time.monotonic() < end
        await asyncio.sleep(0)


def accepted(uvloop: bool, use: Callable[[OutputBuffer, socket.socket], Any]) -> None:
    "What is done with a connection that a loop has accepted, and its client, which reads when it is told to."
    async def main() -> None:
        loop, made = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None: made.set_result(transport)
        server = await loop.create_server(Accepted, '127.0.0.1', 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname(), TIMEOUT) as client:
                out = OutputBuffer(await asyncio.wait_for(made, TIMEOUT), WriteQueue(loop, direct=True))
                try: await use(out, client)
                finally: out.abort()
    if uvloop:
        import uvloop as of_libuv
        loop = of_libuv.new_event_loop()
    else: loop = asyncio.SelectorEventLoop()
    try: loop.run_until_complete(main())
    finally: loop.close()


@compiled
def test_the_socket_is_written_to_from_the_second_write_on(uvloop: bool) -> None:
    async def use(out: OutputBuffer, client: socket.socket) -> None:
        found = []
        for word in b'one', b'two', b'three':
            out.write(word)
            found.append(out.fd >= 0)
            await written(out)
        assert found == [False, True, True]
        got = b''
        while len(got) < 11: got += client.recv(100)
        assert got == b'onetwothree'
        out.transport, transport = Recorder(), out.transport
        out.write(b'past it')
        assert (client.recv(100), out.transport.log) == (b'past it', [])
        out.transport = transport
    accepted(uvloop, use)


@compiled
def test_what_the_socket_does_not_take_is_the_transports_and_all_that_follows_is_behind_it(uvloop: bool) -> None:
    *lines, last = [b'%d %b\n' % (n, b'x' * (n * 977 % 60_000)) for n in range(1501)]
    async def use(out: OutputBuffer, client: socket.socket) -> None:
        loop, behind = asyncio.get_running_loop(), set()
        for line in lines:
            out.put(line)
            behind.add(out.behind)
        assert behind == {False, True}, 'the client took all of it, or none'
        def take(size: int) -> bytes:
            got = bytearray()
            while len(got) < size: got += client.recv(1 << 20)
            return bytes(got)
        got = await loop.run_in_executor(None, take, sum(map(len, lines)))
        await written(out)
        out.put(last) # Past the transport again
        assert not out.behind
        got += await loop.run_in_executor(None, take, len(last))
        assert got == b''.join([*lines, last])
    accepted(uvloop, use)


@compiled
def test_a_connection_that_is_lost_writes_to_no_other(uvloop: bool) -> None:
    "A socket's number is given to the next connection as soon as it is closed."
    app = App()
    with serving(app, uvloop=uvloop) as server:
        numbers, lost = [], []
        for _ in range(3):
            with Raw(server) as client:
                client.open()
                for word in 'one', 'two', 'three':
                    client.send(text(word))
                    assert client.frame()[2] == word.encode()
                echo = app.sockets[-1]
                numbers.append(echo.conn.out.fd)
                for old in lost: # It may have the same number
                    call(server, old.out.put, b'for another one')
                    call(server, old.send, 'for another one')
                client.send(text('still here'))
                assert client.frame()[2] == b'still here'
                client.reset()
            until(lambda echo=echo: echo.calls[-1] != 'opened')
            lost.append(echo.conn)
            until(lambda echo=echo: echo.conn.out.fd == -1)
        assert -1 not in numbers
        assert len(set(numbers)) < 3, 'no number was given again'


@compiled
def test_a_socket_leaves_nothing_to_the_requests_before_it(uvloop: bool) -> None:
    app = App()
    with serving(app, uvloop=uvloop) as server, Raw(server) as client:
        for _ in range(3):
            client.send(b'GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n')
            assert client.response()[2] == b'GET /a '
        [request] = server.connections
        out = request.exchanges.out
        assert out.fd >= 0
        client.open()
        client.send(text('hello'))
        assert client.frame()[2] == b'hello'
        assert out.fd == -1
