"""Handlers of Tremolo's style: what they may ask for, and how they answer."""
from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

import httpx
import pytest
from live import BOUND, live
from logs import ExpectLog
from websockets.exceptions import InvalidStatus

from nbws.server.listener import Server
from nbws.tremolo import Tremolo


def test_get_has_no_websocket_and_upgrade_has(hybrid: Tremolo) -> None:
    with live(hybrid) as c:
        assert c.get().text == 'page over http'
        ws = c.ws()
        ws.send('hi')
        assert ws.recv(BOUND) == 'You said: hi'


def test_without_sockets_the_upgrade_gets_the_ordinary_answer(hybrid: Tremolo) -> None:
    with live(hybrid, websockets=False) as c:
        with pytest.raises(InvalidStatus) as e: c.ws()
        assert (e.value.response.status_code, e.value.response.body) == (200, b'page over http')


def test_upgrade_of_a_handler_without_websocket_gets_the_ordinary_answer() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(**server): return 'websocket' in server and 'socket' or 'page'
    with live(app) as c:
        with pytest.raises(InvalidStatus) as e: c.ws()
        assert (e.value.response.status_code, e.value.response.body) == (200, b'page')


def test_a_handler_that_is_replaced_by_one_without_websocket_serves_no_socket(hybrid: Tremolo) -> None:
    @hybrid.route('/')
    async def page(**_): return 'page'
    with live(hybrid) as c:
        with pytest.raises(InvalidStatus): c.ws()


SERVER = ('request', 'response', 'app', 'context', 'extras', 'globals', 'lock', 'logger', 'loop', 'next', 'kwargs',
          'prefix', 'func')


def test_arguments_by_name_or_collected() -> None:
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


def test_options() -> None:
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


def test_rate_sets_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_sync_handlers_run_in_threads() -> None:
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


def test_a_generator_that_fails_later_breaks_off(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.route('/')
    async def page(**_):
        yield b'begun'
        raise KeyError('late')
    expect_log("KeyError: 'late'", 1)
    with live(app) as c, pytest.raises(httpx.RemoteProtocolError): c.get()


def test_handler_timeout(expect_log: ExpectLog) -> None:
    app = Tremolo()
    app.context.options['app_handler_timeout'] = 0.05
    @app.route('/')
    async def waits(**_): await asyncio.Event().wait()
    with live(app) as c: assert c.get().status_code == 503


def test_lock_and_tasks() -> None:
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
