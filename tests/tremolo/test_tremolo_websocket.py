"""Sockets of Tremolo's style: messages, ends, and close codes."""
from __future__ import annotations

import threading

import pytest
import raw
from live import BOUND, ended, live
from logs import ExpectLog
from websockets.exceptions import InvalidStatus

from nbws.server.limits import Limits
from nbws.tremolo import Tremolo, exceptions
from nbws.tremolo.exceptions import WebSocketClientClosed, WebSocketServerClosed


def test_receive_and_send() -> None:
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


def test_ping_and_pong_on_the_wire() -> None:
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


def test_iteration_accepts_and_ends_quietly() -> None:
    app, done = Tremolo(), threading.Event()
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


def test_receive_tells_that_the_client_has_left() -> None:
    app, codes, done = Tremolo(), [], threading.Event()
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


def test_receive_timeout() -> None:
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


def test_silence_is_pinged_at_the_half_and_closed_at_the_whole(hybrid: Tremolo) -> None:
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
def test_codes(hybrid: Tremolo, frames: bytes, code: int) -> None:
    with raw.serving(hybrid, limits=Limits(max_message=1000)) as server, raw.Raw(server) as client:
        client.open()
        client.send(frames)
        opcode, payload = client.frame()[1:]
        assert (opcode, raw.close_code(payload)[0]) == (raw.CLOSE, code)


def test_the_message_limit_is_two_mebibytes() -> None:
    from nbws.tremolo.options import limits, settled
    assert limits(settled({})).max_message == limits(settled({})).max_body == 2 * 1024 * 1024


def test_every_end_has_a_close_frame(expect_log: ExpectLog) -> None:
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


def test_a_ping_between_fragments_is_answered(hybrid: Tremolo) -> None:
    with raw.serving(hybrid) as server, raw.Raw(server) as client:
        client.open()
        client.send(raw.frame(raw.TEXT, 'a', fin=False) + raw.frame(raw.PING, 'p') + raw.frame(raw.CONT, 'b'))
        assert client.frame()[1:] == (raw.PONG, b'p')
        assert client.frame()[1:] == (raw.TEXT, b'You said: ab')


def test_a_foreign_origin_is_refused(hybrid: Tremolo) -> None:
    with live(hybrid) as c:
        with pytest.raises(InvalidStatus) as e: c.ws(origin='http://evil.example')
        assert e.value.response.status_code == 403
        c.ws(origin=c.server.url)


def test_a_socket_goes_on_with_the_new_handler(hybrid: Tremolo) -> None:
    with live(hybrid) as c:
        ws = c.ws()
        ws.send('a')
        assert ws.recv(BOUND) == 'You said: a'
        @hybrid.route('/')
        async def louder(websocket=None, **_):
            async for message in websocket: await websocket.send(message.upper())
        ws.send('b')
        assert ws.recv(BOUND) == 'B'


def test_socket_exceptions(expect_log: ExpectLog) -> None:
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
