"""Tremolo's ways, line by line, over real sockets: what a drop-in must do, and where we do better."""
from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import raw
from live import BOUND, ended, live
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from nbws.notebook import served as notebook
from nbws.server.limits import Limits
from nbws.core.errors import HTTPException as OurHTTPException
from nbws.core.request import Request
from nbws.server.listener import Server
from nbws.tremolo import Application, Tremolo, exceptions
from nbws.tremolo.exceptions import (BadRequest, Forbidden, HTTPRedirect, NotFound, WebSocketClientClosed,
                                     WebSocketServerClosed)
from nbws.tremolo.requests import Text


def event() -> threading.Event: return threading.Event()


# Match: one handler for page and socket

@pytest.fixture
def hybrid() -> Tremolo:
    app = Tremolo()

    @app.route('/')
    async def both(websocket=None, request=None, **_):
        if websocket is None: return b'page over %s' % request.scheme
        await websocket.accept()
        while True: await websocket.send(f'You said: {await websocket.receive()}')
    return app


def test_get_has_no_websocket_and_upgrade_has(hybrid):
    with live(hybrid) as c:
        assert c.get().text == 'page over http'
        ws = c.ws()
        ws.send('hi')
        assert ws.recv(BOUND) == 'You said: hi'


def test_without_sockets_the_upgrade_gets_the_ordinary_answer(hybrid):
    with live(hybrid, websockets=False) as c:
        with pytest.raises(InvalidStatus) as e: c.ws()
        assert (e.value.response.status_code, e.value.response.body) == (200, b'page over http')


def test_upgrade_of_a_handler_without_websocket_gets_the_ordinary_answer():
    app = Tremolo()
    @app.route('/')
    async def page(**server): return 'websocket' in server and 'socket' or 'page'
    with live(app) as c:
        with pytest.raises(InvalidStatus) as e: c.ws()
        assert (e.value.response.status_code, e.value.response.body) == (200, b'page')


def test_a_handler_that_is_replaced_by_one_without_websocket_serves_no_socket(hybrid):
    @hybrid.route('/')
    async def page(**_): return 'page'
    with live(hybrid) as c:
        with pytest.raises(InvalidStatus): c.ws()


# Match: arguments by name

SERVER = ('request', 'response', 'app', 'context', 'extras', 'globals', 'lock', 'logger', 'loop', 'next', 'kwargs',
          'prefix', 'func')


def test_arguments_by_name_or_collected():
    app, seen = Tremolo('mine'), []

    @app.route(r'^/by-name/(?P<page>\w+)')
    async def by_name(request, response, websocket, sse, app, context, extras, globals, lock,  # noqa: A002
                      logger, loop, next, kwargs, prefix, func, page, unknown, other=5):  # noqa: A002
        seen.append(locals())
        return 'a'

    @app.route(r'^/all/(?P<page>\w+)')
    async def collected(**server):
        seen.append(server)
        return 'b'

    with live(app) as c:
        assert c.get('/by-name/x').text == 'a'
        assert c.get('/all/x').text == 'b'
        named, found = seen
        assert named['page'] == found['page'] == b'x'
        assert (named['websocket'], named['unknown'], named['other']) == (None, None, 5)
        assert named['sse'] is not None
        assert found.keys() == {*SERVER, 'page'}
        for values in seen:
            assert values['app'] is app
            assert values['globals'] is app.context
            assert values['loop'] is c.server.loop
            assert values['logger'] is logging.getLogger('mine')
            assert (values['next'], values['prefix']) == (0, ())
            assert values['extras']['options'] is app.context.options
        assert (named['func'].__name__, named['kwargs']['other']) == ('by_name', 5)


def test_request_is_bytes():
    app, seen = Tremolo(), {}

    @app.route(r'^/a')
    async def handler(request):
        for name in ('host', 'scheme', 'path', 'query_string', 'method', 'url', 'version', 'content_type', 'ip'):
            seen[name] = getattr(request, name)
            assert isinstance(seen[name], bytes)
        seen.update(client=request.client, headers=request.headers, query=request.query, cookies=request.cookies)
        return 'ok'

    with live(app) as c:
        c.get('/a%20b?x=1&x=2&y=', headers={'X-Some': 'A, B', 'Cookie': 'k=v'})
        host = f'127.0.0.1:{c.server.port}'.encode()
    assert seen['host'] == host
    assert (seen['scheme'], seen['path'], seen['method']) == (b'http', b'/a%20b', b'GET')
    assert seen['query_string'] == b'x=1&x=2&y='
    assert (seen['url'], seen['version'], seen['ip']) == (b'/a%20b?x=1&x=2&y=', b'1.1', b'127.0.0.1')
    ip, port = seen['client']
    assert ip == '127.0.0.1'
    assert isinstance(port, int)
    assert seen['headers'][b'x-some'] == [b'A, B']
    assert seen['headers'].getlist(b'x-some') == [b'a', b'b']
    assert seen['query'] == {'x': ['1', '2']}
    assert seen['cookies'] == {'k': ['v']}


def test_bodies():
    app = Tremolo()

    @app.route('/body')
    async def body(request): return await request.body()

    @app.route('/stream')
    async def stream(request):
        async for chunk in request.stream(): yield chunk.upper()

    @app.route('/form')
    async def form(request):
        fields = await request.form()
        return repr((fields, {k: [(f['filename'], f['data']) for f in v] for k, v in request.params.files.items()}))

    @app.route('/read')
    async def read(request):
        parts = [await request.read(2), await request.recv(3), await request.read(100)]
        return b'|'.join(parts) + (b'!' if request.eof() else b'')

    with live(app) as c:
        assert c.post('/body', content=b'abc').content == b'abc'
        assert c.post('/stream', content=iter([b'ab', b'c'])).content == b'ABC'
        assert c.post('/form', data={'a': ['1', '2']}).text == "({'a': ['1', '2']}, {})"
        r = c.post('/form', data={'n': '1'}, files={'f': ('x.txt', b'hi')})
        assert r.text == "({'n': ['1']}, {'f': [('x.txt', b'hi')]})"
        assert c.post('/form', content=b'x').status_code == 400
        assert c.post('/read', content=b'abcdefg').content == b'ab|cde|fg!'


# Match: defaults are options

def test_options():
    app = Tremolo()
    @app.route('/made')
    async def made(status=(201, b'Created'), content_type='text/plain'): return 'x'
    @app.route('/unchunked')
    async def unchunked(chunked=False):
        yield b'a'
        yield b'b'
    @app.route('/collected')
    async def collected(stream=False, buffer_size=8):
        for i in range(10): yield b'%d' % i
    @app.route('/cut')
    async def cut(buffer_size=4): yield b'0123456789'
    with live(app) as c:
        r = c.get('/made?status=500')
        assert (r.status_code, r.reason_phrase, r.headers['content-type']) == (201, 'Created', 'text/plain')
        r = c.get('/unchunked')
        assert r.content == b'ab'
        assert 'transfer-encoding' not in r.headers
        assert r.headers['connection'] == 'close'
        r = c.get('/collected')
        assert r.content == b'0123456789'
        wire = raw_chunks(c.server, '/collected')
        assert wire == [b'0123', b'4567', b'89']
        assert raw_chunks(c.server, '/cut') == [b'0123', b'4567', b'89']


def raw_chunks(server: Server, path: str) -> list[bytes]:
    "The chunks of an answer, as they were framed."
    with socket.create_connection(('127.0.0.1', server.port), BOUND) as s:
        s.sendall(f'GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'.encode())
        data = b''.join(iter(lambda: s.recv(65536), b''))
    head, _, body = data.partition(b'\r\n\r\n')
    assert b'transfer-encoding: chunked' in head.lower()
    found = []
    while body:
        size, _, body = body.partition(b'\r\n')
        if not int(size, 16): break
        found.append(body[:int(size, 16)])
        body = body[int(size, 16) + 2:]
    return found


def test_rate_sets_the_pace(monkeypatch):
    app, slept = Tremolo(), []
    @app.route('/')
    async def slow(rate=1000, buffer_size=100): yield b'x' * 300
    async def sleep(seconds: float, result: Any = None) -> Any:
        slept.append(seconds)
        return result
    with live(app) as c:
        monkeypatch.setattr('nbws.tremolo.endpoints.asyncio.sleep', sleep)
        assert len(c.get().content) == 300
    paced = [s for s in slept if s > 0]
    assert len(paced) == 2
    assert all(0.05 < s < 0.25 for s in paced)


# Match: responses

def test_response():
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


def test_a_header_cannot_be_broken_out_of(expect_log):
    app = Tremolo()
    @app.route('/')
    async def handler(response): response.set_header('X-A', 'b\r\nSet-Cookie: c')
    expect_log('contains a line break')
    with live(app) as c: assert c.get().status_code == 500


def test_sendfile(tmp_path):
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


def test_events():
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


def test_sync_handlers_run_in_threads():
    app, threads = Tremolo(), []

    @app.route('/')
    def handler(request, response, status=(201, 'Created')):
        threads.append(threading.current_thread())
        response.set_header('X-A', 'b')
        return b'got ' + request.body()

    @app.route('/lines')
    def lines(request):
        for chunk in request.stream(): yield chunk + b'.'

    @app.on_request
    def early(**server): threads.append(threading.current_thread())

    with live(app) as c:
        r = c.post(content=b'it')
        assert (r.status_code, r.content, r.headers['x-a']) == (201, b'got it', 'b')
        assert c.post('/lines', content=b'it').content == b'it.'
        assert all(t.name.startswith('nbws-worker') for t in threads)


def test_views():
    app = Tremolo()

    @app.route('/thing')
    class Thing:
        async def get(self, request): return 'got'
        async def post(self, request): return await request.body()

    with live(app) as c:
        assert (c.get('/thing').text, c.post('/thing', content=b'x').text) == ('got', 'x')
        assert (r := c.http.delete('/thing')).status_code == 405
        assert {'GET', 'POST'} <= set(r.headers['allow'].split(', '))


# Match: sockets

def test_receive_and_send():
    app = Tremolo()
    @app.route('/')
    async def echo(websocket=None, **_):
        await websocket.accept()
        for _ in range(2): await websocket.send(await websocket.receive())
        for _ in range(2): await websocket.send(await websocket.recv())
        await websocket.send('')
        await websocket.send('a', fin=0)
        await websocket.send('b', fin=1)
        await websocket.ping(b'p')
        await websocket.pong(b'q')
        await websocket.close(4001)
    with live(app) as c:
        ws = c.ws()
        answers = []
        for message in ('text', b'bytes', 'text', b'bytes'):
            ws.send(message)
            answers.append(ws.recv(BOUND))
        assert answers == ['text', b'bytes', b'text', b'bytes']
        assert [ws.recv(BOUND) for _ in range(2)] == ['', 'ab']
        assert ended(ws)[0] == 4001


def test_ping_and_pong_on_the_wire():
    app = Tremolo()
    @app.route('/')
    async def handler(websocket=None, **_):
        await websocket.accept()
        await websocket.ping(b'p')
        await websocket.pong(b'q')
        await websocket.send(b'x', opcode=9)
        async for _ in websocket: pass
    with raw.serving(app) as server, raw.Raw(server) as client:
        client.open()
        assert [client.frame()[1:] for _ in range(3)] == [(raw.PING, b'p'), (raw.PONG, b'q'), (raw.PING, b'x')]


def test_iteration_accepts_and_ends_quietly():
    app, done = Tremolo(), event()
    @app.route('/')
    async def echo(websocket=None, **_):
        async for message in websocket: await websocket.send(message)
        done.set()
    with live(app) as c:
        ws = c.ws()
        ws.send('a')
        assert ws.recv(BOUND) == 'a'
        ws.close()
        assert done.wait(BOUND)


def test_receive_tells_that_the_client_has_left():
    app, codes, done = Tremolo(), [], event()
    @app.route('/')
    async def handler(websocket=None, **_):
        await websocket.accept()
        try: await websocket.receive()
        except WebSocketClientClosed as e: codes.append(e.code)
        try: await websocket.send('too late')
        except WebSocketClientClosed as e: codes.append(e.code)
        done.set()
    with live(app) as c:
        c.ws().close(4005)
        assert done.wait(BOUND)
    assert codes == [4005, 4005]


def test_receive_timeout():
    app = Tremolo()
    @app.route('/ends')
    async def ends(websocket=None, **_):
        await websocket.accept()
        await websocket.receive(timeout=0.01)
    @app.route('/goes-on')
    async def goes_on(websocket=None, **_):
        await websocket.accept()
        try: await websocket.receive(timeout=0.01)
        except TimeoutError: await websocket.send('silence')
        try: await websocket.receive(timeout=0.01)
        except WebSocketServerClosed as e: await websocket.send(str(e.code))
    with live(app) as c:
        assert ended(c.ws('/ends'))[0] == 1013
        ws = c.ws('/goes-on')
        assert (ws.recv(BOUND), ws.recv(BOUND)) == ('silence', '1013')
        assert ended(ws)[0] == 1000


def test_silence_is_pinged_at_the_half_and_closed_at_the_whole(hybrid):
    with raw.serving(hybrid, limits=Limits(ws_ping_timeout=0.2)) as server, raw.Raw(server) as client:
        client.open()
        assert client.frame()[1] == raw.PING
        opcode, payload = client.frame()[1:]
        assert (opcode, raw.close_code(payload)[0]) == (raw.CLOSE, 1013)


@pytest.mark.parametrize(('frames', 'code'), [
    (raw.text('x' * 2000), 1009),
    (raw.frame(raw.CONT, 'x'), 1002),
    (raw.frame(raw.TEXT, 'x', fin=False) + raw.text('y'), 1002),
    (raw.frame(3, 'x'), 1002),  # RFC 6455, section 5.2, over Tremolo's 1008: an unknown opcode fails the connection
    (raw.frame(raw.TEXT, 'x', mask=None), 1002),  # Tremolo accepts it
])
def test_codes(hybrid, frames, code):
    with raw.serving(hybrid, limits=Limits(max_message=1000)) as server, raw.Raw(server) as client:
        client.open()
        client.send(frames)
        opcode, payload = client.frame()[1:]
        assert (opcode, raw.close_code(payload)[0]) == (raw.CLOSE, code)


def test_the_message_limit_is_two_mebibytes():
    from nbws.tremolo.options import limits, settled
    assert limits(settled({})).max_message == limits(settled({})).max_body == 2 * 1024 * 1024


# Match: hooks

def test_worker_hooks_run_in_order():
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def second(app, globals, context, loop, logger):  # noqa: A002
        seen.append(('second', globals is context is app.context, loop is asyncio.get_running_loop()))
        globals.shared = 5
    @app.on_worker_start(priority=1)
    async def first(**worker): seen.append('first')
    @app.on_worker_stop
    async def last(app): seen.append('last')
    @app.on_worker_stop
    async def stop(**worker): seen.append('stop')
    @app.route('/')
    async def page(globals): return str(globals.shared)  # noqa: A002
    with live(app) as c: assert c.get().text == '5'
    assert seen == ['first', ('second', True, True), 'stop', 'last']


def test_a_late_worker_hook_gets_the_servers_loop():
    "A cell that adds one has a loop of its own, the kernel's; a thread has none."
    app, loops, ran = Tremolo(), [], threading.Semaphore(0)
    async def late(loop):
        loops.append((loop, asyncio.get_running_loop()))
        ran.release()
    async def cell(): app.add_hook(late)
    with live(app):
        asyncio.run(cell())
        app.add_hook(late)
        assert ran.acquire(timeout=BOUND) and ran.acquire(timeout=BOUND)
        assert loops == [(app.loop, app.loop)] * 2


def test_a_true_result_ends_the_row():
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def one(**_):
        seen.append(1)
        return True
    @app.on_worker_start
    async def two(**_): seen.append(2)
    with live(app): pass
    assert seen == [1]


def test_connection_hooks():
    app, seen, gone = Tremolo(), [], event()
    @app.on_connect
    async def connected(context, **server):
        context.visits = 0
        seen.append('connect')
    @app.on_close
    async def closed(context, **server):
        seen.append(('close', context.visits))
        gone.set()
    @app.route('/')
    async def page(context, websocket=None):
        context.visits += 1
        if websocket:
            async for _ in websocket: pass
        return str(context.visits)
    with live(app) as c:
        assert [c.get().text for _ in range(3)] == ['1', '2', '3']
        c.http.close()
        assert gone.wait(BOUND)
        assert seen == ['connect', ('close', 3)]
        gone.clear()
        c.ws().close()
        assert gone.wait(BOUND)
        assert seen[2:] == ['connect', ('close', 1)]


def test_request_and_response_hooks_run_by_priority():
    app, order = Tremolo(), []
    def hook(kind: str, name: str, **options: Any) -> None:
        async def run(**server): order.append(name)
        getattr(app, kind)(**options)(run) if options else getattr(app, kind)(run)
    hook('on_request', 'in 1')
    hook('on_request', 'in 2')
    hook('on_request', 'in first', priority=5)
    hook('on_response', 'out 1')
    hook('on_response', 'out 2')
    hook('on_response', 'out last', priority=1000)
    @app.route('/')
    async def page(**_): order.append('page')
    with live(app) as c: c.get()
    assert order == ['in first', 'in 1', 'in 2', 'page', 'out 2', 'out 1', 'out last']


def test_request_hooks_answer_instead_before_the_upgrade(hybrid):
    @hybrid.on_request
    async def gate(request, response, status=(403, 'Forbidden'), **_):
        if b'returned' in request.query_string: return 'no'
        if b'raised' in request.query_string: raise Forbidden('never')
    with live(hybrid) as c:
        assert (c.get('/?returned').status_code, c.get('/?returned').text) == (403, 'no')
        assert (r := c.get('/?raised')).status_code == 403
        assert 'never' in r.text
        for path in ('/?returned', '/?raised'):
            with pytest.raises(InvalidStatus) as e: c.ws(path)
            assert e.value.response.status_code == 403
        assert c.get().status_code == 200


def test_response_hooks_see_and_replace():
    app = Tremolo()
    @app.on_response
    async def stamp(request, response):
        response.set_header('X-Stamp', str(response.get_status()[0]))
        if request.query_string == b'other': return b'other'
    @app.route('/')
    async def page(status=(201, 'Created')):
        yield b'a'
        yield b'b'
    with live(app) as c:
        assert ((r := c.get()).text, r.headers['x-stamp']) == ('ab', '201')
        assert c.get('/?other').text == 'other'


def test_error_pages(expect_log):
    app = Tremolo()
    @app.error(404)
    async def lost(request, exc, **_):
        assert isinstance(exc, NotFound | OurHTTPException)
        return f'nothing at {request.path}'
    @app.error(500)
    async def broken(exc, response, **_):
        response.set_header('X-Broken', type(exc.__cause__).__name__)
        return b'sorry'
    @app.route('/broken')
    async def fails(**_): return 1 / 0
    @app.route('/missing')
    async def missing(**_): raise NotFound
    expect_log('ZeroDivisionError', 1)
    with live(app) as c:
        assert ((r := c.get('/none')).status_code, r.text) == (404, 'nothing at /none')
        assert c.get('/missing').text == 'nothing at /missing'
        r = c.get('/broken')
        assert (r.status_code, r.text, r.headers['x-broken']) == (500, 'sorry', 'ZeroDivisionError')
    for code in (399, 512):
        with pytest.raises(ValueError, match='supported range: 400-511'): app.error(code)


def test_mount():
    app, other, order = Tremolo(), Tremolo(), []
    @app.on_request
    async def outer(**_): order.append('outer')
    @other.on_request
    async def inner(**_): order.append('inner')
    @other.route('/')
    async def index(request, prefix): return b'%s %r' % (request.path, list(prefix))
    @other.route(r'^/page/(?P<n>\d+)')
    async def page(n): return n
    app.mount('/part', other)
    @other.route('/late')
    async def late(**_): return 'late'
    with live(app) as c:
        assert c.get('/part').text == "/part [b'part']"
        assert c.get('/part/page/12').text == '12'
        assert c.get('/part/late').text == 'late'
        assert c.get('/late').status_code == 404
    assert order == ['inner', 'inner', 'inner', 'outer']
    with pytest.raises(RuntimeError, match='mounted somewhere'): other.run('127.0.0.1', 0)
    with pytest.raises(ValueError, match='invalid app'): app.mount('/x', app)
    with pytest.raises(ValueError, match='must start with'): app.mount('x', Tremolo())


def test_the_last_route_wins():
    app = Tremolo()
    for n in (1, 2):
        @app.route('/same')
        async def same(n=n): return str(n)
        @app.route(f'^/re{"" if n == 1 else "g"}')
        async def regex(n=n): return str(n)
    with live(app) as c: assert [c.get(p).text for p in ('/same', '/same/', '/regex', '/rex')] == ['2', '2', '2', '1']


# Match: exceptions

STATUS = {'HTTPException': 500, 'HTTPRedirect': 302, 'BadRequest': 400, 'Unauthorized': 401, 'Forbidden': 403,
          'NotFound': 404, 'MethodNotAllowed': 405, 'RequestTimeout': 408, 'PreconditionFailed': 412,
          'PayloadTooLarge': 413, 'RangeNotSatisfiable': 416, 'ExpectationFailed': 417, 'TooManyRequests': 429,
          'InternalServerError': 500, 'ServiceUnavailable': 503}


@pytest.mark.parametrize('name', STATUS)
def test_exceptions(name, expect_log):
    if name == 'InternalServerError': expect_log('InternalServerError', 2)
    kind = getattr(exceptions, name)
    assert issubclass(kind, exceptions.TremoloException)
    app = Tremolo()
    @app.route('/')
    async def fails(**_): raise kind('because', x_why='that')
    @app.route('/stream')
    async def stream(**_):
        if app: raise kind
        yield b''
    with live(app) as c:
        r = c.get()
        assert (r.status_code, r.headers['x-why']) == (STATUS[name], 'that')
        assert 'because' in r.text
        assert c.get('/stream').status_code == STATUS[name]


def test_socket_exceptions(expect_log):
    assert (WebSocketClientClosed.code, WebSocketServerClosed.code) == (1005, 1011)
    assert exceptions.WebSocketException.code == 1011
    app = Tremolo()
    @app.route('/')
    async def handler(request, websocket=None):
        await websocket.accept()
        raise WebSocketServerClosed('enough', code=int(request.query['code'][0]))
    expect_log('WebSocketServerClosed', 1)
    with live(app) as c:
        assert ended(c.ws('/?code=4000'))[0] == 4000
        assert ended(c.ws('/?code=1011'))[0] == 1011


# Do better

def test_text_equals_bytes():
    app = Tremolo()
    @app.route('/')
    async def handler(request):
        assert request.method == 'GET' == request.method
        assert request.method == b'GET'
        assert request.method != 'POST'
        assert request.path in ('/', '/x')
        assert request.headers['host'] == request.headers[b'host'] == [request.host]
        assert {request.scheme: 1} == {'http': 1}
        return f'{request.method} {request.path}'
    with live(app) as c: assert c.get().text == 'GET /'
    assert Text(b'a') != 5
    assert hash(Text(b'a')) == hash('a') == hash(b'a')


def test_every_end_has_a_close_frame(expect_log):
    app = Tremolo()
    @app.route('/returns')
    async def returns(websocket=None, **_): await websocket.accept()
    @app.route('/raises')
    async def raises(websocket=None, **_):
        await websocket.accept()
        raise KeyError('mine')
    @app.route('/yields')
    async def yields(websocket=None, **_):
        await websocket.accept()
        yield 'a'
    expect_log("KeyError: 'mine'", 1)
    with live(app) as c:
        assert ended(c.ws('/returns'))[0] == 1000
        assert ended(c.ws('/raises'))[0] == 1011
        ws = c.ws('/yields')
        assert ws.recv(BOUND) == 'a'
        assert ended(ws)[0] == 1000


def test_a_ping_between_fragments_is_answered(hybrid):
    with raw.serving(hybrid) as server, raw.Raw(server) as client:
        client.open()
        client.send(raw.frame(raw.TEXT, 'a', fin=False) + raw.frame(raw.PING, 'p') + raw.frame(raw.CONT, 'b'))
        assert client.frame()[1:] == (raw.PONG, b'p')
        assert client.frame()[1:] == (raw.TEXT, b'You said: ab')


def test_a_foreign_origin_is_refused(hybrid):
    with live(hybrid) as c:
        with pytest.raises(InvalidStatus) as e: c.ws(origin='http://evil.example')
        assert e.value.response.status_code == 403
        c.ws(origin=c.server.url)


def test_routes_added_while_serving_answer(hybrid):
    with live(hybrid) as c:
        assert c.get('/new').status_code == 404
        @hybrid.route('/new')
        async def new(**_): return 'new'
        assert c.get('/new').text == 'new'


def test_a_socket_goes_on_with_the_new_handler(hybrid):
    with live(hybrid) as c:
        ws = c.ws()
        ws.send('a')
        assert ws.recv(BOUND) == 'You said: a'
        @hybrid.route('/')
        async def louder(websocket=None, **_):
            async for message in websocket: await websocket.send(message.upper())
        ws.send('b')
        assert ws.recv(BOUND) == 'B'


def test_a_generator_that_fails_later_breaks_off(expect_log):
    app = Tremolo()
    @app.route('/')
    async def page(**_):
        yield b'begun'
        raise KeyError('late')
    expect_log("KeyError: 'late'", 1)
    with live(app) as c, pytest.raises(httpx.RemoteProtocolError): c.get()


def test_a_writer_whose_client_leaves_ends():
    app, done = Tremolo(), event()
    @app.route('/')
    async def endless(response):
        try:
            while True: await response.write(b'x' * 65536)
        finally: done.set()
    with live(app) as c:
        with c.http.stream('GET', '/') as r: next(r.iter_raw())
        assert done.wait(BOUND)


def test_a_writer_that_fails_breaks_off(expect_log):
    app = Tremolo()
    @app.route('/')
    async def page(response):
        await response.write(b'begun')
        raise KeyError('late')
    expect_log("KeyError: 'late'", 1)
    with live(app) as c, pytest.raises(httpx.RemoteProtocolError): c.get()


def test_handler_timeout(expect_log):
    app = Tremolo()
    app.context.options['app_handler_timeout'] = 0.05
    @app.route('/')
    async def waits(**_): await asyncio.Event().wait()
    with live(app) as c: assert c.get().status_code == 503


def test_lock_and_tasks():
    app, order = Tremolo(), []
    @app.route('/')
    async def page(lock, **_):
        async with lock(2): order.append('held')
        async def later(): order.append('later')
        await app.create_task(later())
        with pytest.raises(TimeoutError):
            async with lock:
                async with lock(0, timeout=0.01): pass
    with live(app) as c: assert c.get().status_code == 200
    assert order == ['held', 'later']


def test_both_styles_are_one_system(expect_log):
    app = Application()
    expect_log('cannot be read as int')
    @app.get('/ours')
    def ours(name: str): return {'name': name}
    @app.ws('/socket')
    def socket(msg: str, ws): return f'got {msg}'
    @app.route('/rooms')
    async def rooms(websocket=None, **_):
        await websocket.accept()
        app.room('all').join(websocket)
        async for message in websocket: app.room('all').send(message)
    @app.route('/query')
    async def query(n: int = 3): return str(n + 1)
    with live(app) as c:
        assert c.get('/ours?name=x').json() == {'name': 'x'}
        ws = c.ws('/socket')
        ws.send('{"msg": "hi"}')
        assert ws.recv(BOUND) == 'got hi'
        one, two = c.ws('/rooms'), c.ws('/rooms')
        two.send('a')
        two.recv(BOUND)
        one.send('b')
        assert one.recv(BOUND) in ('a', 'b')
        assert c.get('/query?n=5').text == '6'
        assert c.get('/query?n=x').status_code == 400


# The seed page's chat

CHAT = '''\
import time

from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest

app = Tremolo()


@app.on_request
async def middleware_handler(**server):
    for char in b'&<>"\\'':
        if char in server['request'].host:
            raise BadRequest('illegal host')


@app.route('/')
async def ws_handler(websocket=None, request=None, stream=False, **_):
    if websocket is not None:
        await websocket.accept()

        while True:
            message = await websocket.receive()
            await websocket.send(
                '[{:s}] Guest{:d}: {:s}'.format(
                    time.strftime('%H:%M:%S'), request.client[1], message)
            )

    yield b"""\\
    <!DOCTYPE html><html lang="en"><head><title>WebSocket Chat</title></head>
    """
    ws_scheme = b'ws'

    if request.scheme == b'https':
        ws_scheme = b'wss'

    yield b"\\
        var socket = new WebSocket('%s://%s/');" % (ws_scheme, request.host)

if __name__ == '__main__':
    app.run('0.0.0.0', {port}, debug=True, reload={reload})
'''


def chats(url: str) -> None:
    "What a visitor does."
    page = httpx.get(url, timeout=BOUND, trust_env=False)
    assert (page.status_code, page.headers['content-type']) == (200, 'text/html; charset=utf-8')
    assert '<title>WebSocket Chat</title>' in page.text
    assert f"new WebSocket('{url.replace('http', 'ws')}/')" in page.text
    with connect(url.replace('http', 'ws'), open_timeout=BOUND, proxy=None) as ws:
        ws.send('hello')
        assert re.fullmatch(rf'\[\d\d:\d\d:\d\d\] Guest{ws.local_address[1]}: hello', str(ws.recv(BOUND)))
    bad = httpx.get(url, headers={'host': 'a&b'}, timeout=BOUND, trust_env=False)
    assert bad.status_code in (400, 403)  # 403: the gate before the app


def test_chat_in_process():
    space: dict[str, Any] = {'__name__': 'chat'}
    exec(CHAT.replace('{port}', '0').replace('{reload}', 'True'), space)
    with live(space['app']) as c: chats(c.server.url)


@contextmanager
def script(tmp_path: Path, source: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    "Run a program, or a command; gives the address that it prints."
    file = tmp_path/'chat_script.py'
    file.write_text(source)
    command = command or (str(file),)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               cwd=tmp_path, start_new_session=True)
    said = ''
    timer = threading.Timer(30, process.kill)
    timer.start()
    try:
        assert process.stdout
        while not (found := re.search(r'serves (http://\S+)', said)):
            line = process.stdout.readline()
            assert line, f'the script ended: {said}'
            said += line
        yield process, found[1]
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=BOUND)[0]
        assert process.returncode == 0, said + rest
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_chat_as_a_script(tmp_path):
    with script(tmp_path, CHAT.replace('{port}', '0').replace('{reload}', 'False')) as (_, url): chats(url)


def test_chat_as_a_script_with_reload(tmp_path):
    with script(tmp_path, CHAT.replace('{port}', '0').replace('{reload}', 'True')) as (_, url): chats(url)


def test_chat_as_a_notebook_that_the_command_runs(tmp_path):
    cell = {'cell_type': 'code', 'id': 'a', 'metadata': {}, 'outputs': [], 'execution_count': None}
    cell['source'] = CHAT.replace('{port}', '8000').replace('{reload}', 'True')
    notebook = {'cells': [cell], 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    (tmp_path/'chat.ipynb').write_text(json.dumps(notebook))
    with script(tmp_path, '', '-m', 'nbws', 'run', 'chat.ipynb', '--port', '0') as (_, url): chats(url)


def test_several_addresses(tmp_path):
    path = tmp_path/'s.sock'
    source = f'''
        from nbws.tremolo import Tremolo
        app = Tremolo()
        app.listen(0, '127.0.0.1')
        app.listen({str(path)!r})
        @app.route('/')
        async def page(**_): return 'here'
        app.run()
        '''
    with script(tmp_path, textwrap.dedent(source)) as (_, url):
        assert httpx.get(url, timeout=BOUND, trust_env=False).text == 'here'
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=BOUND) as c:
            assert c.get('http://x/').text == 'here'


def test_run_needs_an_address():
    with pytest.raises(ValueError, match='listen'): Tremolo().run()
    with pytest.raises(TypeError, match="no option 'client_max_bodysize'"):
        Tremolo().run('127.0.0.1', 0, client_max_bodysize=5)
    app = Tremolo()
    assert (app.listen(1), app.listen(1)) == (True, False)


def test_run_says_what_is_wrong(tmp_path, hybrid):
    with socket.create_server(('127.0.0.1', 0)) as taken, pytest.raises(SystemExit, match='already in use'):
        hybrid.run('127.0.0.1', taken.getsockname()[1])
    with pytest.raises(SystemExit, match='does not exist'):
        Tremolo().run('127.0.0.1', 0, ssl={'cert': str(tmp_path/'no.pem')})


# In a cell

@pytest.fixture
def cell(monkeypatch) -> Iterator[Callable[[str], str]]:
    "Runs source in an IPython shell, as a notebook does, and gives what it printed."
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config
    monkeypatch.setattr(notebook, 'PORT', 0)
    shell = InteractiveShell(config=Config(HistoryManager={'enabled': False}))
    monkeypatch.setattr('IPython.get_ipython', lambda: shell)
    before = sys.modules['__main__']
    sys.modules['__main__'] = shell.user_module

    def run(source: str) -> str:
        with capture_output() as said: shell.run_cell(source).raise_error()
        return said.stdout

    yield run
    notebook.stop()
    sys.modules['__main__'] = before


def test_chat_in_a_cell(cell, monkeypatch):
    monkeypatch.setattr('nbws.tremolo.running.told', set())
    source = CHAT.replace('{port}', '8000').replace('{reload}', 'True')
    said = cell(source)
    assert 'host, port, reload and worker_num are ignored here' in said
    assert len(notebook.SERVED) == 1
    chats(notebook.SERVED[0].server.url)
    url = notebook.SERVED[0].server.url
    again = cell(source)
    assert 'ignored' not in again
    assert [s.server.url for s in notebook.SERVED] == [url]
    chats(url)


def test_hooks_of_a_cell_that_is_run_again_are_replaced():
    app = Tremolo()
    class InACell(type(app.environment)):  # type: ignore[misc]
        def owner(self, function): return notebook_owner
    from nbws.core.routing import Owner
    notebook_owner = Owner('cell-1', 'cell [1]')
    app.environment = InACell()
    for _ in range(2):
        @app.on_request
        async def gate(**_): ...
        @app.on_worker_stop
        async def stop(**_): ...
    assert len(app.stages[()]['request']) == len(app.hooks['worker_stop']) == 1


# Under somebody else's server

def test_under_asgi():
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def start(**_): seen.append('start')
    @app.on_worker_stop
    async def stop(**_): seen.append('stop')
    @app.on_connect
    async def connected(**_): seen.append('connect')
    @app.on_close
    async def closed(**_): seen.append('close')
    @app.route('/')
    async def page(request, websocket=None):
        yield b'hello '
        yield request.host

    async def drive() -> list[dict[str, Any]]:
        inbox, sent = asyncio.Queue(), []
        async def send(message): sent.append(message)
        lifespan = asyncio.ensure_future(app({'type': 'lifespan', 'asgi': {'version': '3.0'}}, inbox.get, send))
        await inbox.put({'type': 'lifespan.startup'})
        requests: asyncio.Queue[Any] = asyncio.Queue()
        await requests.put({'type': 'http.request', 'body': b''})
        scope = {'type': 'http', 'method': 'GET', 'path': '/', 'query_string': b'',
                 'headers': [(b'host', b'localhost')], 'scheme': 'http', 'http_version': '1.1',
                 'client': ('1.2.3.4', 5), 'server': ('h', 80)}
        await asyncio.wait_for(app(scope, requests.get, send), BOUND)
        await inbox.put({'type': 'lifespan.shutdown'})
        await asyncio.wait_for(lifespan, BOUND)
        return sent
    sent = asyncio.run(drive())
    assert b''.join(m.get('body', b'') for m in sent) == b'hello localhost'
    assert seen == ['start', 'connect', 'close', 'stop']


def test_seam_without_a_transport():
    app = Tremolo()
    @app.route('/')
    async def page(**_): raise HTTPRedirect(location='/x')
    @app.on_request
    async def bad(request, **_):
        if request.query_string == 'bad': raise BadRequest
    async def drive() -> list[int]:
        return [(await app.http(Request('GET', t))).status_code for t in ('/', '/?bad')]
    assert asyncio.run(drive()) == [302, 400]
    space: dict[str, Any] = {'__name__': 'chat'}
    exec(CHAT.replace('{port}', '0').replace('{reload}', 'True'), space)
    assert asyncio.run(space['app'].http(Request('GET', '/', {'host': 'a&b'}))).status_code == 400
