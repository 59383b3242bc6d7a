"""The same inputs through the two forms of `nbws.core.speedups`: what comes out may not differ.

`test_speedups` runs a few of them, `fuzz` as many as there is time for.
"""
from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from bound import BOUND

from nbws.core.data import Fields, Headers
from nbws.core.encoding import from_json
from nbws.core import speedups as interpreted
from nbws.core.engine import speedups
from nbws.core.html import FT, Div, Safe
from nbws.core.request import Request

CASES = Path(__file__).with_name('core')/'speedups_cases.py'


def agree(compiled: Any, pure: Any, seed: int, *given: Any) -> None:
    if compiled != pure: raise AssertionError(f'seed {seed}: {given}\ncompiled: {compiled}\nPython: {pure}')


def said(cases: int, seed: int, pure: str) -> list[str]:
    "What the cases print."
    run = subprocess.run([sys.executable, str(CASES), str(cases), str(seed)], capture_output=True, timeout=3 * BOUND,
                         env={**os.environ, 'NBWS_PURE': pure, 'PYTHONIOENCODING': 'utf-8:backslashreplace'})
    assert run.returncode == 0, run.stderr.decode()
    return re.sub('0x[0-9a-f]+', '0x', run.stdout.decode()).splitlines() # Addresses of objects


def renderings_agree(seed: int) -> None:
    pure, fast = said(400, seed, '1'), said(400, seed, '')
    assert (pure[0], fast[0], pure[-1]) == ('Python', 'compiled', 'too deep')
    assert len(pure) > 300
    for a, b in zip(pure[1:], fast[1:], strict=True): agree(b, a, seed)


FIRST = [0x81, 0x82, 0x01, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x91, 0x83]
DATA = [b'', b'hi', b'{"msg": "x"}', 'grün'.encode(), b'\xff\xfe', b'x' * 125, b'x' * 126, b'y' * 700, b'z' * 70_000]


def unmask(mask: bytes, data: bytes) -> bytes: return bytes(b ^ mask[i & 3] for i, b in enumerate(data))


def stream(r: random.Random) -> bytes:
    "Frames of a client, most of them right; one byte of some is another."
    sent = b''
    for _ in range(r.randrange(1, 5)):
        payload, mask = r.choice(DATA[:7] if r.random() < 0.9 else DATA), r.randbytes(4)
        made = bytearray(interpreted.encode(0, payload))
        made[0] = r.choice(FIRST if r.random() < 0.4 else FIRST[:2])
        made[1] |= 0x80
        head = len(made) - len(payload)
        sent += bytes(made[:head]) + mask + unmask(mask, payload)
    if r.random() < 0.3:
        at = r.randrange(len(sent))
        sent = sent[:at] + r.randbytes(1) + sent[at + 1:]
    return sent[:r.randrange(len(sent)) + 1] if r.random() < 0.3 else sent


def taken(module: Any, data: bytes, budget: int, limit: int) -> tuple[Any, ...]:
    "What comes out of `take_usual`, and out of `feed`."
    events: list[Any] = []
    try: at: Any = module.take_usual(data, 0, events, budget, limit, unmask)
    except UnicodeDecodeError as e: at = str(e)
    class Reader(module.ShortReader):
        def feed_others(self, data: bytes, budget: int) -> list[Any]: return ['others', data, budget]
    kept: list[bytes] = []
    inflater = SimpleNamespace(whole=lambda data: data[::-1] if len(data) & 3 else None, keep=kept.append)
    reader = Reader(limit, unmask)
    found = [reader.feed(data), reader.feed(data, budget), Reader(3.5, unmask).feed(data), # A limit is any number
             Reader(limit, unmask, inflater).feed(data)]
    reader.idle = False
    return at, events, found, reader.feed(data), kept


def frames_agree(seed: int) -> None:
    r = random.Random(seed)
    for _ in range(3000):
        data, budget, limit = stream(r), r.choice([0, 1, 2, 64]), r.choice([0, 1, 100, 125, 10**6, 2**70])
        agree(taken(speedups, data, budget, limit), taken(interpreted, data, budget, limit), seed, data, budget, limit)


KEYS = ['msg', 'first_name', 'first-name', 'HEADERS', 'headers', 'values', 'é', '']
HEADER = {'HX-Request': 'true', 'HX-Target': None, 'X': 1}


def json_value(r: random.Random, depth: int = 2) -> Any:
    if depth and r.random() < 0.4: return {r.choice(KEYS): json_value(r, depth - 1) for _ in range(r.randrange(4))}
    return r.choice(['hi', '', 'grün', 'x' * 300, '"', '\n', '\ud83d', None, True, 1, -1.5, [], ['a', 1], HEADER, {}])


def message(r: random.Random) -> Any:
    "What a client sends: an object, mostly; one character of some is another."
    thing = {r.choice(KEYS): json_value(r) for _ in range(r.randrange(4))} if r.random() < 0.9 else json_value(r)
    text = json.dumps(thing, ensure_ascii=r.random() < 0.5, separators=r.choice([(',', ':'), (', ', ': ')]))
    if r.random() < 0.2:
        at = r.randrange(len(text))
        text = text[:at] + r.choice('{}[]":, x\\\n') + text[at + 1:]
    if r.random() < 0.05: text = r.choice([' ', '']) + text + r.choice([' ', '{}'])
    if r.random() < 0.02: text = '[' * 150 + ']' * 150
    return text.encode('utf-8', 'replace') if r.random() < 0.05 else text


VALUES = ['"hi"', '""', '"grün"', '"\\u00fc"', '"\\n"', '"\n"', '0', '-0', '7', '-12', '01', '00', '-',
          '1.5', '1e3', '123456789012345', '-999999999999999', '1234567890123456', '1' * 30, 'true', 'false', 'null',
          'nul', 'truely', '{}', '[]', '{"a":{}}', '{"HX-Request": "true", "HX-Target": null}', '{"a":1,"a":"2"}',
          '{"a":1,}', '{,}', '\u0661', '"\u4f60\U0001f600"', '']


def fields(module: Any, seed: int) -> list[Any]:
    "What is read of messages that are plain objects, or nearly."
    r, found = random.Random(seed), []
    for _ in range(2000):
        space, members = r.choice(['', '', ' ', '  ', '\t']), []
        for _ in range(r.choice([0, 1, 1, 2, 5])):
            name = '"' + r.choice(KEYS) + '"'
            members.append(space.join([name, r.choice(':::::::: ='), r.choice(VALUES)]))
        text = '{' + space + r.choice([',', ',', ', ']).join(members) + space + '}'
        if r.random() < 0.2:
            at = r.randrange(len(text) + 1)
            text = r.choice([text[:at], text[:at] + r.choice('{}[]":, x\\\n1') + text[at + 1:], text + ' ', ' ' + text])
        for plain in True, False:
            most, crowd = r.choice([1000, 1000, 5]), r.choice([1, 3])
            made = module.usual_fields(text, json.JSONDecoder().scan_once, most, crowd, 100, plain)
            found.append((text, made, list(made or ())))
    return found


async def echo(**given: Any) -> Any: return given['msg']
async def in_order(msg: Any) -> Any: return msg
async def waiting(**given: Any) -> Any: return await asyncio.sleep(0, given)
async def nothing(**given: Any) -> None: ...
async def failing(**given: Any) -> None: raise ZeroDivisionError(given)
async def component(**given: Any) -> Any: return Div(given['msg'], id='out')
def not_async(**given: Any) -> Any: return given
def awaitable(**given: Any) -> Any: return AwaitedLater(given)
HANDLERS = [in_order, in_order, echo, waiting, nothing, failing, component, not_async, awaitable]


class AwaitedLater:
    def __init__(self, given: Any) -> None: self.given = given


def handled(module: Any, seed: int) -> list[Any]:
    "What is done with some messages."
    r, done = random.Random(seed), []
    class Outbox(module.UsualOutbox):
        def __init__(self) -> None:
            super().__init__()
            self.said = []
        def keep(self, data: Any, overflow: Any) -> None:
            if data == 'é': raise ValueError('cannot be sent')
            self.said.append(data)
            self.lags, self.unsent = len(self.said) % 7 == 0, 100 if len(self.said) % 5 == 0 else 0
    class Runner(module.MessageRunner):
        def in_turn(self, ws: Any, data: Any) -> Any: return 'in turn', self.message(ws, data, False)
        def run_within(self, ws: Any, data: Any) -> Any: return 'within', self.run(ws, data)
        def source_of(self, ws: Any) -> Any: return module.BoundFrom(ws.handshake, {}, {}, ws)
        def parse(self, ws: Any, data: Any) -> Any:
            done.append('parse')
            if isinstance(data, bytes): raise TypeError('binary')
            fields = from_json(data)
            if not isinstance(fields, dict): raise TypeError('no object')
            return fields, {'parsed': True}
        def run_other(self, ws: Any, arguments: Any) -> Any: return 'other', arguments
        def say_other(self, ws: Any, result: Any) -> Any: return 'say', result
        def go_on(self, ws: Any, handling: Any) -> Any: return 'go on', getattr(handling, 'given', None)
        def step_on(self, ws: Any, handling: Any, waits_for: Any) -> Any:
            handling.close()
            return 'step on', waits_for
        def failed(self, ws: Any, error: BaseException) -> None: done.append((type(error), str(error)))
    def missing(s: Any, value: Any) -> Any:
        if value is None: raise KeyError('missing')
        return 'cast', value
    def shape(tag: str) -> Any: return f'<{tag}', f'<{tag}>', f'</{tag}>', None
    def attribute(name: str, value: Any) -> str: return f' {name}={value}'
    renderer = module.Renderer(FT, Safe, {}, {}, shape, attribute, str, lambda child: True, repr)
    for _ in range(60):
        request = Request(target=r.choice(['/', '/?msg=query', '/?first-name=Ann']),
                          headers=r.choice([{}, {'cookie': 'msg=cookie'}, {'msg': 'header'}]))
        request.path_params, request.max_form = r.choice([{}, {}, {'msg': 'path'}]), r.choice([2**20, 2**20, 300])
        app = SimpleNamespace(environment=SimpleNamespace(captures_output=r.random() < 0.2))
        ws, handler = module.UsualSocket(), r.choice(HANDLERS)
        ws.handshake, ws.source, ws.outbox = request, None, Outbox()
        names = r.choice([('msg',), ('msg', 'first_name'), ('msg', 'values', 'é')])
        code, hook = None, r.choice([None, Fields])
        if handler is in_order:
            names = ('msg',)
            code = r.choice([in_order.__code__, echo.__code__]) # The other one: it was replaced in place
        kind = r.choice([str, str, int, None])
        runner = Runner(app, handler, tuple((n, module.Named(n, n, kind, missing)) for n in names),
                        r.choice([None, lambda s: {'msg': 'rest', 'all': dict(s.data), 'header': dict(s.headers)}]),
                        handler is not not_async, r.random() < 0.9, code, json.JSONDecoder(object_hook=hook).scan_once,
                        hook is None, 14, 100, 250, {}, renderer)
        if r.random() < 0.5:
            runner.route = module.UsualRoute()
            runner.route.stats = module.UsualStats()
            runner.route.stats.hits = 0
        for _ in range(20):
            result = runner.message(ws, message(r))
            source = ws.source
            hits, said = runner.route and runner.route.stats.hits, ws.outbox.said[-1:]
            done.append((result, said, hits, source.data, source.headers, source.message, request.path_params))
    return done


def messages_agree(seed: int) -> None:
    for case in handled, fields:
        for a, b in zip(case(speedups, seed), case(interpreted, seed), strict=True): agree(repr(a), repr(b), seed)


LINES = [b'GET / HTTP/1.1', b'GET /a?b=c HTTP/1.1', b'GET /%C3%A9~! HTTP/1.1', b'GET  HTTP/1.1', b'GET * HTTP/1.1',
         b'POST / HTTP/1.1', b'GET / HTTP/1.0', b'GET http://x/ HTTP/1.1', b'GET /a b HTTP/1.1', b'GET /#', b'GET /']
SAME = b'Host: x\r\nAccept: */*\r\n\r\n'


def changed(r: random.Random, data: bytes) -> bytes:
    "One byte of it is another, or it ends early, now and then."
    at = r.randrange(len(data) + 1)
    return data if r.random() < 0.7 else r.choice([data[:at] + r.randbytes(1) + data[at + 1:], data[:at]])


def parsed_again(module: Any, seed: int) -> list[Any]:
    "Which request lines are plain, and what becomes of requests that are like the last one."
    r, done = random.Random(seed), []
    for _ in range(500):
        line = changed(r, r.choice(LINES if r.random() < 0.5 else LINES[:3]))
        p = module.UsualParser()
        p.server = module.UsualServer()
        p.server.limits, p.server.scheme = SimpleNamespace(max_line=r.choice([3, 100])), 'https'
        p.queue, p.line = [], b'' if r.random() < 0.9 else b'G'
        p.last = SAME if r.random() < 0.9 else b'', ((b'host', b'x'),)
        p.kinds, p.peer, p.local = (module.UsualRequest, Headers, module.UsualExchange), ('::1', 1), ('::1', 2)
        p.max_form = 9
        fields = SAME if r.random() < 0.8 else r.choice([changed(r, SAME), SAME + SAME, b''])
        done.append((line, module.is_plain(line), p.again(line + b'\r\n' + fields)))
        for made in p.queue:
            said, request = (made.keep, made.usual, made.complete, made.plain, made.length), made.request
            done.append((said, module.path_of(request), request.headers.raw, request.raw_body, request.path_params, [
                getattr(request, name) for name in ('method', 'target', 'peer', 'server', 'scheme', 'root_path',
                                                    'http_version', 'upgrade', 'max_form', 'app', 'since', 'prefix')]))
    return done


DATES = 'today', 'today', 'today', 'tomorrow'
FORMS = [('x-form', 'usual')], [('x-form', 'usual'), ('x-two', 'b')], [('x-form', 'other')], []


@contextmanager
def knowing(module: Any, lines: dict[int, bytes], fields: dict[tuple[tuple[str, str], ...], bytes]) -> Iterator[None]:
    "A form that knows these first lines and fields of answers: servers of other tests have told one form of theirs."
    with patch.dict(module.STATUS, lines, clear=True), patch.dict(module.FIELDS, fields, clear=True): yield


def sent(module: Any, seed: int) -> list[Any]:
    "What is written for answers, at once and collected."
    r, done = random.Random(seed), []
    class Writer(module.UsualWriter):
        def send_other(self, exchange: Any, response: Any, last: bool) -> None:
            done.append(('other', response.status_code, last))
    transport = SimpleNamespace(is_closing=lambda: False, write=done.append)
    queue = module.UsualQueue()
    queue.due, queue.since = True, 2.0**60 # The turn has an end, and no time goes by
    known = {tuple(FORMS[0]): b'x-form: usual\r\n', tuple(FORMS[1]): b'x-form: usual\r\nx-two: b\r\n'}
    server = module.UsualServer()
    with knowing(module, {299: b'HTTP/1.1 299 Well\r\n'}, known):
        for _ in range(300):
            writer, exchange, response = Writer(), module.UsualExchange(None, r.random() < 0.8), module.UsualResponse()
            writer.out, writer.lost = module.UsualOutput(transport, queue), r.random() < 0.1
            if r.random() < 0.2: server = module.UsualServer() # The next ones find what it has said
            writer.server, server.date, server.stopping = server, r.choice(DATES), r.random() < 0.1
            exchange.usual, exchange.complete = r.random() < 0.9, r.random() < 0.9
            response.status_code, response.headers = 299 if r.random() < 0.8 else r.choice([777, None]), r.choice(FORMS)
            response.body = r.choice([b'', b'hi', b'hi', b'x' * 70_000, 'text', bytearray(b'hi')])
            if r.random() < 0.5: writer.out.collects = True
            for last in r.choices([False, True], [8, 1], k=2): writer.send(exchange, response, last)
            done.append((writer.out.held, len(queue.waiting), writer.out.settle(), writer.out.flush()))
    return done


def pages_agree(seed: int) -> None:
    for case in parsed_again, sent:
        for a, b in zip(case(speedups, seed), case(interpreted, seed), strict=True): agree(repr(a), repr(b), seed)
