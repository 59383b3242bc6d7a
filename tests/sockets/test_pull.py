"""Handlers that take `websocket` in plain nbws routes: they accept, receive and send themselves."""
from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import raw
from live import BOUND, Live, ended, live
from logs import ExpectLog
from websockets.exceptions import InvalidStatus

from nbws.app import App
from nbws.core.html import P
from nbws.core.errors import HTTPException, SignatureError
from nbws.core.messages import WebSocketDisconnect
from nbws.core.response import PlainTextResponse


def refused(c: Live, path: str = '/', **options: Any) -> tuple[int, str]:
    "The answer to a handshake that is not accepted."
    with pytest.raises(InvalidStatus) as e: c.ws(path, **options)
    return e.value.response.status_code, e.value.response.body.decode()


# Both of one handler

def test_hybrid() -> None:
    "A GET route whose handler takes `websocket` answers the page with None and serves the socket."
    app = App()
    @app.get('/')
    async def both(websocket: Any, request: Any) -> Any:
        if websocket is None: return PlainTextResponse(f'page at {request.path}')
        await websocket.accept()
        await websocket.send(await websocket.receive())
    with live(app) as c:
        assert c.get().text == 'page at /'
        ws = c.ws()
        ws.send('hi')
        assert ws.recv(BOUND) == 'hi'
        assert ended(ws) == (1000, '')


def test_ws_routes_can_pull() -> None:
    "With parameters from the path and the query; the page below the same path asks for an upgrade."
    app = App()
    @app.ws('/ws/{room}')
    async def pull(websocket: Any, room: str, n: int = 0, session: Any = None) -> None:
        async for message in websocket: await websocket.send(P(f'{room} {n} {message}'))
    with live(app) as c:
        ws = c.ws('/ws/tea?n=3')
        ws.send('x')
        assert ws.recv(BOUND) == '<p>tea 3 x</p>'
        assert c.get('/ws/tea').status_code == 426


def test_signatures_that_cannot_work() -> None:
    app = App()
    with pytest.raises(SignatureError, match='has to be async'):
        @app.ws('/')
        def sync(websocket: Any) -> None: ...
    with pytest.raises(SignatureError, match='drop `conn`'):
        @app.ws('/', conn=lambda: None)
        async def both(websocket: Any) -> None: ...
    assert not app.routes


# Before accept

def test_answers_instead_of_a_socket(expect_log: ExpectLog) -> None:
    app = App()
    @app.ws('/{what}')
    async def gate(websocket: Any, what: str) -> Any:
        if what == 'returns': return P('no')
        if what == 'raises': raise HTTPException(401, 'who are you?')
        if what == 'breaks': raise KeyError('mine')
        return None
    expect_log("KeyError: 'mine'", 1)
    with live(app) as c:
        status, body = refused(c, '/returns')
        assert (status, '<p>no</p>' in body) == (200, True)
        assert refused(c, '/raises') == (401, '401 who are you?')
        assert refused(c, '/breaks') == (500, '500 Internal Server Error')
        assert refused(c, '/ends') == (403, '403 the handler did not accept the socket')


def test_yields_before_accept_are_the_answer(expect_log: ExpectLog) -> None:
    app, closed = App(), threading.Event()
    @app.get('/{what}')
    async def page(websocket: Any, what: str) -> Any:
        try:
            if what == 'raises': raise HTTPException(404)
            yield 'a'
            yield P('b')
            if what == 'breaks': raise KeyError('late')
        finally: closed.set()
    expect_log("KeyError: 'late'", 1)
    with live(app) as c:
        assert refused(c, '/ok') == (200, 'a<p>b</p>')
        assert c.get('/ok').text == 'a<p>b</p>'
        assert refused(c, '/raises')[0] == c.get('/raises').status_code == 404
        assert closed.is_set()
        with raw.Raw(c.server) as client, pytest.raises(EOFError): # The answer breaks off: no last chunk
            client.get(raw.handshake('/breaks'))


def test_yields_after_accept_go_to_the_socket() -> None:
    app, done = App(), threading.Event()
    @app.ws('/')
    async def count(websocket: Any) -> Any:
        try:
            await websocket.accept()
            n = 0
            while True:
                yield P(n)
                n += 1
                if await websocket.receive() == 'stop': break
        finally: done.set()
    with live(app) as c:
        ws = c.ws()
        assert ws.recv(BOUND) == '<p>0</p>'
        ws.send('on')
        assert ws.recv(BOUND) == '<p>1</p>'
        ws.send('stop')
        assert ended(ws) == (1000, '')
        assert done.is_set()
        done.clear()
        c.ws().close()
        assert done.wait(BOUND)


def test_the_handshake() -> None:
    "The handler chooses the subprotocol and adds header fields."
    app = App()
    @app.ws('/')
    async def chosen(websocket: Any) -> None:
        offered = websocket.request.subprotocols
        await websocket.accept(subprotocol=offered[-1] if offered else None, headers={'X-Mine': 'yes'})
        await websocket.accept() # Again is harmless
        await websocket.send('ok')
    with live(app) as c:
        ws = c.ws(subprotocols=['a', 'b'])
        assert (ws.subprotocol, ws.response.headers['x-mine'], ws.recv(BOUND)) == ('b', 'yes', 'ok')


def test_a_client_that_leaves_during_the_handshake() -> None:
    app, asked, left = App(), threading.Event(), []
    done = threading.Event()
    gate: list[asyncio.Event] = []
    @app.ws('/')
    async def slow(websocket: Any) -> None:
        gate.append(asyncio.Event())
        asked.set()
        await gate[0].wait()
        try: await websocket.accept()
        except WebSocketDisconnect as e: left.append(e.code)
        done.set()
    with live(app) as c:
        client = raw.Raw(c.server)
        client.send(raw.handshake('/'))
        assert asked.wait(BOUND)
        client.reset()
        async def gone() -> None:
            while c.server.connections: await asyncio.sleep(0)  # noqa: ASYNC110
        c.wait(gone())
        c.server.loop.call_soon_threadsafe(gate[0].set)
        assert done.wait(BOUND)
    assert left == [1006]


# After accept

@pytest.mark.parametrize('debug', [False, True])
def test_exceptions_close_with_1011(debug: bool, expect_log: ExpectLog) -> None:
    app = App(debug=debug)
    @app.ws('/')
    async def breaks(websocket: Any) -> None:
        await websocket.accept()
        raise KeyError('mine')
    expect_log("KeyError: 'mine'", 1)
    with live(app) as c: assert ended(c.ws())[0] == 1011
    assert app.routes[0].stats.errors == 1


def test_close_codes() -> None:
    "A handler hears how its socket ended: by itself, by a close frame, by a lost connection."
    app, codes, done = App(), [], threading.Event()
    @app.ws('/closes')
    async def closes(websocket: Any) -> None:
        await websocket.accept()
        await websocket.close(4001, 'enough')
        try: await websocket.receive()
        except WebSocketDisconnect as e: codes.append(e.code)
        done.set()
    @app.ws('/left')
    async def left(websocket: Any) -> None:
        try: await websocket.receive()
        except WebSocketDisconnect as e: codes.append((e.code, e.reason))
        try: await websocket.send('late')
        except WebSocketDisconnect as e: codes.append(e.code)
        done.set()
    with live(app) as c:
        assert ended(c.ws('/closes')) == (4001, 'enough')
        assert done.wait(BOUND)
        done.clear()
        c.ws('/left').close(4002, 'bye')
        assert done.wait(BOUND)
        done.clear()
        with raw.Raw(c.server) as client: # Without a close frame
            client.open('/left')
        assert done.wait(BOUND)
    assert codes == [4001, (4002, 'bye'), 4002, (1006, ''), 1006]


def test_receive_waits_no_longer_than_its_timeout() -> None:
    app = App()
    @app.ws('/')
    async def waits(websocket: Any) -> None:
        with pytest.raises(TimeoutError, match=r'no message within 0.01 s'): await websocket.receive(timeout=0.01)
        await websocket.send('silence')
        await websocket.send(await websocket.receive(timeout=BOUND))
    with live(app) as c:
        ws = c.ws()
        assert ws.recv(BOUND) == 'silence'
        ws.send(b'x')
        assert ws.recv(BOUND) == b'x'


def test_kinds_of_messages() -> None:
    "Text and bytes are converted to what the handler asks for."
    app = App()
    @app.ws('/')
    async def kinds(websocket: Any) -> None:
        await websocket.send(repr(await websocket.receive_text()))
        await websocket.send(repr(await websocket.receive_bytes()))
        await websocket.send(repr(await websocket.receive_json()))
        await websocket.send_json({'a': 1})
        await websocket.send_bytes(b'\0')
        await websocket.send_text('t')
        await websocket.send_text('') # Said on purpose; `send` leaves out what is empty, as a handler's answer is
        await websocket.send_bytes(b'')
    with live(app) as c:
        ws = c.ws()
        for message in (b'a', 'b', '[1]'): ws.send(message)
        assert [ws.recv(BOUND) for _ in range(8)] == ["'a'", "b'b'", '[1]', '{"a":1}', b'\0', 't', '', b'']


def test_only_one_task_receives() -> None:
    app = App()
    @app.ws('/')
    async def both(websocket: Any) -> None:
        await websocket.accept()
        first = asyncio.create_task(websocket.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match='another task waits'): await websocket.receive()
        await websocket.send('told')
        await websocket.send(await first)
    with live(app) as c:
        ws = c.ws()
        assert ws.recv(BOUND) == 'told'
        ws.send('x')
        assert ws.recv(BOUND) == 'x'


def test_a_client_that_does_not_read_stops_the_handler() -> None:
    app, sent, done = App(), [], threading.Event()
    @app.ws('/')
    async def floods(websocket: Any) -> None:
        try:
            await websocket.accept()
            for i in range(10_000):
                await websocket.send(b'x' * 65536)
                sent.append(i)
        finally: done.set()
    with live(app) as c:
        with raw.Raw(c.server, receive_buffer=4096) as client:
            client.open()
            async def stalled() -> None: # It waits for the client: several turns of the loop bring nothing more
                last = -1
                while last != len(sent):
                    last = len(sent)
                    for _ in range(200): await asyncio.sleep(0)
            c.wait(stalled())
            assert 0 < len(sent) < 1000
        assert done.wait(BOUND)


def test_a_busy_handler_gets_all_messages_in_order() -> None:
    app = App()
    @app.ws('/')
    async def slow(websocket: Any) -> None:
        async for message in websocket:
            await asyncio.sleep(0)
            await websocket.send(message)
    with live(app) as c:
        ws = c.ws()
        for i in range(500): ws.send(str(i))
        assert [ws.recv(BOUND) for _ in range(500)] == [str(i) for i in range(500)]


# Hand-over: the cell is run again

def echo(app: App, mark: str) -> None:
    @app.ws('/')
    async def handler(websocket: Any) -> None:
        async for message in websocket: await websocket.send(f'{mark}{message}')


def test_hand_over_under_load() -> None:
    app = App()
    echo(app, '0 ')
    with live(app) as c:
        sockets = [c.ws() for _ in range(5)]
        got: list[list[str]] = [[] for _ in sockets]
        def client(ws: Any, answers: list[str]) -> None:
            for i in range(200):
                ws.send(str(i))
                answers.append(str(ws.recv(BOUND)))
        threads = [threading.Thread(target=client, args=pair) for pair in zip(sockets, got, strict=True)]
        for t in threads: t.start()
        generation = 0
        while any(t.is_alive() for t in threads):
            generation += 1
            echo(app, f'{generation} ')
            threads[0].join(0.002)
        for t in threads: t.join(BOUND)
        for answers in got:
            assert [a.split()[1] for a in answers] == [str(i) for i in range(200)] # None lost, none twice
            marks = [int(a.split()[0]) for a in answers]
            assert marks == sorted(marks)
        echo(app, 'last ')
        for ws in sockets:
            ws.send('x')
            assert ws.recv(BOUND) == 'last x'


def test_hand_over_runs_finally_and_keeps_what_waits() -> None:
    app, log, started = App(), [], threading.Event()
    go: list[asyncio.Event] = []
    @app.ws('/')
    async def old(websocket: Any) -> None:
        try:
            await websocket.send('old ' + str(await websocket.receive()))
            go.append(asyncio.Event())
            started.set()
            await go[0].wait() # Busy: two messages come meanwhile
            await websocket.receive()
            log.append('never')
        finally: log.append('finally')
    with live(app) as c:
        ws = c.ws()
        ws.send('1')
        assert ws.recv(BOUND) == 'old 1'
        assert started.wait(BOUND)
        for message in ('2', '3'): ws.send(message)
        echo(app, 'new ')
        c.server.loop.call_soon_threadsafe(go[0].set)
        assert [ws.recv(BOUND) for _ in range(2)] == ['new 2', 'new 3']
    assert log == ['finally']


def test_hand_over_between_the_styles() -> None:
    app = App()
    echo(app, 'pull ')
    with live(app) as c:
        ws = c.ws()
        ws.send('a')
        assert ws.recv(BOUND) == 'pull a'
        @app.ws('/')
        def push(msg: str) -> str: return f'push {msg}'
        ws.send('{"msg": "b"}')
        assert ws.recv(BOUND) == 'push b'
        echo(app, 'pull ')
        ws.send('c')
        assert ws.recv(BOUND) == 'pull c'
        app.remove(app.routes)
        assert ended(ws) == (1012, 'the route is gone')


def test_stopping_the_server_ends_handlers() -> None:
    app, codes = App(), []
    @app.ws('/')
    async def waits(websocket: Any) -> None:
        try: await websocket.receive()
        except WebSocketDisconnect as e: codes.append(e.code)
    with live(app) as c:
        ws = c.ws()
        stop = threading.Thread(target=c.server.stop)
        stop.start()
        assert ended(ws)[0] == 1012
        stop.join(BOUND)
    assert codes == [1012]
