"""What Tremolo's programs do with bodies, files and paths, and nbws does as well."""
from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import raw
from live import live
from logs import ExpectLog
from raw import Raw

from nbws.core.request import Request
from nbws.tremolo import Tremolo
from nbws.tremolo.requests import Incoming
from nbws.tremolo.responses import EARLY

HEAD = b'--limit\r\nContent-Disposition: form-data; '
FORM = {'content-type': 'multipart/form-data; boundary=limit'}


def part(name: str, data: bytes, filename: str = '') -> bytes:
    file = f'; filename="{filename}"\r\nContent-Type: text/csv' if filename else ''
    return HEAD + f'name="{name}"{file}\r\n\r\n'.encode() + data + b'\r\n'


def multipart(*parts: bytes) -> bytes: return b''.join(parts) + b'--limit--\r\n'


def test_a_part_is_streamed_in_pieces() -> None:
    app, pieces = Tremolo(), []
    @app.route('/')
    async def upload(request):
        async for p in request.files(max_file_size=1000):
            sizes = []
            async for data in p.stream(): sizes.append((len(data), p['eof']))
            pieces.append((p['name'], p.get('type'), sizes))
        return 'done'
    body = multipart(part('note', b'short'), part('file', b'x' * 2500, 'a.csv'))
    with live(app) as c: assert c.post(content=iter([body[:70], body[70:900], body[900:]]), headers=FORM).text == 'done'
    assert pieces == [('note', None, [(5, True)]),
                      ('file', 'text/csv', [(1000, False), (1000, False), (500, True)])]


def test_each_pass_goes_on_where_the_last_one_stopped() -> None:
    app = Tremolo()
    @app.route('/')
    async def upload(request):
        passes = []
        for n in 1, 2, 9, 9: passes.append([p['name'] async for p in request.files(max_files=n)])
        return repr(passes)
    body = multipart(*(part(name, b'1') for name in 'abcde'))
    with live(app) as c:
        assert c.post(content=body, headers=FORM).text == "[['a'], ['b', 'c'], ['d', 'e'], []]"


def test_the_first_piece_of_a_file_is_there_before_the_last_has_come() -> None:
    "A handler answers with it while the client still sends."
    app = Tremolo()
    @app.route('/')
    async def echo(request):
        async for p in request.files(max_file_size=4): yield p['data'] + b'|'
    first = HEAD + b'name="f"; filename="f"\r\n\r\n' + b'0123456789' * 10
    rest = b'end\r\n--limit--\r\n'
    with live(app) as c, Raw(c.server) as client:
        client.send(f'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM["content-type"]}\r\n'
                    f'Content-Length: {len(first + rest) + 70000}\r\n\r\n'.encode() + first)
        client.until(b'0123|') # Only then the rest
        client.send(b'y' * 70000 + rest)
        client.until(b'end|')


@pytest.mark.parametrize('preamble', [b'For old mail programs.\r\n', b'no line break', b'\r\n', b'--limi\r\n'])
def test_a_preamble_is_ignored(preamble: bytes) -> None:
    "RFC 2046, section 5.1.1. An epilogue, too."
    app = Tremolo()
    @app.route('/')
    async def form(request): return repr(await request.form())
    body = preamble + multipart(part('a', b'1')) + b'epilogue'
    with live(app) as c:
        for content in (body, iter([body[i:i + 1] for i in range(len(body))])):
            assert c.post(content=content, headers=FORM).text == "{'a': ['1']}"


def test_files_and_fields_of_a_form() -> None:
    app = Tremolo()
    @app.route('/')
    async def form(request):
        fields = await request.form()
        again = await request.form()
        return repr((fields, again is fields, [(f['filename'], f['data']) for f in request.params.files.get('f', ())]))
    with live(app) as c:
        r = c.post(data={'a': ['1', '2'], 'e': ''}, files=[('f', ('x', b'1')), ('f', ('y', b'2'))])
        assert r.text == "({'a': ['1', '2'], 'e': ['']}, True, [('x', b'1'), ('y', b'2')])"
        assert c.post(data={'a': ['1', ''], 'empty': ''}).text == "({'a': ['1']}, True, [])"


@pytest.mark.parametrize(('body', 'said'), [
    (part('a', b'1'), 'incomplete read'), (b'nothing like it', 'incomplete read'),
    (multipart(b'--limit\r\nX: y\r\n\r\n1\r\n'), 'no name'), (part('a', b'1') + b'--limit??', 'multipart')])
def test_a_form_that_cannot_be_read_is_400(body: bytes, said: str) -> None:
    app = Tremolo()
    @app.route('/')
    async def form(request): return repr(await request.form())
    with live(app) as c:
        r = c.post(content=body, headers=FORM)
        assert (r.status_code, said in r.text) == (400, True)


def test_too_much_of_a_form_is_413() -> None:
    app = Tremolo()
    @app.route('/')
    async def form(request): return repr(await request.form(3, max_size=10))
    with live(app) as c:
        assert c.post(content=multipart(part('a', b'x' * 11, 'f')), headers=FORM).status_code == 413
        assert c.post(content=multipart(part('a', b'x' * 6), part('b', b'x' * 6)), headers=FORM).status_code == 413
        assert c.post(content=multipart(*[part('a', b'')] * 4), headers=FORM).status_code == 413
        assert c.post(content=multipart(*[part('a', b'')] * 3), headers=FORM).status_code == 200


def test_cookies_come_in_the_order_in_which_they_were_sent() -> None:
    request = Incoming(Request(headers=[('cookie', 'id=1; other=x; id=2'), ('cookie', 'id=3')]))
    assert request.cookies == {'id': ['1', '2', '3'], 'other': ['x']}


# Files

@pytest.fixture
def file(tmp_path: Path) -> Path:
    (path := tmp_path/'a.bin').write_bytes(b'0123456789')
    return path


CASES: dict[str, tuple[dict[str, str], int, bytes]] = {
    '': ({}, 200, b'23456'), 'range': ({'range': 'bytes=1-2'}, 206, b'34'),
    'one byte': ({'range': 'bytes=0-0'}, 206, b'2'),
    'from the end': ({'range': 'bytes=-2'}, 206, b'56'),
    'beyond': ({'range': 'bytes=5-'}, 416, b'Range Not Satisfiable'),
    'another version': ({'range': 'bytes=1-2', 'if-range': '"old"'}, 200, b'23456')}


@pytest.mark.parametrize('case', CASES)
def test_a_part_of_a_file(file: Path, case: str) -> None:
    headers, status, content = CASES[case]
    app = Tremolo()
    @app.route('/')
    async def download(response): await response.sendfile(file, 2, 5, content_type='text/x')
    with live(app) as c:
        r = c.get(headers=headers)
        assert (r.status_code, r.content) == (status, content)
        assert status == 416 or r.headers['content-type'] == 'text/x'
        whole = c.get()
        assert (whole.headers['accept-ranges'], whole.headers['content-length']) == ('bytes', '5')
        for field, value in (('if-none-match', 'etag'), ('if-modified-since', 'last-modified')):
            assert c.get(headers={field: whole.headers[value]}).status_code == 304
        if status == 206: assert r.headers['content-range'].endswith('/5')


def test_more_than_a_file_has_is_all_of_it(file: Path) -> None:
    app = Tremolo()
    @app.route('/')
    async def download(response): await response.sendfile(file, count=1000)
    with live(app) as c:
        assert c.get().content == b'0123456789'
        assert c.get(headers={'range': 'bytes=8-'}).content == b'89'


def test_a_range_that_a_file_does_not_have_is_an_error_with_a_page(file: Path) -> None:
    app = Tremolo()
    @app.route('/')
    async def download(response): await response.sendfile(file)
    with live(app) as c:
        r = c.get(headers={'range': 'bytes=99-'})
        assert (r.status_code, r.text, r.headers['content-range']) == (416, 'Range Not Satisfiable', 'bytes */10')
        @app.error(416)
        async def beyond(exc, **server): return f'beyond: {exc.code}'
        assert c.get(headers={'range': 'bytes=99-'}).text == 'beyond: 416'


def test_a_file_that_is_not_there() -> None:
    app = Tremolo()
    @app.route('/raises')
    async def raises(response): await response.sendfile('/no/such/file')
    @app.route('/catches')
    async def catches(response):
        try: await response.sendfile('/no/such/file')
        except FileNotFoundError: return 'caught'
    with live(app) as c:
        assert c.get('/raises').status_code == 404
        assert c.get('/catches').text == 'caught'


# Hooks that answer

def test_a_hook_sends_a_file_and_returns_true(file: Path) -> None:
    app, reached = Tremolo(), []
    @app.on_request
    async def static(request, response, **server):
        if request.path == b'/file':
            response.set_header('X-Hook', '1')
            await response.sendfile(str(file), content_type='text/plain')
            return True
    @app.route('/file')
    async def page(**server): reached.append(1)
    with live(app) as c:
        r = c.get('/file')
        assert (r.content, r.headers['content-type'], r.headers['x-hook']) == (b'0123456789', 'text/plain', '1')
        assert c.get('/file', headers={'range': 'bytes=1-2'}).content == b'12'
    assert not reached


def test_a_hook_writes_its_answer(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.on_request
    async def early(request, response, **server):
        if request.path == b'/long':
            for _ in range(3): await response.write(b'x' * (EARLY // 2))
        for n in range(3): await response.write(b'%d' % n)
        response.close()
        return True
    expect_log('a hook can write at most', 1)
    with live(app) as c:
        assert c.get().content == b'012'
        assert c.get('/long').status_code == 500


def test_an_early_answer_stays_where_a_later_hook_fails(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.on_request
    async def early(response, status=(405, 'No'), **server): return 'not here'
    @app.on_response
    async def late(response, **server): response.set_header('X-A', response.headers[b'x-b'][0])
    expect_log('KeyError', 1)
    with live(app) as c:
        r = c.get()
        assert (r.status_code, r.text) == (405, 'not here')


# Paths and methods

def test_a_regular_expression_sees_the_query() -> None:
    app = Tremolo()
    @app.route(r'^/list')
    async def list_(**server): return 'all'
    @app.route(r'^/list\?page=(?P<page>\d+)')
    async def page(page, request): return b'page %s %r' % (page, request.params.path)
    @app.route(r'/end$')
    async def end(request): return request.query_string
    @app.route(r'^/name/(?P<name>[^/?]+)')
    async def name(name): return name
    with live(app) as c:
        assert [c.get(p).text for p in ('/list', '/list?page=x', '/list?page=12')] == [
            'all', 'all', "page 12 {'page': b'12'}"]
        assert [c.get(p).text for p in ('/a/end', '/a/end?x=1')] == ['', 'x=1']
        assert c.get('/a/end/b').status_code == 404
        assert [c.get(p).text for p in ('/name/J%C3%B3', '/name/a%2Fb?c')] == ['J%C3%B3', 'a%2Fb']


def test_unknown_methods_reach_the_app() -> None:
    app = Tremolo()
    @app.on_request
    async def known(request, response, **server):
        if request.method == 'PURGE': return b'hook: %s' % request.method
    @app.route('/')
    async def page(request): return b'page: %s %s' % (request.method, await request.body())
    @app.route('/class')
    class View:
        async def get(self): return 'got'
    with live(app) as c:
        assert c.http.request('PURGE', '/').text == 'hook: PURGE'
        assert c.http.request('BREW', '/', content=b'tea').text == 'page: BREW tea'
        r = c.http.request('BREW', '/class')
        assert (r.status_code, r.text, 'GET' in r.headers['allow']) == (405, 'Method Not Allowed', True)


def test_a_socket_has_its_request_in_bytes() -> None:
    app = Tremolo()
    @app.route('/ws')
    async def both(websocket=None, **server):
        request = websocket.request
        assert request.query_string == b'a=1' == request.query_string
        assert isinstance(request.path, bytes)
        websocket.response.set_header('X-A', 'b')
        async for message in websocket: await websocket.send(request.path + b' ' + message.encode())
    with live(app) as c:
        ws = c.ws('/ws?a=1')
        ws.send('hi')
        assert ws.recv(raw.BOUND) == b'/ws hi'
        assert ws.response.headers['x-a'] == 'b'


def test_tasks_of_a_connection_end_with_it() -> None:
    app, ended = Tremolo(), threading.Event()
    async def endless() -> None:
        try: await asyncio.Event().wait()
        finally: ended.set()
    @app.route('/')
    async def page(request, **server):
        task = request.protocol.create_task(endless())
        await asyncio.sleep(0) # It begins
        assert request.server.options is app.context.options
        assert task in request.protocol.context.tasks
        return 'started'
    with live(app) as c:
        assert c.get().text == 'started'
        assert not ended.is_set()
        c.http.close()
        assert ended.wait(raw.BOUND)


def test_a_request_without_a_form_has_no_parts_to_ask_for() -> None:
    "400, as there; a body that was read before has no parts left."
    app = Tremolo()
    @app.route('/')
    async def page(request):
        if request.query_string == b'read': assert await request.body() == await request.body() == b'x'
        return repr(([part['name'] async for part in request.files()], request.eof(), await request.read()))
    with live(app) as c:
        assert (c.get().status_code, c.get().text) == (400, 'missing boundary')
        for path, content in (('/?read', b'x'), ('/', b'')):
            assert c.post(path, content=content).text == "([], True, b'')"
