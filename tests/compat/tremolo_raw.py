"""Raw requests to an app in Tremolo's style, under Tremolo and under nbws, and what differs.

    python tests/compat/tremolo_raw.py [--against PYTHON] [--only TEXT] [--show]

`--against` is a Python with Tremolo; ours is the one that runs this. What is compared is what a client would see: of
each answer its status, its header fields and its content, whether the connection goes on, the frames of a socket. What
differs on purpose stands in tremolo.txt, with the name of its row in "Coming from Tremolo".
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from programs import end, started
from sources import NBWS, on_purpose

HERE = Path(__file__).parent
PATIENCE = 20.0 # Seconds for an answer
QUIET = 0.4 # Seconds after which a server that says nothing has said all
LETTERS = b'abcdefghijklmnopqrstuvwxyz' * 4
MTIME = 1_700_000_000
KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
OPEN = ['Upgrade: websocket', 'Connection: Upgrade', KEY, 'Sec-WebSocket-Version: 13']


class Case(NamedTuple):
    name: str
    sent: list[bytes] # One after the other, with what comes read in between where the next one begins with a pause
    heads: int = 0 # How many answers have no body: they are to HEAD


def ask(line: str, *fields: str, body: bytes = b'', length: bool = False, host: str = 'Host: localhost') -> bytes:
    "A request."
    lines = [line, *([host] if host else []), *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body


def get(target: str, *fields: str) -> bytes: return ask(f'GET {target} HTTP/1.1', *fields)
def post(target: str, body: bytes, *fields: str) -> bytes:
    return ask(f'POST {target} HTTP/1.1', *fields, body=body, length=True)
def chunked(*chunks: bytes, end: bytes = b'0\r\n\r\n') -> bytes:
    return b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in chunks) + end
def frame(opcode: int, data: bytes, fin: bool = True, mask: bool = True) -> bytes:
    "A client's frame; its mask is of zeros, which changes nothing."
    n, bit = len(data), 0x80 * mask
    size = bytes([bit | n]) if n < 126 else bytes([bit | 126]) + n.to_bytes(2, 'big')
    return bytes([fin << 7 | opcode]) + size + b'\0' * 4 * mask + data


FORM = 'Content-Type: application/x-www-form-urlencoded'
MULTI = 'Content-Type: multipart/form-data; boundary=edge'
PARTS = (b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
         b'--edge\r\nContent-Disposition: form-data; name="doc"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
         b'in a file\r\n--edge--\r\nafter')
CHUNKED = 'Transfer-Encoding: chunked'
CLOSE = frame(8, b'\x03\xe8')

CASES = [
    # The request line
    Case('text', [get('/text')]),
    Case('a query', [get('/asked?a=1&b=%20x')]),
    Case('an encoded path', [get('/te%78t')]),
    Case('slashes', [get('//text//')]),
    Case('a slash at the end', [get('/text/')]),
    Case('nothing there', [get('/none')]),
    Case('the root', [get('/')]),
    Case('HTTP/1.0', [ask('GET /asked HTTP/1.0')]),
    Case('HTTP/1.0 without a host', [ask('GET /text HTTP/1.0', host='')]),
    Case('HTTP/1.0, kept alive', [ask('GET /text HTTP/1.0', 'Connection: keep-alive')]),
    Case('HEAD', [ask('HEAD /text HTTP/1.1')], heads=1),
    Case('HEAD of a stream', [ask('HEAD /stream HTTP/1.1')], heads=1),
    Case('HEAD of nothing there', [ask('HEAD /none HTTP/1.1')], heads=1),
    Case('OPTIONS', [ask('OPTIONS /asked HTTP/1.1')]),
    Case('DELETE', [ask('DELETE /asked HTTP/1.1')]),
    Case('PATCH with a body', [ask('PATCH /echo HTTP/1.1', body=b'abc', length=True)]),
    Case('an unknown method', [ask('BREW /asked HTTP/1.1')]),
    # Header fields
    Case('fields', [get('/fields', 'X-One: a', 'x-one:  b ', 'Accept: */*')]),
    Case('the host', [ask('GET /host HTTP/1.1', host='Host: example:81')]),
    Case('cookies', [get('/cookies', 'Cookie: a=1; b=x%20y; a=2')]),
    Case('a query of many values', [get('/query?a=1&a=2&b=&c=%C3%A9')]),
    Case('X-Forwarded-For', [get('/asked', 'X-Forwarded-For: 192.0.2.7')]),
    # Bodies
    Case('a body', [post('/echo', b'hello')]),
    Case('an empty body', [post('/echo', b'')]),
    Case('a body in chunks', [ask('POST /echo HTTP/1.1', CHUNKED, body=chunked(b'one ', b'two'))]),
    Case('chunks with extensions and trailers', [ask('POST /echo HTTP/1.1', CHUNKED,
         body=b'3;x=y\r\none\r\n0\r\nX-Last: 1\r\n\r\n')]),
    Case('a body in two packets', [post('/echo', b'helloworld')[:-5], b'world']),
    Case('a body as a stream', [post('/pieces', b'x' * 50_000)]),
    Case('the first bytes of a body', [post('/first', b'abcdefgh'), get('/text')]),
    Case('a body that nobody reads', [post('/text', b'abcdefgh'), get('/text')]),
    Case('a body that is too long', [post('/echo', b'x' * 100_001)]),
    Case('chunks that are too long', [ask('POST /echo HTTP/1.1', CHUNKED, body=chunked(b'x' * 60_000, b'y' * 60_000))]),
    Case('Expect', [ask('POST /echo HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 5'), b'hello']),
    Case('Expect, too long', [ask('POST /echo HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 100001')]),
    # Forms
    Case('a form', [post('/form', b'a=1&a=2&b=x+y&c=', FORM)]),
    Case('a form that is none', [post('/form', b'{}', 'Content-Type: application/json')]),
    Case('parts', [post('/files', PARTS, MULTI)]),
    Case('parts as a form', [post('/upload', PARTS, MULTI)]),
    Case('parts in chunks', [ask('POST /upload HTTP/1.1', CHUNKED, MULTI, body=chunked(PARTS[:70], PARTS[70:]))]),
    Case('parts without a boundary', [post('/files', PARTS, 'Content-Type: multipart/form-data')]),
    # Answers
    Case('bytes', [get('/bytes')]),
    Case('another encoding', [get('/latin')]),
    Case('an empty answer', [get('/empty')]),
    Case('a stream', [get('/stream')]),
    Case('a stream for HTTP/1.0', [ask('GET /stream HTTP/1.0')]),
    Case('a function that is not async', [get('/plain')]),
    Case('status and fields', [get('/made')]),
    Case('204', [get('/nothing')]),
    Case('cookies that are set', [get('/cookie')]),
    Case('written', [get('/written')]),
    Case('ended', [get('/ended')]),
    Case('closed', [get('/closed')]),
    Case('events', [get('/sse')]),
    Case('moved', [get('/moved')]),
    Case('moved by 303', [ask('POST /moved?303 HTTP/1.1')]),
    Case('refused', [get('/wrong?Forbidden')]),
    Case('fields of an exception', [get('/wrong?retry')]),
    Case('an error of the program', [get('/wrong?ValueError')]),
    Case('a task', [get('/later')]),
    Case('what the process keeps', [get('/count')]),
    # Hooks, classes, expressions, parts
    Case('a hook that answers', [get('/early')]),
    Case('a hook that refuses', [get('/refused')]),
    Case('a class', [post('/thing', b'abc')]),
    Case('a method that a class has not', [ask('PUT /thing HTTP/1.1')]),
    Case('an expression', [get('/item/12/ab')]),
    Case('an expression with a query', [get('/find?q=word')]),
    Case('an end of a path', [get('/any/tail')]),
    Case('a part', [get('/part/page')]),
    # Files
    Case('a file', [get('/file')]),
    Case('a range', [get('/file', 'Range: bytes=3-7')]),
    Case('the end of a file', [get('/file', 'Range: bytes=-5')]),
    Case('a range behind the end', [get('/file', 'Range: bytes=500-')]),
    Case('not changed', [get('/file', 'If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT')]),
    Case('a part of a file', [get('/part', 'Range: bytes=2-3')]),
    # Connections
    Case('one after the other', [get('/text'), get('/bytes')]),
    Case('at once', [get('/text') + get('/stream') + post('/echo', b'abc') + get('/latin')]),
    Case('Connection: close', [get('/text', 'Connection: close')]),
    # Sockets
    Case('a socket', [get('/ws', *OPEN), frame(1, b'hello') + frame(2, b'\0\1'), CLOSE]),
    Case('a socket of fragments', [get('/ws', *OPEN), frame(1, b'hel', fin=False) + frame(0, b'lo'),
                                   frame(9, b'there?'), frame(1, b'bye')]),
    Case('a socket that the app closes', [get('/wsclosed', *OPEN)]),
    Case('no socket', [get('/ws')]),
    # What is no request
    Case('no host', [ask('GET /text HTTP/1.1', host='')]),
    Case('two hosts', [get('/text', 'Host: other')]),
    Case('a space before the colon', [get('/text', 'X-One : a')]),
    Case('a folded line', [get('/text', 'X-One: a', ' b')]),
    Case('no method', [b' HTTP/1.1\r\nHost: localhost\r\n\r\n']),
    Case('a target that is none', [get('text')]),
    Case('an absolute target', [get('http://localhost/text')]),
    Case('HTTP/3.0', [ask('GET /text HTTP/3.0')]),
    Case('a length and chunks', [ask('POST /echo HTTP/1.1', 'Content-Length: 5', CHUNKED, body=chunked(b'hello'))]),
    Case('two lengths', [ask('POST /echo HTTP/1.1', 'Content-Length: 1', 'Content-Length: 2', body=b'ab')]),
    Case('a length that is none', [ask('POST /echo HTTP/1.1', 'Content-Length: x')]),
    Case('a chunk without a size', [ask('POST /echo HTTP/1.1', CHUNKED, body=b'-1\r\n')]),
    Case('a chunk that does not end', [ask('POST /echo HTTP/1.1', CHUNKED, body=b'1\r\nab\r\n')]),
    Case('fields that are too long', [get('/text', 'X-One: ' + 'a' * 20_000)]),
    Case('a frame without a mask', [get('/ws', *OPEN), frame(1, b'hello', mask=False)]),
    Case('an unknown opcode', [get('/ws', *OPEN), frame(12, b'')]),
    Case('nothing to continue', [get('/ws', *OPEN), frame(0, b'x')]),
    Case('a message that is too long', [get('/ws', *OPEN), frame(2, b'x' * 10_001)]),
]


class Connection:
    "A client that reads what comes."
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(('127.0.0.1', port), PATIENCE)
        self.buffer, self.ended = b'', False

    def more(self, wait: float) -> bool:
        "Whether something came in time."
        self.sock.settimeout(wait)
        try: data = self.sock.recv(65536)
        except TimeoutError: return False
        except ConnectionError: data = b''
        self.buffer += data
        self.ended = not data
        return bool(data)

    def until(self, size: int) -> bytes:
        "So many bytes, fewer where the server ends."
        while len(self.buffer) < size and self.more(PATIENCE): pass
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def line(self) -> bytes:
        while b'\r\n' not in self.buffer and self.more(PATIENCE): pass
        return self.until(self.buffer.find(b'\r\n') + 2 or len(self.buffer))

    def answer(self, head: bool) -> dict[str, Any] | None:
        "The next answer; None where none comes."
        if not self.buffer and not self.more(PATIENCE): return None
        first = self.line().split(None, 2)
        fields = []
        while (line := self.line().strip()): fields.append(line)
        pairs = [(k.strip().decode().lower(), v.strip().decode('latin-1'))
                 for k, _, v in (f.partition(b':') for f in fields)]
        values = dict(pairs)
        status = int(first[1]) if len(first) > 1 else 0
        if head or status in (204, 304) or status < 200: body = b''
        elif 'chunked' in values.get('transfer-encoding', ''):
            body = b''
            while (size := int(self.line().split(b';')[0] or b'0', 16)): body += self.until(size + 2)[:-2]
            self.line()
        elif 'content-length' in values: body = self.until(int(values['content-length']))
        else:
            while self.more(PATIENCE): pass
            body, self.buffer = self.buffer, b''
        return {'version': first[0].decode(), 'status': status, 'phrase': first[2].strip().decode(),
                'fields': sorted(pairs), 'body': body}

    def frames(self) -> list[str]:
        "The frames that come until it is quiet."
        while self.more(QUIET): pass
        found = []
        while len(self.buffer) >= 2:
            first, n = self.until(2)
            if n == 126: n = int.from_bytes(self.until(2), 'big')
            found.append(f'{first:02x} {self.until(n)!r}')
        return found


def run(case: Case, port: int) -> list[str]:
    "What a case shows, as lines."
    told: list[str] = []
    c = Connection(port)
    try:
        for i, data in enumerate(case.sent):
            try: c.sock.sendall(data)
            except ConnectionError: told.append('the connection has ended'); break
            if told and '101' in told[0]: told += c.frames(); continue
            if case.name == 'a body in two packets' and not i: time.sleep(0.05); continue
            for _ in range(4 if case.name == 'at once' else 1):
                a = c.answer(case.heads > 0)
                if a is None: told.append('no answer'); break
                told += lines_of(a)
        if told and '101' in told[0]: told += c.frames()
        while not c.ended and c.more(QUIET): pass
        told.append('it is closed' if c.ended else 'it goes on')
    finally: c.sock.close()
    return told


# How an answer is framed, what says nothing of the app, and what only nbws adds: see the row "fields".
LEFT_OUT = {'date', 'server', 'connection', 'keep-alive', 'content-length', 'transfer-encoding'}
ADDED = {'x-accel-buffering', 'etag', 'cache-control', 'accept-ranges', 'last-modified', 'content-range',
         'x-content-type-options'}

def lines_of(a: dict[str, Any]) -> Iterator[str]:
    "An answer, for a comparison."
    yield f'{a["version"]} {a["status"]} {a["phrase"]}'
    for name, value in a['fields']:
        if name not in LEFT_OUT: yield f'{name}: {re.sub("expires=[^;]*", "expires=...", value)}'
    yield f'{a["body"]!r}'


def without_more(theirs: list[str], ours: list[str]) -> list[str]:
    "Ours, without fields that nbws adds, and with the connection's end where Tremolo ends it after its answers."
    found = [line for line in ours if line in theirs or line.partition(':')[0] not in ADDED]
    return [*found[:-1], theirs[-1] if found[-1] == 'it goes on' else found[-1]]


@contextmanager
def serving(python: str, module: str, folder: Path) -> Iterator[int]:
    "The app, under one of the two."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = {'PYTHONPATH': str(NBWS) if module != 'tremolo' else '', 'PYTHONUNBUFFERED': '1'}
    command = [python, str(HERE / 'tremolo_app.py'), module, str(port), str(folder)]
    process = started(command, port, folder / f'{module}.log', folder, env)
    try: yield port
    finally: end(process)


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument('--against', default=sys.executable)
    parse.add_argument('--only', default='')
    parse.add_argument('--show', action='store_true', help='what both answer')
    o = parse.parse_args()
    rows = on_purpose('raw')
    folder = Path(tempfile.mkdtemp(prefix='nbws-tremolo-'))
    (folder / 'letters').write_bytes(LETTERS)
    os.utime(folder / 'letters', (MTIME, MTIME))
    alike = meant = longer = 0
    cases = [c for c in CASES if o.only in c.name]
    try:
        with serving(o.against, 'tremolo', folder) as theirs, serving(sys.executable, 'nbws.tremolo', folder) as ours:
            for case in cases:
                a, b = run(case, theirs), run(case, ours)
                longer += a[-1] != b[-1] == 'it goes on'
                b = without_more(a, b)
                if a == b: alike += 1
                elif case.name in rows: meant += 1
                if a == b and not o.show: continue
                print(f'{"alike" if a == b else "on purpose" if case.name in rows else "DIFFERS"}: {case.name}'
                      f'{" | " + rows[case.name] if a != b and case.name in rows else ""}')
                for line in [*(f'  - {x}' for x in a if x not in b), *(f'  + {x}' for x in b if x not in a)]:
                    print(line[:220])
    finally: shutil.rmtree(folder, ignore_errors=True)
    print(f'of {len(cases)} raw requests {alike} are answered alike, {meant} differ on purpose, '
          f'{len(cases) - alike - meant} differ; in {longer} the connection goes on where Tremolo ends it')


if __name__ == '__main__': main()
