"""Text that is no text, and header fields beyond latin-1: mended where it enters, refused where it is said."""
from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from logs import ExpectLog
from live import BOUND, live

from nbws.app import App
from nbws.transports.asgi import asgi
from nbws.common import EventStream, HtmxResponseHeaders, Redirect, sse_message
from nbws.web.responses import FtResponse
from nbws.core.html import P
from nbws.core.errors import HTTPException
from nbws.core.response import JSONResponse, PlainTextResponse, RedirectResponse, Response
from nbws.testing import Client
from nbws.tremolo import Tremolo
from nbws.sockets.workers import Workers

HALF = '\ud83d'
REFUSED = 'half a surrogate pair is no character'


# Text

def test_half_a_surrogate_pair_in_a_room_with_history() -> None:
    "It was in the history, and every newcomer was closed with 1011."
    app = App()
    room = app.room('all', history=10)
    @app.ws('/', conn=room.join)
    async def ws(msg: str, more: dict[str, Any] | None = None) -> None: await room.send(P(msg, str(more)))
    with live(app) as c:
        ann = c.ws()
        ann.send(r'{"msg": "cut \ud83d", "more": {"\ude00": ["\\ud83d\ud83d", "\ud83d\ude00"]}}')
        said = "<p>cut \ufffd{'\ufffd': ['\\\\ud83d\ufffd', '😀']}</p>"
        assert ann.recv(BOUND) == said
        with c.ws() as bob: assert bob.recv(BOUND) == said
        ann.send('{"msg": "alive"}')
        assert ann.recv(BOUND) == '<p>aliveNone</p>'


@pytest.mark.parametrize('from_thread', [False, True])
def test_what_cannot_be_sent_is_refused_before_others_see_it(from_thread: bool, expect_log: ExpectLog) -> None:
    "In the room, to one socket, on the loop and from a thread: the handler that says it gets the error."
    app = App(debug=True)
    room = app.room('all', history=10)
    errors: list[str] = []
    def say(ws: Any, msg: str) -> None:
        for send in (room.send, ws.send):
            try: send(msg + HALF)
            except UnicodeEncodeError as e: errors.append(str(e))
        room.send('fine')
    if from_thread:
        @app.ws('/', conn=room.join)
        def sync_handler(ws: Any, msg: str) -> None: say(ws, msg)
    else:
        @app.ws('/', conn=room.join)
        async def handler(ws: Any, msg: str) -> None: say(ws, msg)
    with live(app) as c:
        ann, bob = c.ws(), c.ws()
        ann.send('{"msg": "é"}')
        assert [x.recv(BOUND) for x in (ann, bob)] == ['fine', 'fine']
        with c.ws() as cem: assert cem.recv(BOUND) == 'fine'
    assert len(errors) == 2
    assert REFUSED in errors[0]


def test_a_handler_that_returns_what_cannot_be_sent(expect_log: ExpectLog) -> None:
    expect_log('UnicodeEncodeError')
    app = App(debug=True)
    @app.ws('/')
    def ws(n: int) -> Any: return P(HALF) if n else P('fine')
    with live(app) as c, c.ws() as ann:
        for n in 1, 0: ann.send(f'{{"n": {n}}}')
        assert ann.recv(BOUND) == '<p>fine</p>'
    assert len(app.log) == 1


def test_json_bodies() -> None:
    app = App()
    @app.post('/fields')
    def fields(msg: str) -> Any: return {'got': msg}
    @app.post('/raw')
    async def raw(request: Any) -> Any: return JSONResponse(await request.json())
    with live(app) as c:
        for path in '/fields', '/raw':
            reply = c.post(path, content=rb'{"msg": "cut \uD83D"}', headers={'content-type': 'application/json'})
            assert (reply.status_code, '\ufffd' in reply.text) == (200, True)
        # As bytes it is no UTF-8, so no JSON
        assert c.post('/raw', content=b'{"msg": "\xed\xa0\xbd"}').status_code == 400


def test_half_a_pair_comes_in_by_no_other_way() -> None:
    "As bytes it is no UTF-8: in a path, a query, a form, an upload's name, a cookie."
    app = App()
    @app.route('/{word}', methods=['get', 'post'])
    async def all_of_it(request: Any, word: str) -> Any:
        form = await request.form()
        files = [f.filename for f in form.values() if hasattr(f, 'filename')]
        return JSONResponse([word, *request.query_params.values(), *files, *(v for v in form.values() if v not in files
                             and isinstance(v, str)), *request.cookies.values()])
    half = '%ED%A0%BD'
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="\xed\xa0\xbd"\r\n\r\nx\r\n--x--\r\n'
    with live(app) as c:
        for kind, content in (('application/x-www-form-urlencoded', f'a={half}'.encode()),
                              ('multipart/form-data; boundary=x', part)):
            reply = c.post(f'/{half}?q={half}', content=content, headers={'content-type': kind, 'cookie': f'c={half}'})
            assert reply.status_code == 200
            assert [set(value) for value in reply.json()] == [{'\ufffd'}] * 4


def test_events(expect_log: ExpectLog) -> None:
    "The generator gets the error at its own line."
    app = App()
    @app.get('/')
    def events() -> Any:
        def each() -> Any:
            yield sse_message('one')
            try: yield sse_message(P(HALF))
            except UnicodeEncodeError: yield sse_message('two')
        return EventStream(each())
    with live(app) as c: assert c.get().text == 'data: one\n\ndata: two\n\n'


@pytest.mark.parametrize('path', ['/page', '/error', '/refusal'])
def test_pages_and_errors_with_half_a_pair(path: str, expect_log: ExpectLog) -> None:
    app = App(debug=True)
    @app.get('/page')
    def page() -> Any: return P(HALF)
    @app.get('/error')
    def error() -> Any: raise KeyError(f'no {HALF} é')
    @app.get('/refusal')
    def refusal() -> Any: raise HTTPException(404, f'no {HALF} é')
    if path != '/refusal': expect_log('UnicodeEncodeError' if path == '/page' else 'KeyError', times=1)
    with live(app) as c:
        reply = c.get(path)
        assert reply.status_code == (404 if path == '/refusal' else 500)
        if path != '/page': assert r'no \ud83d é' in reply.text.replace('\\\\', '\\')
    assert 'ud83d' in str(app.log) or path == '/refusal'


# Header fields

FIELDS = {
    '/redirect': ('location', '/user/%D0%96?q=%C3%A9#%D0%96'),
    '/tremolo': ('location', '/user/%D0%96'),
    '/response': ('location', '/user/%D0%96'),
    '/answer': ('location', '/user/%D0%96'),
    '/appended': ('location', '/user/%D0%96'),
    '/raised': ('location', '/user/%C3%A9'),
    '/trigger': ('hx-trigger', r'{"say": {"text": "\u0416 \ud83d\ude00"}}'),
    '/event': ('hx-trigger', r'{"\u0416": null, "b": null}'),
    '/ft': ('hx-push-url', '/%D0%96'),
    '/htmx': ('hx-location', r'{"path": "/\u0416"}'),
    '/latin': ('x-name', 'é'),
}


def with_fields() -> App:
    app = App()
    @app.get('/redirect')
    def redirect() -> Any: return Redirect('/user/Ж?q=é#Ж')
    @app.get('/response')
    def response() -> Any: return RedirectResponse('/user/Ж')
    @app.get('/answer')
    def answer() -> Any: return Response(b'', 303, {'Location': '/user/Ж'})
    @app.get('/appended')
    def appended() -> Any:
        response = Response(b'', 303)
        response.headers.append(('location', '/user/Ж'))
        return response
    @app.get('/raised')
    def raised() -> Any: raise HTTPException(401, headers={'Location': '/user/é'})
    @app.get('/trigger')
    def trigger() -> Any: return P('x'), HtmxResponseHeaders(trigger=json.dumps({'say': {'text': 'Ж 😀'}}))
    @app.get('/event')
    def event() -> Any: return P('x'), HtmxResponseHeaders(trigger='Ж, b')
    @app.get('/ft')
    def ft() -> Any: return FtResponse(P('x'), headers={'HX-Push-Url': '/Ж'})
    @app.get('/htmx')
    def htmx() -> Any: return HtmxResponseHeaders(location='{"path": "/Ж"}')
    @app.get('/latin')
    def latin() -> Any: return PlainTextResponse('x', headers={'X-Name': 'é'})
    @app.get('/other')
    def other() -> Any: return PlainTextResponse('x', headers={'X-Name': 'Ж'})
    theirs = Tremolo('fields')
    @theirs.route('/')
    async def goes(response: Any, **_: Any) -> None: raise response.redirect('/user/Ж')
    app.mount('/tremolo', theirs)
    return app


def by_asgi(app: Any, path: str) -> list[Any]:
    "What an app of ours sends to a foreign server."
    sent: list[Any] = []
    body = [{'type': 'http.request', 'body': b''}]
    async def receive() -> Any: return body.pop() if body else await asyncio.Event().wait() # The client stays
    async def send(message: Any) -> None: sent.append(message)
    scope = {'type': 'http', 'method': 'GET', 'path': path, 'headers': [(b'host', b'localhost')], 'query_string': b''}
    async def run() -> None:
        await asgi(app, scope, receive, send)
        await Workers.here().close()
    asyncio.run(run())
    return sent


def test_header_fields_beyond_ascii(expect_log: ExpectLog) -> None:
    "A URL is percent-encoded, htmx's JSON is escaped: both as browsers read them. Own server, ASGI, test client."
    with live(with_fields()) as c, Client(with_fields()) as client:
        for path, (name, value) in FIELDS.items():
            where = path + '/' if path == '/tremolo' else path
            assert c.get(where, follow_redirects=False).headers[name] == value, path
            assert client.get(where).headers[name] == value, path
            if path == '/tremolo': continue
            (start, *_) = by_asgi(with_fields(), where)
            assert dict(start['headers'])[name.encode()].decode('latin-1') == value, path
        found = c.get('/redirect', headers={'HX-Request': 'true'})
        assert found.headers['hx-redirect'] == FIELDS['/redirect'][1]


def test_other_fields_are_refused_where_they_are_said(expect_log: ExpectLog) -> None:
    expect_log("the header field X-Name cannot carry 'Ж'.*Percent-encode it", times=1)
    app = with_fields()
    with live(app) as c: assert c.get('/other').status_code == 500
    assert 'other' in str(app.log) # The handler's own error


BROKEN = {'/htmx': lambda: (P('x'), HtmxResponseHeaders(trigger='a\r\nx-own: b')), # type: ignore[no-untyped-call]
          '/answer': lambda: PlainTextResponse('x', headers={'X-Name': 'a\nb'}),
          '/ft': lambda: FtResponse(P('x'), headers={'HX-Push-Url': '/a\r\n'})}


@pytest.mark.parametrize('path', [*BROKEN, '/appended'])
def test_a_line_break_in_a_field_is_refused(path: str, expect_log: ExpectLog) -> None:
    "A visitor's text begins no field, and there is an answer: under uvicorn the connection ended without one."
    expect_log('contains a line break')
    app = App()
    @app.get('/appended')
    def appended() -> Any:
        response = PlainTextResponse('x')
        response.headers.append(('x-name', 'a\r\nx-own: b'))
        return response
    for at, handler in BROKEN.items(): app.get(at)(handler)
    with live(app) as c: answer = c.get(path)
    (start, *_) = by_asgi(app, path)
    assert (answer.status_code, start['status']) == (500, 500)
    assert 'x-own' not in answer.headers
    assert b'x-own' not in dict(start['headers'])
    if path != '/appended': assert 'contains a line break' in str(app.log) # The handler's own error
