"""Starlette's objects where its users put them: known by their shape, and never ignored."""
from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.datastructures import FormData, UploadFile
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import (FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response,
                                 StreamingResponse)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from nbws import common
from nbws.common import FastHTML, P, fast_app, user_pwd_auth
from nbws.core.errors import OptionError
from nbws.server.listener import Server
from nbws.testing import Client, Refused


@pytest.fixture
def visit() -> Iterator[Callable[[Any], TestClient]]:
    "Starlette's client of an app, which it starts and ends."
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(TestClient(app, 'http://localhost'))


def asked(answer: Any, path: str = '/', **options: Any) -> Any:
    "What our client gets of an app whose one page returns what `answer` makes."
    app, rt = fast_app()
    rt('/')(answer)
    with Client(app) as client: return client.get(path, **options)


@pytest.mark.parametrize(('make', 'status', 'field', 'text'), [
    (lambda: PlainTextResponse('hi', 201, {'X-A': 'b'}), 201, ('x-a', 'b'), 'hi'),
    (lambda: JSONResponse({'a': [1]}), 200, ('content-type', 'application/json'), '{"a":[1]}'),
    (lambda: RedirectResponse('/b', 303), 303, ('location', '/b'), ''),
    (lambda: StreamingResponse(iter(['a', 'b']), media_type='text/x'), 200, ('content-type', 'text/x; charset=utf-8'),
     'ab'),
    (lambda: FileResponse(__file__, filename='own.py'), 200, ('content-disposition', 'attachment; filename="own.py"'),
     Path(__file__).read_text()),
    (lambda: FileResponse('no such file'), 404, ('content-type', 'text/plain; charset=utf-8'), '404 Not Found')])
def test_a_response_of_starlettes(make: Any, status: int, field: tuple[str, str], text: str) -> None:
    for answer in (make, None):
        reply = asked(answer) if answer else None
        if reply: assert (reply.status, reply.headers[field[0]], reply.text) == (status, field[1], text)


def test_a_class_of_its_own_that_answers_as_asgi_says() -> None:
    class Events(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            kind = (b'content-type', b'text/event-stream')
            await send({'type': 'http.response.start', 'status': 200, 'headers': [kind]})
            await send({'type': 'http.response.body', 'body': b'data: 1\n\n', 'more_body': True})
            await send({'type': 'http.response.body', 'body': scope['path_params']['n'].encode()})
    app = FastHTML()
    @app.get('/{n}')
    def get(n: str) -> Any: return Events()
    with Client(app) as client: assert client.get('/x').text == 'data: 1\n\nx'


def test_a_cookie_set_on_a_response_of_starlettes_and_the_session() -> None:
    app = FastHTML()
    @app.get('/')
    def get(session: Any) -> Any:
        session['n'] = 1
        response = PlainTextResponse('hi')
        response.set_cookie('a', 'b')
        return response
    with Client(app) as client:
        client.get('/')
        assert {'a', 'session_'} <= client.cookies.keys()


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize('alone', [False, True])
def test_tasks_run_when_the_answer_has_left(several: bool, alone: bool, visit: Any) -> None:
    ran: list[str] = []
    async def later(name: str) -> None: ran.append(name)
    def task() -> Any:
        if not several: return BackgroundTask(later, 'one')
        tasks = BackgroundTasks()
        for name in ('one', 'two'): tasks.add_task(later, name)
        return tasks
    app = FastHTML()
    @app.get('/')
    def get() -> Any: return task() if alone else (P('page'), task())
    reply = visit(app).get('/')
    assert reply.status_code == 200 and ('<p>page</p>' in reply.text) is not alone
    assert ran == (['one', 'two'] if several else ['one'])


def test_data_and_a_task(visit: Any) -> None:
    ran: list[int] = []
    app = FastHTML()
    @app.get('/')
    def get() -> Any: return {'done': False}, BackgroundTask(ran.append, 1)
    assert (visit(app).get('/').json(), ran) == ({'done': False}, [1])


def test_what_goes_on_behind_an_answer_has_a_second_when_the_app_ends() -> None:
    "It may use what the app has opened; and nothing of it is left then."
    heard: list[str] = []
    go = threading.Event()
    app = FastHTML()
    async def waits_for_ever() -> None:
        try: await asyncio.Event().wait()
        except asyncio.CancelledError: heard.append('cancelled')
    def in_a_thread() -> None:
        go.wait(BOUND)
        heard.append('has ended')
    @app.get('/{name}')
    def get(name: str) -> Any:
        return PlainTextResponse('hi', background=BackgroundTask(in_a_thread if name == 'short' else waits_for_ever))
    @app.on_shutdown
    def bye() -> None: heard.append('the app ends')
    with Client(app) as client:
        for name in ('short', 'long'): assert client.get(f'/{name}').text == 'hi'
        go.set()
    assert heard == ['has ended', 'cancelled', 'the app ends']


def test_its_exception_is_answered_with_its_status() -> None:
    def get() -> Any: raise HTTPException(418, 'short and stout', {'X-A': 'b'})
    reply = asked(get)
    assert (reply.status, reply.text, reply.headers['x-a']) == (418, '418 short and stout', 'b')
    for key in (418, HTTPException, common.HTTPException):
        app = FastHTML(exception_handlers={key: lambda req, exc: P(f'{exc.status_code} {exc.detail}')})
        app.get('/')(get)
        with Client(app) as client: assert '418 short and stout</p>' in client.get('/').text


def test_what_only_looks_like_such_an_exception_tells_the_visitor_nothing(expect_log: Any) -> None:
    expect_log('KeyError|APIStatusError|inner', times=1)
    class APIStatusError(Exception):
        status_code, detail = 401, 'inner secret'
    def get() -> Any: raise APIStatusError()
    assert asked(get).text == '500 Internal Server Error'


def test_its_classes_as_annotations() -> None:
    app = FastHTML(exts='ws')
    @app.post('/')
    async def post(r: Request, file: UploadFile, form: FormData, held: Starlette) -> Any:
        return [r.method, (await file.read()).decode(), form['n'], held is app]
    @app.ws('/ws')
    async def ws(self: Any, msg: str, w: WebSocket) -> Any:
        await w.send_text(f'{w.scope["type"]} {self}')
        return msg
    with Client(app) as client:
        assert client.post('/', data={'n': '1'}, files={'file': b'abc'}).json() == ['POST', 'abc', '1', True]
        with client.ws('/ws') as socket:
            socket.send_json({'msg': 'hi'})
            assert [socket.receive(), socket.receive()] == ['websocket None', 'hi']


# Middleware

class Guard:
    "Plain ASGI middleware, as a guard is one."
    def __init__(self, app: Any, word: str = 'open') -> None: self.app, self.word = app, word
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] in ('http', 'websocket') and self.word.encode() not in scope['query_string']:
            if scope['type'] == 'websocket': return await send({'type': 'websocket.close', 'code': 1008})
            return await PlainTextResponse('shut', 403)(scope, receive, send)
        await self.app(scope, receive, send)


def guarded(how: str) -> Any:
    app = FastHTML(middleware={'Middleware': [Middleware(Guard, word='open')], 'ours': common.Middleware(Guard),
                               'class': (Guard,), 'factory': [lambda app: Guard(app)]}.get(how, ()))
    if how == 'add_middleware': app.add_middleware(Guard, word='open')
    @app.get('/')
    def get() -> Any: return P('in')
    @app.ws('/ws')
    def ws(msg: str) -> str: return msg
    return app


@pytest.mark.parametrize('how', ['Middleware', 'ours', 'class', 'factory', 'add_middleware'])
def test_a_guard_stands_before_pages_sockets_and_what_is_not_there(how: str, visit: Any) -> None:
    app = guarded(how)
    with Client(app) as client:
        assert [client.get(p).status for p in ('/', '/none', '/_nbws/htmx.min.js')] == [403] * 3
        assert '<p>in</p>' in client.get('/', params={'k': 'open'}).text
        with pytest.raises(Refused), client.ws('/ws'): pass
        with client.ws('/ws?open') as socket:
            socket.send_json({'msg': 'hi'})
            assert socket.receive() == 'hi'
    under = visit(guarded(how)) # Under another ASGI server's way
    assert (under.get('/').status_code, under.get('/?open').status_code) == (403, 200)


def test_a_guard_stands_on_our_own_server_too() -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen
    with Server(guarded('Middleware'), port=0) as server:
        with pytest.raises(HTTPError, match='403'): urlopen(server.url, timeout=BOUND)
        assert b'<p>in</p>' in urlopen(server.url + '/?open', timeout=BOUND).read()


@pytest.mark.parametrize('wrong', [True, 'cors', [3], [None, Guard]])
def test_what_is_no_middleware_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match='is no middleware'): FastHTML(middleware=wrong)


def test_the_first_is_outermost_and_what_is_added_is_around_all(visit: Any) -> None:
    def named(name: str) -> Any:
        class Named(BaseHTTPMiddleware):
            async def dispatch(self, request: Any, call_next: Any) -> Any:
                response = await call_next(request)
                response.headers.append('x-by', name)
                return response
        return Named
    app = FastHTML(middleware=[Middleware(named('first')), Middleware(named('second'))])
    app.add_middleware(named('added'))
    @app.get('/')
    def get() -> Any: return P()
    assert visit(app).get('/').headers.get_list('x-by') == ['second', 'first', 'added']


def test_starlettes_own_middleware(visit: Any) -> None:
    class Everybody:
        async def authenticate(self, conn: Any) -> Any:
            from starlette.authentication import AuthCredentials, SimpleUser
            return AuthCredentials(['a']), SimpleUser('Ada')
    app = FastHTML(sess_cls=None, middleware=[
        Middleware(CORSMiddleware, allow_origins=['https://a.example']), Middleware(GZipMiddleware, minimum_size=1),
        Middleware(AuthenticationMiddleware, backend=Everybody()), Middleware(SessionMiddleware, secret_key='k' * 40)])
    @app.get('/')
    def get(request: Any, session: Any) -> Any:
        session['n'] = session.get('n', 0) + 1
        return f'{request.user.display_name} {session["n"]}'
    client = visit(app)
    replies = [client.get('/', headers={'origin': 'https://a.example'}) for _ in range(2)]
    assert [r.text for r in replies] == ['Ada 1', 'Ada 2']
    assert replies[0].headers['access-control-allow-origin'] == 'https://a.example'
    assert (replies[0].headers['content-encoding'], 'session' in client.cookies) == ('gzip', True)
    asking = {'origin': 'https://a.example', 'access-control-request-method': 'GET'}
    assert client.options('/', headers=asking).status_code == 200


def test_a_password(visit: Any) -> None:
    app = FastHTML(middleware=user_pwd_auth(ann='secret', skip=['/free']))
    @app.get('/')
    def get(auth: Any) -> Any: return auth
    @app.get('/free')
    def free() -> str: return 'free'
    client = visit(app)
    wrong = (None, ('ann', 'no'), ('eve', 'secret'), ('ann', ''))
    assert [client.get('/', auth=a).status_code for a in wrong] == [401] * 4
    assert (client.get('/', auth=('ann', 'secret')).text, client.get('/free').text) == ('ann', 'free')
    assert client.get('/free/../').status_code == 401 and 'realm' in client.get('/').headers['www-authenticate']


def test_streams_go_through_middleware_as_they_come() -> None:
    class Pass(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any: return await call_next(request)
    app = FastHTML(middleware=[Middleware(Pass), Middleware(Guard, word='')])
    async def items() -> AsyncIterator[str]:
        for n in range(3):
            await asyncio.sleep(0)
            yield str(n)
    @app.get('/')
    def get() -> Any: return common.StreamingResponse(items())
    @app.post('/')
    async def post(request: Any) -> Any: return len(await request.body())
    with Client(app) as client:
        assert client.get('/').text == '012'
        assert client.post('/', content=b'x' * 300_000).text == '300000'


# Routes

def test_routes_of_starlettes(tmp_path: Path) -> None:
    (tmp_path/'a.css').write_text('a {}')
    async def item(request: Any) -> Any: return PlainTextResponse(f'{request.path_params["n"] + 1} {request.method}')
    class Thing(HTTPEndpoint):
        async def get(self, request: Any) -> Any: return PlainTextResponse('thing')
    async def echo(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()
    inner = Starlette(routes=[Route('/x', lambda r: PlainTextResponse(f'inner {r.url.path}'))])
    routes = [Route('/item/{n:int}', item, name='item'), Route('/thing', Thing), WebSocketRoute('/echo', echo),
              Mount('/static', StaticFiles(directory=tmp_path), name='static'), Mount('/inner', inner),
              Mount('/ours', common.StaticFiles(directory=tmp_path), name='ours')]
    app = FastHTML(routes=routes)
    app.routes.append(Route('/late', item, methods=['POST'], name='late'))
    app.router.routes.insert(0, Mount('/more', routes=[Route('/y', lambda r: PlainTextResponse('y'))]))
    app.add_route('/plain', lambda request: common.PlainTextResponse(request.url.path))
    with Client(app) as client:
        wanted = {'/item/1': '2 GET', '/thing': 'thing', '/static/a.css': 'a {}', '/inner/x': 'inner /inner/x',
                  '/ours/a.css': 'a {}', '/more/y': 'y', '/plain': '/plain'}
        assert {path: client.get(path).text for path in wanted} == wanted
        assert [client.post('/thing').status, client.get('/late').status] == [405, 405]
        assert client.get('/item/x').status == 404
        with client.ws('/echo') as socket:
            socket.send('hi')
            assert socket.receive() == 'hi'
    assert str(app.url_path_for('item', n=3)) == app.router.url_path_for('item', n=3) == '/item/3'
    assert app.url_path_for('static', path='/a.css') == '/static/a.css'
    with pytest.raises(OptionError, match='is no route'): FastHTML(routes=['/x'])


def test_addresses() -> None:
    app = FastHTML()
    @app.get('/page/{n}', name='page')
    def page(request: Any) -> Any:
        made = request.url_for('page', n='a b')
        return [str(made), str(request.base_url), request.url.include_query_params(y=2), str(request.query_params),
                request.url.replace(scheme='https', port=81), request['type'], request.url.remove_query_params('x')]
    with Client(app) as client:
        assert client.get('/page/1?x=1').json() == [
            'http://localhost/page/a%20b', 'http://localhost/', 'http://localhost/page/1?x=1&y=2', 'x=1',
            'https://localhost:81/page/1?x=1', 'http', 'http://localhost/page/1']


def test_lifespans_and_exception_handlers_that_are_set_later() -> None:
    seen: list[str] = []
    app = FastHTML()
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        seen.append('begin')
        yield {'word': 'from lifespan'}
        seen.append('end')
    app.set_lifespan(lifespan)
    app.add_exception_handler(KeyError, lambda request, error: P('a key is missing'))
    @app.get('/')
    def get(state: Any) -> Any: return state.word
    @app.get('/fails')
    def fails() -> Any: raise KeyError('x')
    with Client(app) as client:
        assert client.get('/').text == 'from lifespan'
    assert seen == ['begin', 'end']


def test_ours_in_an_app_of_starlettes(visit: Any) -> None:
    app = Starlette(routes=[Route('/', lambda r: common.HTMLResponse('<p>ours</p>')),
                            Route('/s', lambda r: common.StreamingResponse(iter('ab')))])
    client = visit(app)
    assert (client.get('/').text, client.get('/s').text) == ('<p>ours</p>', 'ab')


FORM = b'application/x-www-form-urlencoded'


def test_a_request_made_of_a_scope() -> None:
    async def receive() -> Any: return {'type': 'http.request', 'body': b'a=1', 'more_body': False}
    scope = {'type': 'http', 'method': 'POST', 'path': '/ä', 'query_string': b'q=2', 'scheme': 'https',
             'session': {'n': 1}, 'headers': [(b'host', b'a.b'), (b'content-type', FORM)]}
    request = common.Request(scope, receive)
    assert (request.method, request.path, request.query_params['q'], request.session) == ('POST', '/ä', '2', {'n': 1})
    assert str(request.url) == 'https://a.b/%C3%A4?q=2' and asyncio.run(request.form()) == {'a': '1'}


def test_without_starlette_nothing_of_this_is_loaded() -> None:
    code = ("import sys; sys.modules['starlette'] = None\nfrom nbws.common import *\nfrom nbws.testing import Client\n"
            "app, rt = fast_app(middleware=user_pwd_auth(a='b'))\n@rt('/')\ndef get(): return P('x')\n"
            "with Client(app) as c: print(c.get('/').status, [m for m in sys.modules if m.startswith('starlette.')])")
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=BOUND)
    assert run.stdout == '401 []\n', run.stderr
