"""Where nbws differs from Tremolo on purpose: a test for each row of the table in nbs/coming_from.ipynb."""
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import raw
from live import live
from logs import ExpectLog
from raw import Raw

from compat.rows import Rows
from compat.sources import on_purpose
from nbws.core.errors import NbwsError, OptionError
from nbws.server.limits import Limits
from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest, PayloadTooLarge
from nbws.tremolo.options import NO_EFFECT, settled
from nbws.tremolo.responses import EARLY
from nbws.tremolo.running import place, program_of

row = Rows('test_tremolo_table')


def test_each_row_has_a_test() -> None:
    assert row.named() == list(row.tests)


@pytest.mark.parametrize('kind', ['raw', 'suite'])
def test_what_make_compat_calls_on_purpose_has_a_row(kind: str) -> None:
    listed = on_purpose(kind)
    assert listed
    for how in listed.values(): assert set(how.partition(' | ')[0].split('; ')) <= row.tests.keys(), how


@pytest.fixture
def app() -> Tremolo:
    app = Tremolo()
    @app.route('/echo')
    async def echo(request, websocket=None):
        if websocket:
            async for message in websocket: await websocket.send(message)
        return await request.body()
    return app


def answers(app: Tremolo, *requests: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    "The answers to raw requests on one connection."
    with raw.serving(app) as server, Raw(server) as client:
        found = []
        for request in requests:
            client.send(request)
            found.append(client.response())
        return found


def get(target: str, *fields: str) -> bytes:
    return '\r\n'.join((f'GET {target} HTTP/1.1', 'Host: 127.0.0.1', *fields, '\r\n')).encode()


@row('bytes and text')
def test_bytes_equal_their_text() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(request): return repr((request.method == b'GET', request.method == 'GET'))
    with live(app) as c: assert c.get().text == '(True, True)'


@row('last route')
def test_a_plain_path_goes_before_a_general_one() -> None:
    app = Tremolo()
    @app.route('/a')
    async def plain(**server): return 'first'
    @app.route('/a')
    async def again(**server): return 'plain'
    @app.route('/{name}')
    async def name(**server): return 'name'
    @app.route('^/')
    async def expression(**server): return 'expression'
    with live(app) as c: assert [c.get(p).text for p in ('/a', '/b', '/b/c')] == ['plain', 'name', 'expression']


@row('paths')
def test_a_path_is_percent_decoded() -> None:
    app = Tremolo()
    @app.route('/text')
    async def page(request): return request.path
    assert [(status, body) for status, _, body in answers(app, get('/te%78t'))] == [(200, b'/te%78t')]


@row('names of the host')
def test_on_this_machine_other_names_are_refused() -> None:
    "A page anywhere may give its own name this machine's address, and then read what is served here."
    for hosts, status in (([], 403), (['shop.example'], 200)):
        app = Tremolo(allowed_hosts=hosts)
        @app.route('/')
        async def page(**server): return 'here'
        with live(app) as c: assert c.get(headers={'host': 'shop.example'}).status_code == status


@row('`X-Forwarded-For`, `-Proto`')
def test_where_x_forwarded_for_comes_from() -> None:
    "Only a trusted proxy is believed, and of what it passes on only what it has added."
    app = Tremolo()
    @app.route('/')
    async def page(request): return request.ip + b' ' + request.scheme
    headers = {'x-forwarded-for': '203.0.113.9, 203.0.113.5', 'x-forwarded-proto': 'https'}
    with live(app, forwarded_allow_ips='127.0.0.1') as c: assert c.get(headers=headers).text == '203.0.113.5 https'
    with live(app, forwarded_allow_ips='') as c: assert c.get(headers=headers).text == '127.0.0.1 http'


@row('`listen(8001)` without a host')
def test_who_listens_where() -> None:
    assert place(None, 8000)['host'] == '127.0.0.1'
    assert place('::', 8000)['host'] == '' # All networks, as in Tremolo


@row('sockets')
@pytest.mark.parametrize(('frame', 'code'), [
    (raw.frame(raw.TEXT, 'x', mask=None), 1002), (raw.frame(12, b''), 1002), (raw.frame(raw.CONT, 'x'), 1002),
    (raw.text('a', fin=False) + raw.text('b'), 1002), (raw.frame(raw.BINARY, b'x' * 11), 1009)])
def test_frames_against_the_protocol(app: Tremolo, frame: bytes, code: int) -> None:
    "Each is told why."
    with raw.serving(app, limits=Limits(max_message=10)) as server, Raw(server) as client:
        client.open('/echo')
        client.send(frame)
        opcode, payload = client.frame()[1:]
        assert (opcode, raw.close_code(payload)[0]) == (raw.CLOSE, code)
        assert raw.close_code(payload)[1]


def test_a_foreign_page_opens_no_socket(app: Tremolo) -> None:
    from websockets.exceptions import InvalidStatus
    with live(app) as c, pytest.raises(InvalidStatus) as e: c.ws('/echo', origin='http://evil.example')
    assert e.value.response.status_code == 403


@row('errors of the program')
def test_the_text_of_an_error_of_the_program_is_not_for_visitors(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.route('/broken')
    async def broken(**server): raise KeyError('password in here')
    @app.route('/slow')
    async def slow(**server): raise TimeoutError('a database')
    expect_log('password in here', 1)
    expect_log('a database', 1)
    with live(app) as c:
        for path in ('/broken', '/slow'):
            r = c.get(path)
            assert (r.status_code, r.text) == (500, '500 Internal Server Error')


@row('text of exceptions')
def test_the_text_of_an_exception_becomes_no_markup() -> None:
    "It has the exception's content type; in one of markup it is escaped."
    app = Tremolo()
    @app.route('/said')
    async def said(**server): raise BadRequest('<b>no such shop</b>')
    @app.route('/json')
    async def as_json(**server): raise BadRequest('{"a": "<b>"}', content_type='application/json')
    @app.route('/picture')
    async def picture(**server): raise BadRequest('<script>', content_type='image/svg+xml')
    with live(app) as c:
        r = c.get('/said')
        assert (r.text, r.headers['content-type']) == ('&lt;b&gt;no such shop&lt;/b&gt;', 'text/html; charset=utf-8')
        r = c.get('/json')
        assert (r.text, r.headers['content-type']) == ('{"a": "<b>"}', 'application/json')
        assert c.get('/picture').text == '&lt;script&gt;'
        assert c.get('/none').text == 'Not Found'
        page = c.get('/said', headers={'accept': 'text/html'})
        assert '<h1>400 Bad Request</h1>' in page.text and '<b>' not in page.text


@row('the connection')
def test_the_connection_goes_on(app: Tremolo) -> None:
    @app.on_request
    async def early(request, **server):
        if request.path == b'/early': return b'early'
    @app.route('/raise')
    async def refuse(**server): raise BadRequest('no')
    @app.route('/close')
    async def close(response, **server): response.close()
    post = b'POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n'
    found = answers(app, get('/raise'), get('/early'), get('/none'),
                    post % b'/echo' + b'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
                    post % b'/raise' + b'Content-Length: 3\r\n\r\nabc', get('/close'))
    assert [(status, body) for status, _, body in found] == [
        (400, b'no'), (200, b'early'), (404, b'Not Found'), (200, b'a'), (400, b'no'), (200, b'')]
    assert [f[1].get('connection') for f in found] == [*[None] * 5, 'close']


@row('a hook that answers')
def test_response_hooks_change_what_a_hook_answers() -> None:
    "Fields that are for every answer, such as those of CORS, are in this one, too."
    app = Tremolo()
    @app.on_request
    async def early(**server): return b'early'
    @app.on_response
    async def late(response, **server): response.set_header('X-Late', '1')
    with live(app) as c: assert (c.get().text, c.get().headers['x-late']) == ('early', '1')


@row('a handler that takes too long')
def test_a_handler_that_takes_too_long_is_503(expect_log: ExpectLog) -> None:
    app = Tremolo()
    app.context.options['app_handler_timeout'] = 0.05
    @app.route('/')
    async def page(**server): await asyncio.Event().wait()
    with live(app) as c: assert c.get().status_code == 503


@row('a body, or a form, that is too long')
def test_a_body_that_is_too_long_is_413(app: Tremolo) -> None:
    "In pieces, with a length, and where the client asks first; and a form."
    @app.route('/form')
    async def form(request):
        with pytest.raises(PayloadTooLarge): await request.form(max_size=3)
        return b'refused'
    kind = 'multipart/form-data; boundary=edge'
    part = b'--edge\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nlong\r\n--edge--\r\n'
    with live(app) as c: assert c.post('/form', content=part, headers={'content-type': kind}).text == 'refused'
    with live(app, limits=Limits(max_body=10)) as c:
        for content in (b'x' * 11, iter([b'x' * 11])): assert c.post('/echo', content=content).status_code == 413
        assert c.post('/echo', content=b'x' * 11, headers={'expect': '100-continue'}).status_code == 413


@row('`request.recv()` of a GET without a body')
def test_a_get_without_a_body_has_an_empty_one() -> None:
    "Tremolo waits for one, and answers 408."
    app = Tremolo()
    @app.route('/')
    async def page(request): return repr((await request.recv(100), await request.body(), request.eof()))
    with live(app) as c: assert c.get().text == "(b'', b'', True)"


CHUNKS = b'POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n'

@row('faulty requests')
@pytest.mark.parametrize(('request_', 'status'), [
    (b'GET /echo HTTP/1.1\r\n\r\n', 400), (get('/echo', 'Host: b'), 400), (get('/echo', 'X : a'), 400),
    (get('/echo', 'X: a', ' b'), 400), (b' HTTP/1.1\r\n\r\n', 400), (get('echo'), 400),
    (get('/echo').replace(b'1.1', b'3.0'), 505), (get('/echo', 'X: ' + 'a' * 70_000), 431),
    (get('/echo', 'Content-Length: 1', 'Content-Length: 2'), 400), (get('/echo', 'Content-Length: '), 400),
    (get('/echo', 'Content-Length: 1', 'Transfer-Encoding: chunked'), 400), (get('/echo', 'X: \0'), 400),
    (CHUNKS + b'-1\r\n', 400), (CHUNKS + b'X' * 65, 400), (CHUNKS + b'1\r\nA\rX', 400), (CHUNKS + b'0;\r\n\rX', 400)])
def test_faulty_requests_are_refused(app: Tremolo, request_: bytes, status: int) -> None:
    assert answers(app, request_)[0][0] == status


@row('requests that are right')
def test_what_the_protocol_allows_is_answered(app: Tremolo) -> None:
    @app.route('/form')
    async def form(request): return repr((await request.form(), [*request.params.files]))
    part = (b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
            b'--edge\r\nContent-Disposition: form-data; name="b"; filename="c"\r\n\r\n2\r\n--edge--\r\nafter')
    head = b'POST /form HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=edge\r\n'
    assert [body for _, _, body in answers(
        app, CHUNKS + b'3;x=y\r\none\r\n0\r\nX-Last: 1\r\n\r\n', get('http://127.0.0.1/echo'),
        head + b'Content-Length: %d\r\n\r\n%s' % (len(part), part))] == [b'one', b'', b"({'a': ['1']}, ['b'])"]


@row('ranges')
@pytest.mark.parametrize(('asked', 'status', 'content'), [
    ('bytes=2-999', 206, b'23456789'), ('bytes=-999', 206, b'0123456789'), ('bits=1-2', 200, b'0123456789'),
    ('bytes=1-2, 4-5', 200, b'0123456789'), ('bytes=x', 200, b'0123456789')])
def test_ranges_by_rfc_9110(tmp_path: Path, asked: str, status: int, content: bytes) -> None:
    "Section 14.1.2: a range may end behind the end; 14.2: what is not understood is ignored."
    (tmp_path/'a').write_bytes(b'0123456789')
    app = Tremolo()
    @app.route('/')
    async def page(response): await response.sendfile(tmp_path/'a')
    @app.route('/part')
    async def part(response): await response.sendfile(tmp_path/'a', offset=2, count=5)
    with live(app) as c:
        r = c.get(headers={'range': asked})
        assert (r.status_code, r.content) == (status, content)
        assert c.get('/part', headers={'range': 'bytes=1-9'}).content == b'3456'


@row('a handler returns `None`, or closes the response')
def test_none_is_an_empty_page() -> None:
    "Tremolo closes the connection without an answer."
    app = Tremolo()
    @app.route('/')
    async def page(**server): return None
    @app.route('/closes')
    async def closes(response): response.close()
    with live(app) as c:
        for path in ('/', '/closes'): assert (c.get(path).status_code, c.get(path).content) == (200, b'')


@row('a handler returns `True`')
def test_true_is_an_answer_unless_something_was_written() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(**server): return True
    @app.route('/written')
    async def written(response):
        await response.write(b'written')
        return True
    with live(app) as c:
        assert c.get().text == 'true'
        assert c.get('/written').text == 'written'


@row('`/` without a route')
def test_a_page_that_is_not_there_is_404_at_the_root_too(app: Tremolo) -> None:
    with live(app) as c: assert (c.get('/').status_code, c.get('/none').status_code) == (404, 404)


@row('answers to HTTP/1.0')
def test_answers_have_the_servers_version(app: Tremolo) -> None:
    "RFC 9110, section 6.2: the highest that it has, also to a client of HTTP/1.0."
    with live(app) as c, Raw(c.server) as client:
        client.send(b'GET /none HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n')
        assert client.until(b'\r\n').startswith(b'HTTP/1.1 404 ')


@row('the phrase of a status')
def test_phrases_are_the_standards() -> None:
    "RFC 9112, section 4: clients do not look at it."
    app = Tremolo()
    @app.route('/')
    async def page(response, **server):
        response.set_status(404, 'Lost')
        return b''
    with live(app) as c: assert (c.get().status_code, c.get().reason_phrase) == (404, 'Not Found')


@row('header fields')
def test_header_fields(tmp_path: Path) -> None:
    (tmp_path/'a').write_bytes(b'0123456789')
    app = Tremolo()
    @app.route('/file')
    async def file(response): await response.sendfile(tmp_path/'a')
    @app.route('/stream')
    async def stream(**server): yield b'x'
    with live(app) as c:
        of_file, of_stream = c.get('/file').headers, c.get('/stream').headers
        assert {'etag', 'cache-control', 'last-modified', 'accept-ranges'} <= of_file.keys()
        assert 'x-accel-buffering' in of_stream and 'server' not in {*of_file, *of_stream}


@row('repeated cookies')
def test_cookies_come_as_they_were_sent() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(request): return repr(request.cookies)
    with live(app) as c: assert c.get(headers={'cookie': 'a=1; b=2; a=3'}).text == "{'a': ['1', '3'], 'b': ['2']}"


@row('`Allow` of a 405')
def test_allow_names_all_that_is_answered() -> None:
    app = Tremolo()
    @app.route('/')
    class Page:
        async def get(self, **server): return 'got'
    with live(app) as c:
        r = c.post()
        assert (r.status_code, r.headers['allow']) == (405, 'GET, HEAD, OPTIONS')


@row('options of `run`')
def test_a_misspelt_option_is_an_error() -> None:
    with pytest.raises(OptionError, match='keepalive_timeout'): settled({'keepalive_timeuot': 1})
    assert settled({'mystate': 1})['mystate'] == 1


@row('`lock`')
def test_a_lock_is_for_one_handler_at_a_time() -> None:
    app, inside = Tremolo(), [0, 0]
    @app.route('/')
    async def page(lock, **server):
        async with lock:
            inside[0] += 1
            inside[1] = max(inside)
            await asyncio.sleep(0)
            inside[0] -= 1
        return b''
    async def both() -> None: await asyncio.gather(*(app.http(request()) for _ in range(3)))
    def request() -> Any:
        from nbws.core.request import Request
        return Request('GET', '/')
    with live(app) as c:
        c.wait(both())
        assert inside == [0, 1]


@row('hooks that write')
def test_a_hook_writes_no_more_than_a_mebibyte(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.on_request
    async def early(response, **server):
        for _ in range(3): await response.write(b'x' * (EARLY // 2))
        return True
    expect_log('a hook can write at most', 1)
    with live(app) as c: assert c.get().status_code == 500


@row('`reload`, `worker_num`')
def test_reload_is_for_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    monkeypatch.setattr(sys.modules['__main__'], '__file__', 'program.py', raising=False)
    assert program_of(Tremolo(), [('127.0.0.1', 8000)])[1:] == ['--host', '127.0.0.1', '--port', '8000']
    with pytest.raises(NbwsError, match='need one address'): program_of(Tremolo(), [(None, 8000), (None, 8001)])


@row('insides of the server')
def test_insides_are_those_of_nbws(app: Tremolo) -> None:
    assert '/echo' in [route.path for route in app.routes]
    assert settled(dict.fromkeys(NO_EFFECT, 1)).keys() >= {'limit_memory', 'max_queue_size', 'download_rate'}
    assert not hasattr(app, 'create_sock')
