"""Fuzzers, without dependencies: `python tests/fuzz.py frames|http|forms [--minutes 10] [--seed N]`.

frames and http are what reads from the network. They are coverage-guided: an input that reaches a line from a line it
was not reached from before is kept and changed further. forms lets what is compiled and the same source in Python do
the same (both_forms.py). A part of each runs with the tests (test_fuzz.py, test_speedups.py); after a change to the
decoders or to what is compiled, `make fuzz` lets all three run for longer, under the sanitizers.
"""
from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any

from both_forms import frames_agree, messages_agree, pages_agree, renderings_agree
from both_steps import steps_agree
from raw import App, close, frame, handshake, text

from nbws.core.engine import WHY, engine
from nbws.layers.stack import Stack
from nbws.server import answers, conn, deflate, frames, handshake as handshakes, heads, http1, output, parser
from nbws.server.context import ServerContext
from nbws.server.deflate import ZlibInflater, negotiate
from nbws.server.frames import Close, Decoder, Failure
from nbws.server.http1 import HttpProtocol
from nbws.server.limits import Limits
from nbws.server.output import WriteQueue
from nbws.sockets.workers import Workers

GET = b'GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n'
POST = b'POST /a HTTP/1.1\r\nHost: x\r\n'
PACKED = b'\xf2\x48\xcd\xc9\xc9\x07\x00'  # "Hello", compressed
SEEDS = {
    'frames': [text('Hello'), text('grün') + close(), frame(2, bytes(130)),
               frame(1, 'a', fin=False) + frame(9, 'p') + frame(0, 'b'),
               text(PACKED, rsv=4), text(PACKED[:3], rsv=4, fin=False) + frame(0, PACKED[3:]), close(1001, b'bye'),
               frame(8), frame(10, 'x') * 3, frame(2, bytes(70000))],
    'http': [GET, GET * 3, POST + b'Content-Length: 3\r\n\r\nabc' + GET,
             b'HEAD http://x/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', handshake() + text('Hello') + close(),
             POST + b'Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n' + GET,
             POST + b'Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\nGET  / HTTP/1.1\r\nHost: x\r\n\r\n',
             handshake(sec_websocket_extensions='permessage-deflate') + text(PACKED, rsv=4),
             POST + b'Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc',
             POST + b'Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc' + GET],
}
WORDS = [b'\r\n', b'\r\n\r\n', b'\n', b'\0', b' ', b':', b',', b'0', b'-1', b'ffffffffffffffff', b'chunked',
         b'HTTP/1.0', b'HTTP/1.1', b'Content-Length: 3\r\n', b'Transfer-Encoding: chunked\r\n', b'Host: y\r\n',
         b'Connection: close\r\n', b'Upgrade: websocket\r\n', b'\x81', b'\x80', b'\x00', b'\x89', b'\x88', b'\xc1',
         b'\x7e', b'\x7f', b'\xfe', b'\xff', b'\xff' * 8, b'\xed\xa0\x80']
INFINITE = float('inf')
REFUSED = re.compile(rb'HTTP/1.1 [45].*', re.S)  # Where several things are wrong, the cut decides which is seen first
MODULES = {m.__file__ for m in (frames, deflate, parser, heads, answers, http1, handshakes, output, conn)}


def frames_target(data: bytes, chance: random.Random) -> None:
    "However it is cut, the events are the same; nothing is raised, nothing follows the end, no more is held than came."
    def decode(pieces: list[bytes]) -> list[Any]:
        decoder, events = Decoder(60000, ZlibInflater(agreed)), []
        for piece in pieces:
            events += decoder.feed(piece, 3)
            while decoder.more: events += decoder.feed(b'', 3)
        assert decoder.undecoded < 14
        assert decoder.partial <= 60000
        # What is neither deflate nor UTF-8 is refused for the one or the other
        return [Failure(0, '') if isinstance(e, Failure) and e.code != 1009 else e for e in events]
    agreed = negotiate('permessage-deflate', context_takeover=bool(data[:1] and data[0] & 1))
    assert agreed
    whole = decode([data])
    assert decode(cut(data, chance)) == whole
    assert not any(isinstance(e, (Close, Failure)) for e in whole[:-1])
    assert all(len(e) <= 60000 for e in whole if isinstance(e, (str, bytes)))


class Recorder:
    "A transport that keeps what is written to it, until it is closed."
    def __init__(self) -> None: self.out, self.ended, self.protocol = b'', False, None
    def set_protocol(self, protocol: Any) -> None: self.protocol = protocol
    def get_protocol(self) -> Any: return self.protocol
    def get_extra_info(self, name: str) -> Any: return ('127.0.0.1', 1) if 'name' in name else None
    def write(self, data: bytes) -> None: self.out += data
    def get_write_buffer_size(self) -> int: return 0
    def is_closing(self) -> bool: return self.ended
    def can_write_eof(self) -> bool: return True
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def abort(self) -> None: self.ended = True
    close = abort


def http_target(loop: asyncio.AbstractEventLoop, workers: Workers) -> Callable[[bytes, random.Random], None]:
    limits = Limits(max_line=200, max_headers=500, max_body=1000, max_message=1000)
    host = ServerContext(app=App(), limits=limits, loop=loop, workers=workers,
                           stopping=False, date='now', scheme='http', sockets_enabled=True,
                           context_takeover=False, remember=lambda c: None, forget=lambda c: None,
                           layers=Stack(()), quota=None, writes=WriteQueue(loop))

    def step(call: Callable[..., None], *args: Any) -> None:
        "Call it as the loop does, outside of any task, and let the loop have its turns."
        failed: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: failed.append(context))
        loop.call_soon(call, *args)
        for _ in range(5): loop.run_until_complete(asyncio.sleep(0))
        if failed: raise failed[0].get('exception') or RuntimeError(failed[0]['message'])

    def serve(pieces: list[bytes]) -> bytes:
        transport = Recorder()
        transport.protocol = first = HttpProtocol(host)
        first.connection_made(transport)
        for piece in pieces: step(transport.protocol.data_received, piece)
        for _ in range(4): step(lambda: None)
        step(transport.protocol.connection_lost, None)
        host.app.sockets.clear()
        # Whoever has sent the body already is not told to continue
        return REFUSED.sub(b'refused', transport.out.replace(b'HTTP/1.1 100 Continue\r\n\r\n', b''))

    def target(data: bytes, chance: random.Random) -> None:
        "Whatever comes, what goes out are whole answers, and the same ones however it is cut."
        whole = serve([data])
        assert whole[:9] in (b'', b'refused', b'HTTP/1.1 '), whole
        assert serve(cut(data, chance)) == whole
    return target


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    at = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))
    return [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True) if i < j]


def change(data: bytes, corpus: list[bytes], chance: random.Random) -> bytes:
    for _ in range(chance.randrange(1, 5)):
        at, end = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        kind = chance.randrange(7)
        if kind == 0 and at < len(data): data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]
        elif kind == 1: data = data[:at] + chance.choice(WORDS) + data[at:]
        elif kind == 2: data = data[:at] + chance.choice(WORDS) + data[end:]
        elif kind == 3: data = data[:at] + data[end:]
        elif kind == 4: data = data[:at] + data[at:end][:200] * 2 + data[end:]
        elif kind == 5: data = data[:at] + chance.choice(corpus)[chance.randrange(50):]
        else: data = data[:at] + chance.randbytes(chance.randrange(1, 5)) + data[at:]
    return data[:80000]


class Coverage:
    "Which lines of our modules were reached from which."
    def __init__(self) -> None: self.seen: set[tuple[int, int, int]] = set()

    def run(self, function: Callable[[], None]) -> bool:
        "Call it, and tell whether it went where nothing went before."
        before, last = len(self.seen), 0
        def line(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            self.seen.add((id(frame.f_code), last, frame.f_lineno))
            last = frame.f_lineno
            return line
        previous = sys.gettrace()
        sys.settrace(lambda frame, event, arg: line if frame.f_code.co_filename in MODULES else None)
        try: function()
        finally: sys.settrace(previous)
        return len(self.seen) > before


def rounds(runs: float, minutes: float) -> Iterator[int]:
    "So many, or as many as there is time for: what comes first."
    until = time.monotonic() + 60 * minutes
    for n in count():
        if n >= runs or time.monotonic() >= until: return
        yield n


def fuzz_forms(minutes: float, seed: int) -> int:
    "How many things were compared. Raises where the two differ."
    chance, done = random.Random(seed), 0
    for done in rounds(INFINITE, minutes):
        agrees = (messages_agree, pages_agree, steps_agree, frames_agree, renderings_agree)[done % 5]
        agrees(chance.randrange(10**9))
    return done + 1


def fuzz(what: str, runs: float, seed: int, minutes: float = INFINITE) -> tuple[int, int, int]:
    "Runs done, inputs kept, transitions seen. Raises what the target raises, with the input as a note."
    chance, coverage, corpus = random.Random(seed), Coverage(), list(SEEDS[what])
    done, loop = 0, asyncio.new_event_loop()
    async def here() -> Workers: return Workers.here()
    workers = loop.run_until_complete(here())
    target = frames_target if what == 'frames' else http_target(loop, workers)
    try:
        for data in corpus: coverage.run(lambda data=data: target(data, chance))  # type: ignore[misc]
        for _ in rounds(runs, minutes):
            done += 1
            data = change(chance.choice(corpus[-50:] if chance.random() < .5 else corpus), corpus, chance)
            try: new = coverage.run(lambda data=data: target(data, chance))  # type: ignore[misc]
            except BaseException as e: raise AssertionError(f'{what} {data!r}') from e
            if new: corpus.append(data)
    finally:
        loop.run_until_complete(workers.close())
        loop.close()
    return done, len(corpus), len(coverage.seen)


def main() -> None:
    options = argparse.ArgumentParser(prog='python tests/fuzz.py', description=__doc__.splitlines()[0])
    options.add_argument('what', choices=[*SEEDS, 'forms'])
    options.add_argument('--minutes', type=float, default=10)
    options.add_argument('--seed', type=int, default=time.time_ns())
    options.add_argument('--compiled', action='store_true', help='fail where nothing is compiled')
    o = options.parse_args()
    logging.disable(logging.ERROR)
    if WHY and (o.compiled or o.what == 'forms'): sys.exit(engine())
    print(f'{o.what}, --seed {o.seed}, {o.minutes:g} minutes. {engine()}', flush=True)
    if o.what == 'forms': print(f'{fuzz_forms(o.minutes, o.seed)} runs of messages, steps, frames and components')
    else: print('{:,} runs, {} inputs kept, {:,} transitions seen'.format(*fuzz(o.what, INFINITE, o.seed, o.minutes)))


if __name__ == '__main__': main()
