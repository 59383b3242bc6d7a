"""Sockets by requests, over real connections: who may speak on a line, what it keeps, and what becomes of it."""
from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sized
from functools import partial
from typing import Any

import httpx
import pytest
from bound import BOUND, until
from line_client import Client
from live import Live, live, replace
from processes import asgi_server
from logs import ExpectLog

from nbws import App
from nbws.core.messages import WebSocketDisconnect
from nbws.core.response import Response
from nbws.lines import sockets as line_sockets
from nbws.lines.frames import BINARY, CLOSE, NOTHING, OPENED, PAUSE, PIECE, RESUME, TEXT, line_frame
from nbws.server.limits import Limits

def echo(**options: Any) -> App:
    app = App(**options)

    @app.get('/')
    def home(session: Any) -> str:
        session['name'] = 'ann'
        return 'hello'

    @app.ws('/echo')
    async def talk(websocket: Any) -> None:
        async for message in websocket: await websocket.send(message)

    @app.ws('/who')
    def who(msg: str, session: Any) -> str: return f'{session.get("name")} {msg}'

    return app


def held(server: Live) -> Any:
    "The only line of a server."
    (line,) = server.server.layers._lines._lines.values()
    return line.line


def test_messages_of_each_kind_and_size() -> None:
    with live(echo(), limits=Limits(max_message=2**21)) as server, Client(server.server.url) as page:
        assert page.open(1, '/echo') == 101
        assert page.next() == (OPENED, 1, b'')
        for n in range(100): assert page.send(1, str(n)) == 204
        assert [page.next().data for _ in range(100)] == [str(n).encode() for n in range(100)]
        large = bytes(range(256)) * 4096
        for at in range(0, len(large), 2**18):
            last = at + 2**18 == len(large)
            assert page.send(1, large[at:at + 2**18], BINARY if last else PIECE) == 204
        assert page.next(BINARY) == (BINARY, 1, large)
        for _ in range(9): assert page.send(1, bytes(2**18), PIECE) == 204
        assert page.next(CLOSE) == (CLOSE, 1, b'\x03\xf1' + b'a message has more than 2097152 bytes') # 1009
        assert page.open(2, '/echo') == 101 and page.next() == (OPENED, 2, b'')
        assert page.send(2, b'\xff', TEXT) == 204
        assert page.next()[:2] == (CLOSE, 2)
        assert page.open(3, '/nothing') == 404
        assert page.open(4, '/who') == 101


def test_nobody_else_speaks_on_a_line() -> None:
    with live(echo()) as server, Client(server.server.url, origin=server.server.url) as page:
        assert page.open(1, '/echo') == 101
        page.next()
        evil = {'origin': 'http://evil.example', 'sec-fetch-site': 'cross-site'}
        for query in ('', 'open=2&url=/echo', 'up=0&down=0', 'down=0', 'down=0&stream=1', 'end'):
            assert page.post(query, **evil).status_code == 403, query
            assert page.post(query, host='rebound.example').status_code == 403, query
        # The name alone is not enough: another browser has no such cookie, or another one
        for cookies in ({}, {'nbws-line': 'x' * 32}):
            with httpx.Client(base_url=server.server.url, trust_env=False, cookies=cookies) as other:
                for query in ('open=2&url=/echo', 'up=0&down=0', 'down=0', 'end'):
                    fields = {'nbws-line': page.name, 'origin': server.server.url}
                    assert other.post(f'/_nbws/line?{query}', headers=fields).status_code == 404, query
        assert page.post('down=0', **{'nbws-line': page.name[:-1]}).status_code == 404
        assert page.http.get('/_nbws/line').status_code == 405
        assert page.send(1, 'mine') == 204 and page.next() == (TEXT, 1, b'mine')


def test_a_handshake_is_the_visitors() -> None:
    "Its session, its cookies, the app's guards, and cookies that the answer sets."
    def guard(request: Any, session: Any) -> str | None:
        return 'no' if request.path == '/guarded' and not session.get('name') else None

    app = echo(before=guard)

    @app.ws('/guarded')
    async def guarded(websocket: Any) -> None:
        await websocket.accept(headers=[('set-cookie', 'seen=1')])
        assert 'nbws-line' not in websocket.cookies and websocket.headers['origin'] == 'http://localhost'
        async for message in websocket: await websocket.send(f'{message} {websocket.cookies.get("own")}')

    with live(app) as server, Client(server.server.url, origin='http://localhost', host='localhost') as page:
        assert page.open(1, '/guarded') == 200 # The guard's answer, which is no socket
        page.http.get('/')
        page.http.cookies.set('own', 'x')
        assert page.open(2, '/guarded') == 101 and page.http.cookies['seen'] == '1'
        assert page.next() == (OPENED, 2, b'')
        page.send(2, 'hello')
        assert page.next() == (TEXT, 2, b'hello x')
        assert page.open(3, '/who') == 101 and page.next() == (OPENED, 3, b'')
        page.send(3, json.dumps({'msg': 'there'}))
        assert page.next() == (TEXT, 3, b'ann there')


def test_a_page_that_does_not_read_holds_little() -> None:
    "An endless sender waits; when the page reads again, nothing is missing."
    app, sent = App(), [0]

    @app.ws('/flood')
    async def flood(websocket: Any) -> None:
        async for _ in websocket:
            for n in range(3000):
                await websocket.send(n.to_bytes(4, 'big') * 512)
                sent[0] = n + 1

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/flood') == 101 and page.next() == (OPENED, 1, b'')
        page.send(1, 'go')
        until(lambda: sent[0] > 30)
        conn = held(server).sockets[1]
        for _ in range(50): server.wait(asyncio.sleep(0))
        assert conn.buffered < 2**17 and sent[0] < 100
        for n in range(3000):
            frame = page.next()
            assert frame.data == n.to_bytes(4, 'big') * 512
            assert conn.buffered < 2**20


def test_a_busy_handler_holds_little() -> None:
    "The page is told to pause; one that goes on is refused, and nothing is lost or out of order."
    app, go, seen = App(), threading.Event(), []

    @app.ws('/slow')
    def slow(data: bytes) -> None:
        go.wait(BOUND)
        seen.append(data[:4])

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/slow') == 101 and page.next() == (OPENED, 1, b'')
        sent, status = 0, 204
        while status == 204 and sent < 200:
            status = page.send(1, sent.to_bytes(4, 'big') * 2**14)
            sent += status == 204
        assert status == 503 and sent < 60
        assert page.next() == (PAUSE, 1, b'')
        assert held(server).held < 2**21
        go.set()
        assert page.next() == (RESUME, 1, b'')
        until(lambda: page.send(1, b'last') == 204)
        until(lambda: len(seen) == sent + 1)
        assert seen == [*(n.to_bytes(4, 'big') for n in range(sent)), b'last']


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    with live(echo()) as server, Client(server.server.url) as page:
        assert [page.open(1, '/echo') for _ in range(2)] == [101, 101]
        up = line_frame(TEXT, 1, b'once')
        assert [page.post('up=0&down=0', up).status_code for _ in range(2)] == [204, 204]
        page.sent = len(up)
        down = line_frame(OPENED, 1) + line_frame(TEXT, 1, b'once')
        until(lambda: page.post('down=0').content == down)
        assert page.post('down=5').content == down[5:]
        assert page.send(1, 'again') == 204
        page.got = len(down)
        assert page.next() == (TEXT, 1, b'again')
        assert page.post('down=3').status_code == 409 # It has said that it has this
        assert page.send(1, 'x') == 404


def test_a_handler_is_replaced_under_a_line() -> None:
    app = App()

    @app.ws('/')
    async def first(msg: str) -> str: return f'first {msg}'

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/') == 101 and page.next() == (OPENED, 1, b'')
        page.send(1, '{"msg": "a"}')
        assert page.next().data == b'first a'

        @app.ws('/')
        async def second(msg: str) -> str: return f'second {msg}'

        page.send(1, '{"msg": "b"}')
        assert page.next().data == b'second b'

        new = App()

        @new.ws('/')
        async def third(msg: str) -> str: return f'third {msg}'

        server.wait(replace(server.server, new))
        page.send(1, '{"msg": "c"}')
        assert page.next().data == b'third c'


def test_a_silent_page_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_sockets, 'SILENT', .2)
    app, told = App(), []

    @app.ws('/')
    async def talk(websocket: Any) -> None:
        try:
            while True: await websocket.receive()
        except WebSocketDisconnect as e: told.append(e.code)

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/') == 101 and page.next() == (OPENED, 1, b'')
        until(lambda: told)
        assert told == [1006] and not server.app.sockets
        assert page.post('down=0').status_code == 404
        with Client(server.server.url) as other:
            assert other.open(1, '/') == 101
            other.post('end')
            until(lambda: len(told) == 2)
            assert told == [1006, 1001]


@pytest.mark.parametrize('stream', [False, True])
def test_a_server_that_stops_says_so(stream: bool) -> None:
    with live(echo()) as server, Client(server.server.url) as page:
        assert page.open(1, '/echo') == 101 and page.next() == (OPENED, 1, b'')
        query = f'down={page.got}' + '&stream=1' * stream
        fields = {'nbws-line': page.name}
        streamed = page.http.stream('POST', f'/_nbws/line?{query}', headers=fields)
        with streamed if stream else Polling(page, query) as answer:
            pieces = answer.iter_raw()
            if stream: assert next(pieces) == line_frame(NOTHING)
            else: until(lambda: held(server).silence._present)
            stopping = threading.Thread(target=server.server.stop)
            stopping.start()
            rest = b''.join(pieces)
            stopping.join(BOUND)
            assert rest == line_frame(CLOSE, 1, b'\x03\xf4the server stops') # 1012


class Polling:
    "A long poll that waits for its answer in another thread."
    def __init__(self, page: Client, query: str) -> None:
        def ask() -> None: self.content = page.post(query).content
        self.thread = threading.Thread(target=ask)

    def __enter__(self) -> Polling:
        self.thread.start()
        return self

    def iter_raw(self) -> Iterator[bytes]:
        self.thread.join(BOUND)
        yield self.content

    def __exit__(self, *error: object) -> None: self.thread.join(BOUND)


def test_an_app_that_fails_is_told_as_ever(expect_log: ExpectLog) -> None:
    expect_log('ZeroDivisionError', times=2)
    expect_log('did not offer the subprotocol', times=1)
    app = App(debug=False)

    @app.ws('/fails')
    async def fails(msg: str) -> float: return 1 / 0

    @app.ws('/broken')
    async def broken(websocket: Any) -> float: return 1 / 0

    @app.ws('/chosen')
    async def chosen(websocket: Any) -> None:
        await websocket.accept('chat')
        async for _ in websocket: ...

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/broken') == 500 and page.open(2, '/chosen', 'x') == 500
        assert page.open(3, '/fails') == 101 and page.next() == (OPENED, 3, b'')
        page.send(3, '{"msg": "x"}')
        assert page.next() == (CLOSE, 3, b'\x03\xf3') # 1011


@pytest.mark.parametrize('server', ['nbws', 'uvicorn', 'hypercorn', 'granian'])
def test_under_each_server(server: str, tmp_path: Any) -> None:
    (tmp_path/'echo_app.py').write_text('''
from nbws import App
app = App()
@app.ws('/echo')
async def talk(websocket):
    async for message in websocket: await websocket.send(message)
''')
    with asgi_server(server, 'echo_app:app', tmp_path) as process, Client(f'http://127.0.0.1:{process.port}') as page:
        assert page.open(1, '/echo') == 101 and page.next() == (OPENED, 1, b'')
        for text in ('one', 'two'):
            page.send(1, text)
            assert page.next() == (TEXT, 1, text.encode())
        fields = {'nbws-line': page.name}
        with page.http.stream('POST', f'/_nbws/line?down={page.got}&stream=1', headers=fields) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == line_frame(NOTHING)
            with httpx.Client(base_url=page.http.base_url, cookies=page.http.cookies, timeout=BOUND,
                              trust_env=False) as another:
                body = line_frame(TEXT, 1, b'streamed')
                another.post(f'/_nbws/line?up={page.sent}&down={page.got}', content=body, headers=fields)
            assert next(pieces) == line_frame(TEXT, 1, b'streamed')
        assert page.post('end').status_code == 204


def test_sockets_that_come_and_go_unread_are_bounded() -> None:
    "What waits for a page that reads nothing stays, also of sockets that have ended: then no socket is opened."
    app = App()

    @app.ws('/greets')
    async def greets(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send(bytes(2**19))

    with live(app) as server, Client(server.server.url) as page:
        opened = 0
        while page.open(opened + 1, '/greets') == 101 and opened < 30:
            opened += 1
            conn = held(server).sockets[opened]
            until(partial(lambda conn: conn.buffered > 2**18, conn))
            assert page.send(opened, b'', CLOSE) == 204 and not held(server).sockets
        assert 1 < opened < 10 and held(server).down.size < 2**22
        while sum(told.kind == CLOSE for told in page.waiting) < opened: page.waiting += page.poll()
        page.post(f'up=0&down={page.got}')
        assert held(server).down.size == 0 and page.open(99, '/greets') == 101


def test_frames_without_data_cost_what_they_weigh() -> None:
    app, go = App(), threading.Event()

    @app.ws('/slow')
    def slow(data: bytes) -> None: go.wait(BOUND)

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/slow') == 101 and page.next() == (OPENED, 1, b'')
        tiny = line_frame(BINARY, 1) * 10_000
        assert page.post('up=0&down=0', tiny).status_code == 204
        assert held(server).held > 10 * len(tiny)
        assert page.post(f'up={len(tiny)}&down=0', tiny).status_code == 503
        go.set()
        page.post('end')
        until(lambda: not server.app.sockets)
    with live(echo()) as server, Client(server.server.url) as page:
        assert page.open(1, '/echo') == 101 and page.next() == (OPENED, 1, b'')
        empty = line_frame(PIECE, 1) * 10_000
        for n in range(5): assert page.post(f'up={n * len(empty)}&down=0', empty).status_code == 204
        kept = vars(held(server).sockets[1].input).values()
        assert sum(len(each) for each in kept if isinstance(each, Sized)) < 100
        page.sent = 5 * len(empty)
        assert page.send(1, 'x') == 204 and page.next() == (TEXT, 1, b'x')


def test_frames_of_one_body_are_few_enough_for_others_to_be_answered_soon() -> None:
    app, counted = App(), []

    @app.ws('/count')
    async def count(data: bytes) -> None: counted.append(1)

    with live(app) as server, Client(server.server.url) as page:
        assert page.open(1, '/count') == 101 and page.next() == (OPENED, 1, b'')
        many = line_frame(BINARY, 1) * 10_000
        assert page.post('up=0&down=0', many).status_code == 204
        until(lambda: len(counted) == 10_000)
        assert page.post(f'up={len(many)}&down=0', many * 3).status_code == 400


@pytest.mark.parametrize('query', ['url=/echo&protocols=a%0d%0ax-evil:%201', 'url=/echo&protocols=%E2%82%AC',
                                   'url=/echo&protocols=a%20b', 'url=/a%0d%0ab', 'url=/%E2%82%AC', 'url=http://x/'])
def test_a_handshake_that_no_browser_makes(query: str) -> None:
    with live(echo()) as server, Client(server.server.url) as page:
        assert page.post(f'open=1&{query}').status_code == 400


def test_a_browsers_cookie_is_believed_only_where_it_can_be_ours() -> None:
    with live(echo()) as server:
        for cookie in ('"\\015\\012x"', '\xe9', 'x' * 4000, ''):
            fields = [(b'cookie', f'nbws-line={cookie}'.encode('latin-1'))]
            answer = httpx.post(f'{server.server.url}/_nbws/line', headers=fields, trust_env=False)
            assert answer.status_code == 200
            assert len(answer.headers['set-cookie']) < 200


def test_as_many_sockets_as_a_server_may_have() -> None:
    with live(echo(), limits=Limits(max_connections=8)) as server, Client(server.server.url) as page:
        assert [page.open(n, '/echo') for n in range(1, 11)] == [101] * 8 + [503] * 2


def test_an_event_stream_over_a_line() -> None:
    "What the layers answer to a handshake, they answer here."
    app = App()

    @app.get('/events')
    async def events() -> Any:
        async def said() -> Any: yield 'data: x\n\n'
        return Response(said(), headers={'content-type': 'text/event-stream'})

    with live(app) as server, Client(server.server.url) as page:
        with server.ws('/_nbws/events?url=/events') as ws: assert ws.recv(BOUND) == 'open'
        assert page.open(1, '/_nbws/events?url=/events') == 101
        assert page.next() == (OPENED, 1, b'') and page.next() == (TEXT, 1, b'open')


def test_several_workers_without_sticky_sessions_are_told(expect_log: ExpectLog) -> None:
    expect_log('sticky sessions', times=2) # One of each server
    with live(echo()) as one, live(echo()) as other:
        for each in (one, other): each.server.layers._lines._began -= 10
        for began, asked in ((one, other), (other, one)):
            with Client(began.server.url) as page:
                page.http.base_url = asked.server.url
                assert page.post('down=0').status_code == 404
        with Client(one.server.url) as page: # Ended here: that is nobody's fault
            page.post('end')
            assert page.post('down=0').status_code == 404


@pytest.mark.parametrize('stream', [False, True])
def test_another_server_that_stops_waits_for_no_page(stream: bool, tmp_path: Any) -> None:
    "uvicorn waits for answers before it tells the app that it stops; the pages' are short under it."
    (tmp_path/'quiet_app.py').write_text('from nbws import App\napp = App()\n@app.ws("/")\nasync def talk(websocket):\n'
                                         '    async for message in websocket: ...\n')
    with asgi_server('uvicorn', 'quiet_app:app', tmp_path) as process, \
            Client(f'http://127.0.0.1:{process.port}') as page:
        assert page.open(1, '/') == 101 and page.next() == (OPENED, 1, b'')
        query, fields = f'down={page.got}' + '&stream=1' * stream, {'nbws-line': page.name}
        began = time.monotonic()
        if stream:
            with page.http.stream('POST', f'/_nbws/line?{query}', headers=fields) as answer:
                assert b''.join(answer.iter_raw()) == line_frame(NOTHING)
        else: assert page.post(query).content == b''
        assert time.monotonic() - began < 15 # Not 20, and 25
