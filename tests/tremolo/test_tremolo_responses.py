"""Responses of Tremolo's style: fields, files, events, and what is written."""
from __future__ import annotations

import re
import threading
from pathlib import Path

import httpx
import pytest
from live import BOUND, live
from logs import ExpectLog

from nbws.tremolo import Tremolo


def test_response() -> None:
    app = Tremolo()

    @app.route('/')
    async def handler(request, response):
        response.set_header('X-Twice', 'a')
        response.set_header(b'x-twice', b'b')
        response.append_header('X-More', '1')
        response.append_header('X-More', '2')
        response.set_cookie('k', 'v w', expires=60, httponly=True)
        response.set_status(202, b'Accepted')
        response.set_content_type(b'text/plain')
        assert response.get_status() == (202, b'Accepted')
        return b'body'

    @app.route('/written')
    async def written(response):
        await response.write(b'a')
        assert response.headers_sent()
        await response.write(b'b')

    @app.route('/end')
    async def end(response): await response.end(b'whole')

    @app.route('/go')
    async def go(response): raise response.redirect('/there', code=301)
    @app.route('/gone')
    async def gone(response): return response.redirect('/there')
    @app.route('/none')
    async def none(**_): return None
    @app.route('/encoded')
    async def encoded(content_type='text/plain; charset=latin-1'): return '\xe9', 'latin-1'

    with live(app) as c:
        r = c.get()
        assert (r.status_code, r.text, r.headers['content-type']) == (202, 'body', 'text/plain')
        assert (r.headers['x-twice'], r.headers.get_list('x-more')) == ('b', ['1', '2'])
        assert re.fullmatch(r'k=v%20w; expires=.* GMT; max-age=60; path=/; httponly', r.headers['set-cookie'])
        assert c.get('/written').content == b'ab'
        assert (r := c.get('/end')).content == b'whole'
        assert r.headers['content-length'] == '5'
        assert [(r := c.get(p)).status_code for p in ('/go', '/gone')] == [301, 302]
        assert r.headers['location'] == '/there'
        assert (c.get('/none').status_code, c.get('/none').content) == (200, b'')
        assert c.get('/encoded').text == '\xe9'
        assert c.http.head('/').headers['x-twice'] == 'b'


def test_a_header_cannot_be_broken_out_of(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.route('/')
    async def handler(response): response.set_header('X-A', 'b\r\nSet-Cookie: c')
    expect_log('contains a line break')
    with live(app) as c: assert c.get().status_code == 500


def test_sendfile(tmp_path: Path) -> None:
    file = tmp_path/'a.bin'
    file.write_bytes(b'0123456789')
    app = Tremolo()
    @app.route('/')
    async def whole(response): await response.sendfile(file, content_type='application/x-mine')
    @app.route('/part')
    async def part(response): await response.sendfile(str(file), 2, 3)
    with live(app) as c:
        r = c.get()
        assert (r.content, r.headers['accept-ranges']) == (b'0123456789', 'bytes')
        assert r.headers['content-type'] == 'application/x-mine'
        r = c.get(headers={'range': 'bytes=1-3'})
        assert (r.status_code, r.content) == (206, b'123')
        assert c.get(headers={'range': 'bytes=90-'}).status_code == 416
        assert c.get('/part').content == b'234'


def test_events() -> None:
    app = Tremolo()
    @app.route('/')
    async def events(sse=None, **server):
        await sse.send('two\nlines', event='news', event_id='7', retry=100)
        await sse.send(b'more')
        await sse.close()
    with live(app) as c:
        r = c.get()
    assert r.headers['content-type'] == 'text/event-stream'
    assert r.headers['cache-control'] == 'no-cache, must-revalidate'
    assert r.text == 'data: two\ndata: lines\nevent: news\nid: 7\nretry: 100\n\ndata: more\n\n'


def test_a_writer_whose_client_leaves_ends() -> None:
    app, done = Tremolo(), threading.Event()
    @app.route('/')
    async def endless(response):
        try:
            while True: await response.write(b'x' * 65536)
        finally: done.set()
    with live(app) as c:
        with c.http.stream('GET', '/') as r: next(r.iter_raw())
        assert done.wait(BOUND)


def test_a_writer_that_fails_breaks_off(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.route('/')
    async def page(response):
        await response.write(b'begun')
        raise KeyError('late')
    expect_log("KeyError: 'late'", 1)
    with live(app) as c, pytest.raises(httpx.RemoteProtocolError): c.get()
