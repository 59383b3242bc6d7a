"""What a visitor sends to hurt: each refusal costs little, says 4xx or keeps the socket, and shows no traceback."""
from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from bound import BOUND
from logs import ExpectLog
from raw import serving

from nbws import App
from nbws.server.limits import Limits
from nbws.core.data import MAX_FIELDS, MAX_FILES, MAX_FORM, FormError, FormTooLong, UploadFile, parse_form, parse_query
from nbws.adapters.detect import ASGIApp
from nbws.core.html import Div
from nbws.server.listener import Server
from nbws.testing import Client, multipart
from nbws.tremolo import Tremolo
from nbws.sockets.workers import Workers

FORM = 'application/x-www-form-urlencoded'
DIGITS = '1' * 5000  # more than Python makes an int of
DEEP = '[' * 100_000
NOT_JSON = DEEP, '{"n":' * 20_000, '{"n":' + DIGITS + '}', '{"n":[' + DIGITS + ']}', '{"n":'


@dataclass
class Record:
    n: float
    price: Decimal = Decimal(0)
    id: UUID | None = None


def make() -> App:
    app = App()

    @app.get('/int/{n:int}')
    def an_int(n: int) -> str: return str(n)

    @app.get('/float/{n:float}')
    def a_float(n: float) -> str: return str(n)

    @app.get('/{kind}/annotated/{n}')
    def annotated(kind: str, n: int) -> str: return str(n)

    for kind in float, int, Decimal, UUID, date, datetime, Path, str, list[int], dict:
        def handler(n: Any) -> str: return 'taken'
        handler.__annotations__['n'] = kind
        app.post(f'/{getattr(kind, "__name__", "list")}')(handler)

    @app.post('/record')
    def record(record: Record) -> str: return 'taken'

    @app.post('/data')
    async def data(data: dict) -> str: return str(len(data))

    @app.ws('/push')
    async def push(n: float, record: Record) -> str: return f'{n:g}'

    @app.ws('/pull')
    async def pull(websocket: Any, n: int = 0) -> None:
        await websocket.accept()
        while True:
            try: await websocket.send(str((await websocket.receive_json())['n']))
            except ValueError: await websocket.send('refused')
    return app


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    "Run an async test on a loop of its own."
    @wraps(test)
    def run(**arguments: Any) -> None:
        async def main() -> None:
            try: await test(**arguments)
            finally: await Workers.here().close()
        asyncio.run(main())
    return run


def chunked(body: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size): yield body[at:at + size]
    return chunks()


# ---------------------------------------------------------------- values

LONG = '/int/' + DIGITS, '/float/' + DIGITS, '/float/' + '9' * 400, '/x/annotated/' + DIGITS


@pytest.mark.parametrize('path', LONG)
def test_long_digits_in_a_path(expect_log: ExpectLog, path: str) -> None:
    if 'annotated' in path: expect_log('cannot be read as int')
    with Client(make()) as c:
        assert c.get(path).status == 404
        assert c.get('/int/12').text == '12'
        assert c.get('/float/1.5').text == '1.5'


KINDS = 'float', 'int', 'Decimal', 'UUID', 'date', 'datetime', 'Path', 'str', 'list', 'dict', 'record', 'data'


@pytest.mark.parametrize('kind', KINDS)
def test_json_that_is_none(kind: str) -> None:
    with Client(make()) as c:
        for text in NOT_JSON:
            reply = c.post(f'/{kind}', content=text.encode(), headers={'content-type': 'application/json'})
            assert reply.status == 400, text[:20]
            assert 'Traceback' not in reply.text


@pytest.mark.parametrize('kind', KINDS)
def test_values_of_the_wrong_kind(expect_log: ExpectLog, kind: str) -> None:
    "Whatever the type raises for them: OverflowError, InvalidOperation, AttributeError, RecursionError."
    if kind not in ('dict', 'data'): expect_log('WARNING nbws: ')
    deep = '[' * 900 + ']' * 900  # Python's reader takes it; a `repr` of it may go too deep
    with Client(make(), timeout=BOUND) as c:
        for n in ('1' * 400, '1e400', 'NaN', '"x"', '""', '5', '[[]]', '{}', '{"a":1}', deep, '"\\u0000"', 'null',
                  'true', '[1,"x"]'):
            for text in f'{{"n":{n}}}', f'{{"n":1,"price":{n}}}', f'{{"n":1,"id":{n}}}':
                reply = c.post(f'/{kind}', content=text.encode(), headers={'content-type': 'application/json'})
                assert reply.status in (200, 400), (text[:40], reply.text[-300:])
        for text in '1' * 5000, 'x', '', '\0', '9' * 400:
            assert c.post(f'/{kind}', data={'n': text}).status in (200, 400), text[:40]
        assert c.post('/float', json={'n': 1}).status == 200


def test_a_socket_stays_open(expect_log: ExpectLog) -> None:
    expect_log('/push .push.: ')
    bad = [*NOT_JSON, '{"n":' + '1' * 400 + '}', '{"n":1,"price":"x"}', '{"n":1,"id":5}',
           '{"n":' + '[' * 900 + ']' * 900 + '}', '{"n":1,"x":"' + 'x' * MAX_FORM + '"}', '[]', 'x']
    with Client(make()) as c, c.ws('/push') as ws:
        for text in bad: ws.send(text)
        ws.send('{"n":2}')
        assert ws.receive() == '2'
        assert not ws.code


def test_a_handler_that_pulls_gets_a_value_error(expect_log: ExpectLog) -> None:
    expect_log("n='x' cannot be read as int", times=1)
    with Client(make()) as c:
        with c.ws('/pull') as ws:
            for text in NOT_JSON:
                ws.send(text)
                assert ws.receive() == 'refused'
            ws.send('{"n":2}')
            assert ws.receive() == '2'
        assert c.request('GET', '/pull').status == 426
        with pytest.raises(Exception, match='400') as refused: c.ws('/pull?n=x')
        assert 'Traceback' not in str(refused.value)


def test_names_of_files(tmp_path: Path) -> None:
    (tmp_path/'a.txt').write_text('hello')
    app = App()
    app.static('/s', tmp_path)
    with Client(app) as c:
        for name in 'a' * 300, 'a' * 5000, 'a/' * 2000 + 'b', 'a.txt/b', '%00', '%ff':
            assert c.get(f'/s/{name}').status == 404, name[:20]
        for value in 'bytes=' + DIGITS + '-', 'bytes=-' + DIGITS, 'bytes=0-' + DIGITS, 'bytes=x-':
            assert c.get('/s/a.txt', headers={'range': value}).status in (200, 206, 416), value[:20]
        for value in 'Wed, 21 Oct 99999 07:28:00 GMT', f'Wed, 21 Oct {DIGITS} 07:28:00 GMT', 'x':
            assert c.get('/s/a.txt', headers={'if-modified-since': value}).status in (200, 304)


# ---------------------------------------------------------------- forms

def test_a_query_is_read_as_bytes() -> None:
    assert parse_query('n=%C3%A9+%26&é=é&x').multi_items() == [('n', 'é &'), ('é', 'é'), ('x', '')]
    assert parse_query('a=%FF%zz') == {'a': '\ufffd%zz'}


async def pieces(n: int, pulled: list[int]) -> AsyncIterator[bytes]:
    for _ in range(n):
        pulled.append(1)
        yield b'a=1&' * 100


@on_a_loop
async def test_fields_are_counted_as_they_come() -> None:
    "Not after the whole body was read and parsed."
    for wrong, expected in ((FORM, FormError), (FORM + '; charset=utf-8', FormError)):
        pulled: list[int] = []
        with pytest.raises(expected, match='1000 fields'): await parse_form(wrong, pieces(10_000, pulled))
        assert len(pulled) <= 11


@on_a_loop
async def test_parts_are_counted_as_they_come() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    pulled: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            pulled.append(1)
            yield part * 10
    with pytest.raises(FormError, match='1000 fields'): await parse_form('multipart/form-data; boundary=b', body())
    assert len(pulled) <= 102


def upload(**files: bytes) -> tuple[bytes, str]: return multipart({}, {k: (k, v) for k, v in files.items()})


@on_a_loop
async def test_text_is_bounded_and_files_are_not() -> None:
    assert (await parse_form(FORM, chunked(b'a=' + b'x' * (MAX_FORM - 2))))['a'][-1] == 'x'
    with pytest.raises(FormTooLong): await parse_form(FORM, chunked(b'a=' + b'x' * MAX_FORM))
    body, kind = multipart({'a': 'x' * MAX_FORM}, {})
    with pytest.raises(FormTooLong): await parse_form(kind, chunked(body))
    body, kind = multipart({}, {f'f{i}': ('x' * 900, b'') for i in range(90)})
    with pytest.raises(FormTooLong): await parse_form(kind, chunked(body), max_size=2**16)
    body, kind = upload(**{f'f{i}': b'x' * 400_000 for i in range(20)})
    form = await parse_form(kind, chunked(body))
    files = [f for f in form.values() if isinstance(f, UploadFile)]
    try:
        assert [f.size for f in files] == [400_000] * 20
        assert [f.file._rolled for f in files] == [False] * 2 + [True] * 18  # type: ignore[attr-defined]
        assert {f.file.read() for f in files} == {b'x' * 400_000}
    finally:
        for f in files: f.file.close()


@on_a_loop
async def test_files_are_counted() -> None:
    for n, refused in (MAX_FILES, False), (MAX_FILES + 1, True):
        body, kind = upload(**{f'f{i}': b'' for i in range(n)})
        if refused:
            with pytest.raises(FormError, match=f'{MAX_FILES} files'): await parse_form(kind, chunked(body))
        else: assert len(await parse_form(kind, chunked(body))) == n


@pytest.mark.parametrize('body', [b'a=' + b'%C3%A9' * (MAX_FORM // 6 - 1),
                                  b'&'.join([b'n%61me=' + b'%zz' * 340] * 999)])
@on_a_loop
async def test_what_is_long_is_parsed_in_steps(body: bytes) -> None:
    "Others on the loop have their turn meanwhile."
    turns = 0
    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1
    task = asyncio.ensure_future(other())
    form = await parse_form(FORM, chunked(body, len(body)))
    task.cancel()
    assert form == parse_query(body)
    assert turns >= len(body) / 2**15 - 1


@pytest.mark.timed
def test_a_long_form_costs_as_much_as_its_bytes() -> None:
    "CPU time of twice the bytes is about twice, not four times as much."
    def cost(body: bytes) -> float:
        begun = time.process_time()
        asyncio.run(parse_form(FORM, chunked(body), max_size=2**30))
        return time.process_time() - begun
    costs = [min(cost(b'a=' + b'%41' * n) for _ in range(3)) for n in (100_000, 400_000)]
    assert costs[1] < 10 * costs[0]


# ---------------------------------------------------------------- through the transports

def post(url: str, body: bytes, kind: str) -> tuple[int, str]:
    "Status and text of the answer."
    reply = httpx.post(url, content=body, headers={'content-type': kind}, timeout=BOUND)
    return reply.status_code, reply.text


MANY = b'&'.join(b'a%d=1' % i for i in range(MAX_FIELDS + 1))
TOO_MUCH = [(MANY, FORM, 400), (b'a=' + b'x' * MAX_FORM, FORM, 413),
            (json.dumps({'a': 'x' * MAX_FORM}).encode(), 'application/json', 413),
            (b'[' * 100_000, 'application/json', 400), (b'{"a":' + DIGITS.encode() + b'}', 'application/json', 400)]


@pytest.mark.parametrize('kind', ['own', 'asgi', 'tremolo'])
def test_everywhere(expect_log: ExpectLog, kind: str) -> None:
    expect_log('Limits.max_form', times=1 if kind == 'tremolo' else 2)
    app: Any = make()
    if kind == 'asgi': app = ASGIApp(app.__call__)
    if kind == 'tremolo':
        app = Tremolo()
        @app.route('/data')
        async def data(request: Any) -> str: return str(len(await request.form(1000, max_size=MAX_FORM)))
    with serving(app) as server:
        for body, of, status in TOO_MUCH:
            if kind == 'tremolo' and of != FORM: continue
            got, text = post(f'{server.url}/data', body, of)
            assert got == status, text
            assert 'Traceback' not in text
        assert post(f'{server.url}/data', b'a=1&b=2', FORM)[1] == '2'


def test_in_the_test_client(expect_log: ExpectLog) -> None:
    expect_log('Limits.max_form', times=2)
    with Client(make()) as c:
        for body, of, status in TOO_MUCH:
            assert c.post('/data', content=body, headers={'content-type': of}).status == status


def test_the_limit_can_be_set() -> None:
    app = make()
    @app.post('/own')
    async def own(request: Any) -> str: return str(len(await request.json(max_size=3 * MAX_FORM)))
    long = json.dumps({'a': 'x' * (2 * MAX_FORM)}).encode()
    with Server(app, limits=Limits(max_form=3 * MAX_FORM)) as server:
        assert post(f'{server.url}/data', long, 'application/json') == (200, '1')
    with Server(app) as server: assert post(f'{server.url}/own', long, 'application/json') == (200, '1')


# ---------------------------------------------------------------- JSON that Python reads and nobody can render

def nested(depth: int) -> list[str]:
    "JSON of lists and objects that lie in each other."
    half, odd = divmod(depth - 1, 2)
    return ['{"x":' + '[' * (depth - 1) + ']' * (depth - 1) + '}', '{"x":' * depth + '1' + '}' * depth,
            '{"x":' + '[' * odd + '[{"[":' * half + '1' + '}]' * half + ']' * odd + '}']


def test_depth_is_bounded_where_json_enters() -> None:
    from nbws.core.encoding import DEPTH, from_json
    for text in nested(DEPTH): from_json(text)
    from_json('[' + '{},' * 1000 + '"' + '[' * 1000 + '"]')
    for depth in DEPTH + 1, DEPTH + 2, 300, 900, 5000:
        for text in nested(depth):
            with pytest.raises(ValueError, match='nested too deeply'): from_json(text + ' ' * 5)


# ---------------------------------------------------------------- JSON that is short, and takes much memory

def crowds() -> list[str]:
    "Texts of 1 MiB that became 20 MiB and more."
    def fill(item: str) -> str: return ','.join([item] * ((MAX_FORM - 20) // (len(item) + 1)))
    names = ','.join(f'"{i:05x}":1' for i in range(MAX_FORM // 10 - 20))
    return [f'[{fill("{}")}]', f'[{fill("[]")}]', '[' + fill('{"a":1}') + ']', f'{{{names}}}',
            '[' + ','.join(f'{{"{i:05x}":1}}' for i in range(MAX_FORM // 12)) + ']', f'[{fill("[1.5,2.5]")}]']


@pytest.mark.parametrize('text', crowds(), ids=lambda text: text[:12])
def test_what_json_becomes_is_bounded(text: str) -> None:
    "What is not refused takes 16 MiB at the most, at its highest."
    import tracemalloc
    from nbws.core.encoding import JSONTooLong, from_json, too_long
    from nbws.web.socket_endpoint import parse_message
    assert len(text) <= MAX_FORM
    assert too_long(text, MAX_FORM)
    with pytest.raises(JSONTooLong, match='lists or names'): from_json(text)
    with pytest.raises(ValueError, match='max_form='): parse_message(f'{{"data":{text}}}')
    assert from_json(text, 14 * MAX_FORM)
    opening, ending, items = text[0], text[-1], re.split(r',(?=[\[{"])', text[1:-1])
    while too_long(text, MAX_FORM):
        items = items[:len(items) * 9 // 10]
        text = opening + ','.join(items) + ending
    body = text.encode()
    tracemalloc.start()
    try:
        value = from_json(body)
        _, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert value
    assert peak < 15 * 2**20 # And the body


def test_texts_are_counted_as_one_whatever_they_contain() -> None:
    from nbws.core.encoding import from_json, too_long
    for text in '{[:' * 300_000, '\\' * 100_000 + '{[:' * 100_000, '"' + '{' * 200_000, '\\"{' * 100_000:
        assert from_json(json.dumps([text])) == [text]
    for text in '["' + '{' * 10**6, '["' + '{' * 10**6 + '\\', '"' * 10**6, '{' * 10**6 + '"', '\\' * 10**6:
        too_long(text, MAX_FORM) # It takes a time that grows with the length only
        with pytest.raises(ValueError): from_json(text)


@pytest.mark.parametrize('kind', ['own', 'asgi'])
def test_a_crowd_is_refused_wherever_json_enters(expect_log: ExpectLog, kind: str) -> None:
    expect_log('Limits.max_form')
    app: Any = make()
    with serving(ASGIApp(app.__call__) if kind == 'asgi' else app) as server:
        for text in crowds()[:3]:
            got, said = post(f'{server.url}/data', text.encode(), 'application/json')
            assert (got, 'lists or names' in said) == (413, True)
        assert post(f'{server.url}/data', b'{"a":1}', 'application/json')[1] == '1'
    with Client(make()) as c:
        for path in '/push', '/pull':
            with c.ws(path) as ws:
                for text in crowds()[0], f'{{"data":{crowds()[1]}}}', json.dumps({'n': 1, 'x': 'x' * MAX_FORM}):
                    ws.send(text)
                    if path == '/pull': assert ws.receive() == 'refused'
                ws.send('{"n":3}')
                assert ws.receive() == '3'


@pytest.mark.parametrize('depth', [150, 300, 600, 900, 980])
def test_what_is_nested_is_refused_before_anybody_renders_it(expect_log: ExpectLog, depth: int) -> None:
    expect_log('nested too deeply')
    app = App()

    @app.post('/any')
    def any_(x: Any) -> Any: return Div(x)

    @app.post('/data')
    def data(data: Any) -> Any: return data

    @app.ws('/push')
    async def push(x: Any) -> Any: return Div(x)

    @app.ws('/pull')
    async def pull(websocket: Any) -> None:
        await websocket.accept()
        while True: await websocket.send_json(await websocket.receive_json())

    with Client(app) as c:
        for text in nested(depth):
            for path in '/any', '/data':
                assert c.post(path, content=text.encode(), headers={'content-type': 'application/json'}).status == 400
            with c.ws('/push') as ws:
                ws.send(text)
                ws.send('{"x": "next"}')
                assert ws.receive() == '<div>next</div>'
            with c.ws('/pull') as ws:
                ws.send(text)
                with pytest.raises(Exception, match='1007'): ws.receive()
