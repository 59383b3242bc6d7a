"""Event streams over sockets: of every kind of app, for who may have the stream and for nobody else."""
from __future__ import annotations

import threading
from typing import Any

import pytest
from live import BOUND, ended, live
from websockets.exceptions import InvalidStatus

from nbws.app import App
from nbws.common import EventStream
from nbws.adapters.detect import as_app
from nbws.core.errors import HTTPException

URL = '/_nbws/events?url='


def test_a_stream_is_asked_for_as_the_visitor_would() -> None:
    app, left = App(), threading.Event()
    async def tell(request: Any) -> Any:
        try:
            yield f'data: {request.cookies["who"]} {request.query_params["n"]} {request.headers["accept"]}\n\n'
            for piece in b'data: \xc3', b'\xa9\n\n': yield piece
        finally: left.set()
    @app.get('/stream')
    def stream(request: Any) -> Any: return EventStream(tell(request))
    with live(app) as c:
        ws = c.ws(URL + '%2Fstream%3Fn%3D5', additional_headers={'Cookie': 'who=ann'})
        assert ws.recv(BOUND) == 'open'
        assert ws.recv(BOUND) == b'data: ann 5 text/event-stream\n\n'
        assert [ws.recv(BOUND), ws.recv(BOUND)] == [b'data: \xc3', b'\xa9\n\n'] # As it is cut
        ws.close()
        assert left.wait(BOUND)


@pytest.mark.parametrize(('path', 'reason'), [('/none', '404'), ('/page', '200 text/html; charset'), ('/no', '403')])
def test_what_is_no_stream_does_not_pass(path: str, reason: str) -> None:
    app = App()
    @app.get('/page')
    def page() -> str: return 'secret'
    @app.get('/no')
    def no() -> None: raise HTTPException(403)
    with live(app) as c:
        code, told = ended(c.ws(URL + path))
        assert code == 4204
        assert told.startswith(reason)


def test_other_sites_may_not_ask() -> None:
    app = App()
    @app.get('/stream')
    def stream() -> Any: raise AssertionError('it was asked')
    with live(app) as c:
        with pytest.raises(InvalidStatus) as refused: c.ws(URL + '/stream', origin='http://evil.example')
        assert refused.value.response.status_code == 403


def test_a_client_that_does_not_read_holds_the_stream_back() -> None:
    made = []
    app = App()
    async def much() -> Any:
        for n in range(1000):
            made.append(n)
            yield b'x' * 65536
    @app.get('/much')
    def stream() -> Any: return EventStream(much())
    with live(app) as c:
        ws = c.ws(URL + '/much', max_size=None, max_queue=1)
        assert ws.recv(BOUND) == 'open'
        for _ in range(10): ws.recv(BOUND)
        assert len(made) < 500
        for _ in range(990): ws.recv(BOUND)
        assert ended(ws) == (1000, 'the stream has ended')


def test_of_another_framework() -> None:
    async def theirs(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] != 'http': return
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]})
        await send({'type': 'http.response.body', 'body': b'data: 1\n\n'})
    with live(as_app(theirs)) as c:
        ws = c.ws(URL + '/')
        assert [ws.recv(BOUND), ws.recv(BOUND)] == ['open', b'data: 1\n\n']
        assert ended(ws)[0] == 1000
