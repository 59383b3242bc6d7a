"""Each row of "Coming from Tremolo": what is otherwise here, on purpose."""
from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import raw
from live import live
from logs import ExpectLog
from raw import Raw

from nbws.server.limits import Limits
from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest
from nbws.tremolo.running import place


@pytest.fixture
def app() -> Tremolo:
    app = Tremolo()
    @app.route('/echo')
    async def echo(request, websocket=None):
        if websocket:
            async for message in websocket: await websocket.send(message)
        return await request.body()
    return app


def test_where_x_forwarded_for_comes_from() -> None:
    "Only a trusted proxy is believed, and of what it passes on only what it has added."
    app = Tremolo()
    @app.route('/')
    async def page(request): return request.ip + b' ' + request.scheme
    headers = {'x-forwarded-for': '203.0.113.9, 203.0.113.5', 'x-forwarded-proto': 'https'}
    with live(app, forwarded_allow_ips='127.0.0.1') as c: assert c.get(headers=headers).text == '203.0.113.5 https'
    with live(app, forwarded_allow_ips='') as c: assert c.get(headers=headers).text == '127.0.0.1 http'


@pytest.mark.parametrize(('frame', 'code'), [
    (raw.frame(raw.TEXT, 'x', mask=None), 1002), (raw.frame(12, b''), 1002), (raw.frame(raw.CONT, 'x'), 1002)])
def test_frames_against_the_protocol(app: Tremolo, frame: bytes, code: int) -> None:
    with raw.serving(app) as server, Raw(server) as client:
        client.open('/echo')
        client.send(frame)
        opcode, payload = client.frame()[1:]
        assert (opcode, raw.close_code(payload)[0]) == (raw.CLOSE, code)


def test_a_body_that_is_too_long_is_413(app: Tremolo) -> None:
    "In pieces, with a length, and where the client asks first."
    with live(app, limits=Limits(max_body=10)) as c:
        for content in (b'x' * 11, iter([b'x' * 11])): assert c.post('/echo', content=content).status_code == 413
        assert c.post('/echo', content=b'x' * 11, headers={'expect': '100-continue'}).status_code == 413


def test_a_get_without_a_body_has_an_empty_one() -> None:
    "Tremolo waits for one, and answers 408."
    app = Tremolo()
    @app.route('/')
    async def page(request): return repr((await request.recv(100), await request.body(), request.eof()))
    with live(app) as c: assert c.get().text == "(b'', b'', True)"


def test_a_handler_that_takes_too_long_is_503(expect_log: ExpectLog) -> None:
    app = Tremolo()
    app.context.options['app_handler_timeout'] = 0.05
    @app.route('/')
    async def page(**server): await asyncio.Event().wait()
    with live(app) as c: assert c.get().status_code == 503


def test_the_text_of_an_error_of_the_program_is_not_for_visitors(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.route('/broken')
    async def broken(**server): raise KeyError('password in here')
    @app.route('/said')
    async def said(**server): raise BadRequest('<b>no such shop</b>')
    expect_log('password in here', 1)
    with live(app) as c:
        r = c.get('/broken')
        assert (r.status_code, 'password' in r.text) == (500, False)
        r = c.get('/said')
        assert (r.text, r.headers['content-type']) == ('<b>no such shop</b>', 'text/plain; charset=utf-8')


@pytest.mark.parametrize(('asked', 'status', 'content'), [
    ('bytes=2-999', 206, b'23456789'), ('bytes=-999', 206, b'0123456789'), ('bits=1-2', 200, b'0123456789'),
    ('bytes=1-2, 4-5', 200, b'0123456789'), ('bytes=x', 200, b'0123456789')])
def test_ranges_by_rfc_9110(tmp_path: Path, asked: str, status: int, content: bytes) -> None:
    "Section 14.1.2: a range may end behind the end; 14.2: what is not understood is ignored."
    (tmp_path/'a').write_bytes(b'0123456789')
    app = Tremolo()
    @app.route('/')
    async def page(response): await response.sendfile(tmp_path/'a')
    with live(app) as c:
        r = c.get(headers={'range': asked})
        assert (r.status_code, r.content) == (status, content)


def test_none_is_an_empty_page() -> None:
    "Tremolo closes the connection without an answer."
    app = Tremolo()
    @app.route('/')
    async def page(**server): return None
    with live(app) as c: assert (c.get().status_code, c.get().content) == (200, b'')


def test_a_page_that_is_not_there_is_404_at_the_root_too(app: Tremolo) -> None:
    with live(app) as c: assert (c.get('/').status_code, c.get('/none').status_code) == (404, 404)


def test_answers_have_the_servers_version(app: Tremolo) -> None:
    "RFC 9110, section 6.2: the highest that it has, also to a client of HTTP/1.0."
    with live(app) as c, Raw(c.server) as client:
        client.send(b'GET /none HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n')
        assert client.until(b'\r\n').startswith(b'HTTP/1.1 404 ')


def test_who_listens_where() -> None:
    assert place(None, 8000)['host'] == '127.0.0.1'
    assert place('::', 8000)['host'] == '' # All networks, as in Tremolo


def test_a_foreign_page_opens_no_socket(app: Tremolo) -> None:
    from websockets.exceptions import InvalidStatus
    with live(app) as c, pytest.raises(InvalidStatus) as e: c.ws('/echo', origin='http://evil.example')
    assert e.value.response.status_code == 403


def test_a_host_that_is_named_twice_is_refused(app: Tremolo) -> None:
    with live(app) as c, Raw(c.server) as client:
        client.send(b'GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')
        assert client.response()[0] == 400
