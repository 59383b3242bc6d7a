"""FastHTML's ways, line by line, over real sockets: what a drop-in must do, and where we do better."""
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypedDict, Union
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import pytest
from bound import BOUND
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from nbws.app import App
from nbws.common import (H1, UL, Beforeware, Div, FastHTML, Form, Input, Label, Li, NbwsError, P, Redirect,
                         RedirectResponse, StaticFiles, Titled, Ul, UploadFile, WebSocket, cookie, fast_app, serve,
                         to_xml)
from nbws.core.html import HtmxHeaders
from nbws.core.request import Request
from nbws.server.listener import Server
from nbws.testing import Client

Say = Callable[..., ClientConnection]


@pytest.fixture
def served() -> Iterator[Callable[..., Say]]:
    "Serve an app; the result connects to one of its paths."
    with ExitStack() as servers, ExitStack() as sockets:
        def start(app: App) -> Say:
            server = Server(app, port=0).start(BOUND)
            servers.callback(server.stop, 5)
            def dial(target: str = '/ws', **headers: str) -> ClientConnection:
                return sockets.enter_context(connect(server.url.replace('http', 'ws') + target, open_timeout=BOUND,
                                                     close_timeout=BOUND, additional_headers=headers, compression=None))
            dial.url = server.url  # type: ignore[attr-defined]
            return dial

        yield start


def ask(ws: ClientConnection, message: Any) -> str | bytes:
    "Send a message, as JSON unless it is text or bytes, and wait for the answer."
    ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return ws.recv(BOUND)


def ask_page(dial: Any, **headers: str) -> Any:
    "The answer to a GET of the served app's first page."
    return urlopen(UrlRequest(dial.url + '/', headers=headers), timeout=BOUND)


# Match: what a parameter is

@dataclass
class Point:
    x: int
    y: int = 0
    tags: list[str] | None = None
class Typed(TypedDict):
    x: int
class Named(NamedTuple):
    x: int
class Plain:
    x: int
    def __init__(self, x: int) -> None: self.x = x


def by_app(a: FastHTML): return type(a).__name__
def by_connection(c: WebSocket): return f'{type(c).__name__} {c.open}'
def by_request(r: Request): return r.path
def by_dict(d: dict): return d
def by_dataclass(p: Point): return repr(p)
def by_typeddict(p: Typed): return p
def by_namedtuple(p: Named): return repr(p)
def by_class(p: Plain): return f'{type(p).__name__} {p.x!r}'
def by_path_into_class(p: Point): return repr(p)
def by_htmx_type(h: HtmxHeaders): return h.target
def annotated_special_name(send: str): return f'sent {send}'
def by_names(ws, request, req, scope, app, state): return [
    ws.open, request is req, scope['type'], isinstance(app, FastHTML), state.fact]
def by_session(session, sess): return session is sess
def by_data(data): return data
def by_htmx(htmx): return [htmx.target, htmx.trigger]
async def by_send(send): await send('sent')
def one(a: str = 'default'): return a
def in_path(room): return room
def snake(hx_target): return hx_target
def hyphens(my_field): return my_field
def nested(a: int): return a + 1
def a_bool(a: bool): return repr(a)
def an_int(a: int): return repr(a)
def a_float(a: float): return repr(a)
def a_date(a: date): return repr(a)
def any_callable(a: str.upper): return a  # type: ignore[valid-type]
def a_list(a: list[int]): return repr(a)
def a_union(a: Union[int, None]): return repr(a)  # noqa: UP007
def an_optional(a: Optional[int] = None): return repr(a)  # noqa: UP045
def a_new_union(a: int | None): return repr(a)
def an_upload(a: UploadFile): return a
def r_is_no_request(r): return r
def unknown_name(whatever): return whatever

HX = {'HEADERS': {'HX-Target': 'here', 'HX-Trigger': None, 'HX-Current-URL': 'x'}}
HX4 = {'headers': {'HX-Target': 'here', 'HX-Trigger': None}}
BOUND_TABLE = [
    (by_app, '/ws', {}, 'App'),
    (by_connection, '/ws', {}, 'WebSocket True'),
    (by_request, '/ws', {}, '/ws'),
    (by_dict, '/ws', {'a': 1, 'b': [2]}, {'a': 1, 'b': [2]}),
    (by_dataclass, '/ws', {'x': '3', 'tags': ['a', 'b']}, "Point(x=3, y=0, tags=['a', 'b'])"),
    (by_typeddict, '/ws', {'x': '3'}, {'x': 3}),
    (by_namedtuple, '/ws', {'x': '3'}, 'Named(x=3)'),
    (by_class, '/ws', {'x': '3'}, 'Plain 3'),
    (by_path_into_class, '/ws/7/{y}', {'x': 1, 'y': 2}, 'Point(x=7, y=2, tags=None)'),
    (by_htmx_type, '/ws', HX, 'here'),
    (annotated_special_name, '/ws', {'send': 'me'}, 'sent me'),
    (by_names, '/ws', {}, [True, True, 'websocket', True, 'known']),
    (by_session, '/ws', {}, 'true'),
    (by_data, '/ws?q=1&a=query', {'a': 'message', 'b': 2}, {'a': 'message', 'b': 2, 'q': '1'}),
    (by_data, '/ws', {**HX, 'a': 1}, {'a': 1}),
    (by_data, '/ws', {**HX4, 'a': 1}, {'a': 1}),
    (by_htmx, '/ws', HX, ['here', None]),
    (by_htmx, '/ws', HX4, ['here', None]),
    (by_send, '/ws', {}, 'sent'),
    (in_path, '/ws/{room}', {'room': 'message'}, '{room}'),
    (one, '/ws?a=query', {'a': 'message', 'HEADERS': {'a': 'header'}}, 'header'),
    (one, '/ws?a=query', {'a': 'message', 'values': {'a': 'nested'}}, 'message'),
    (one, '/ws', {'a': 'message', 'values': {'a': 'nested'}}, 'message'),
    (one, '/ws', {'values': {'a': 'nested'}}, 'nested'),
    (one, '/ws', {}, 'default'),
    (snake, '/ws', HX, 'here'),
    (hyphens, '/ws', {'my-field': 'x'}, 'x'),
    (nested, '/ws', {'values': {'a': '1'}}, '2'),
    (a_bool, '/ws', {'a': 'on'}, 'True'),
    (a_bool, '/ws', {'a': 'false'}, 'False'),
    (an_int, '/ws', {'a': '12'}, '12'),
    (an_int, '/ws', {'a': ['1', '2']}, '2'),
    (a_float, '/ws', {'a': '1.5'}, '1.5'),
    (a_date, '/ws', {'a': '2026-01-31'}, 'datetime.date(2026, 1, 31)'),
    (any_callable, '/ws', {'a': 'loud'}, 'LOUD'),
    (a_list, '/ws', {'a': ['1', '2']}, '[1, 2]'),
    (a_list, '/ws', {'a': '1'}, '[1]'),
    (a_union, '/ws', {'a': '1'}, '1'),
    (a_new_union, '/ws', {'a': '1'}, '1'),
    (an_optional, '/ws', {}, 'None'),
    (an_upload, '/ws', {'a': 'passed through'}, 'passed through'),
    # Do better: exact names only, and an unannotated name is bound like any other
    (r_is_no_request, '/ws', {'r': 'from the message'}, 'from the message'),
    (unknown_name, '/ws', {'whatever': 'from the message'}, 'from the message'),
]


@pytest.mark.parametrize(('handler', 'target', 'message', 'answer'), BOUND_TABLE,
                         ids=[f'{i}-{case[0].__name__}' for i, case in enumerate(BOUND_TABLE)])
def test_parameters(served: Callable[..., Say], handler: Any, target: str, message: Any, answer: Any) -> None:
    app = FastHTML()
    app.state.fact = 'known'
    path = {'/ws/{room}': '/ws/{room}', '/ws/7/{y}': '/ws/{x}/{anything}'}.get(target, '/ws')
    assert app.ws(path)(handler) is handler, 'the decorator returns the function unchanged'
    heard = ask(served(app)(target.replace('{', '%7B').replace('}', '%7D')), message)
    assert (heard if isinstance(answer, str) else json.loads(heard)) == answer


def test_a_cookie_comes_before_headers_and_message(served: Callable[..., Say]) -> None:
    app = FastHTML()
    app.ws('/ws')(one)
    ws = served(app)('/ws?a=query', Cookie='a=cookie')
    assert ask(ws, {'a': 'message', 'HEADERS': {'a': 'header'}}) == 'cookie'


# Match: conn and disconn

def test_conn_and_disconn(served: Callable[..., Say]) -> None:
    app, left, gone = FastHTML(), [], threading.Event()
    def conn(data, send, room: str): send('first'); return Div(data['name'], room, id='hi')
    def disconn(ws, data, room: str):
        left.append((ws.code, data, room))
        gone.set()
    app.ws('/{room}', conn=conn, disconn=disconn)(by_data)
    ws = served(app)('/hall?name=Ann')
    assert [ws.recv(BOUND), ws.recv(BOUND)] == ['first', '<div id="hi">Annhall</div>']
    ws.close()
    assert gone.wait(BOUND)
    assert left == [(1000, {'name': 'Ann'}, 'hall')]


@pytest.mark.parametrize('end', ['client', 'crash', 'lost'])
def test_disconn_runs_on_every_end(served: Callable[..., Say], end: str, expect_log: Any) -> None:
    app, gone = FastHTML(), threading.Event()
    def crash(msg: str): raise ZeroDivisionError('on purpose')
    app.ws('/ws', disconn=lambda: gone.set())(crash)
    ws = served(app)()
    if end == 'crash':
        expect_log('ZeroDivisionError: on purpose', 1)
        with pytest.raises(ConnectionClosed) as closed: ask(ws, {'msg': 'x'})
        assert closed.value.rcvd and closed.value.rcvd.code == 1011, 'outside development it closes with 1011'
    elif end == 'client': ws.close(1001)
    else: ws.socket.shutdown(2)
    assert gone.wait(BOUND)


def test_if_conn_raises_disconn_still_runs(served: Callable[..., Say], expect_log: Any) -> None:
    app, users, gone = FastHTML(), [], threading.Event()
    def conn(ws): users.append(ws); raise ValueError('in conn')
    def disconn(ws): users.remove(ws); gone.set()
    expect_log('ValueError: in conn', 1)
    app.ws('/ws', conn=conn, disconn=disconn)(one)
    served(app)()
    assert gone.wait(BOUND)
    assert users == []


# Match and do better: what is returned

class Card:
    def __ft__(self): return P('card')
class Markup:
    def __html__(self): return '<b>markup</b>'

RETURNS = [
    (P('<hi>'), '<p>&lt;hi&gt;</p>'),
    (Card(), '<p>card</p>'),
    (Markup(), '<b>markup</b>'),
    ((P('a'), Card()), '<p>a</p>\n<p>card</p>'),
    ([P('a'), P('b')], '<p>a</p>\n<p>b</p>'),
    ('<as it is>', '<as it is>'),
    ({'a': [1, None]}, {'a': [1, None]}),
    ([1, 2], [1, 2]),
    (True, True),
    (7, 7),
    (b'\x00bytes', b'\x00bytes'),
]


@pytest.mark.parametrize('asynchronous', [False, True])
@pytest.mark.parametrize(('value', 'answer'), RETURNS, ids=[str(i) for i in range(len(RETURNS))])
def test_returns(served: Callable[..., Say], value: Any, answer: Any, asynchronous: bool) -> None:
    app = FastHTML()
    def sync(): return value
    async def async_(): return value
    app.ws('/ws')(async_ if asynchronous else sync)
    heard = ask(served(app)(), {})
    if isinstance(answer, bytes): assert heard == answer
    elif isinstance(answer, str): assert isinstance(heard, str) and squeezed(heard) == squeezed(answer)
    else: assert json.loads(heard) == answer


def squeezed(text: str) -> str: return text.replace('\n', '')


@pytest.mark.parametrize('value', [None, '', False, (), [], {}, 0], ids=repr)
def test_falsy_is_nothing(served: Callable[..., Say], value: Any) -> None:
    app = FastHTML()
    app.ws('/ws')(lambda more: 'more' if more else value)
    ws = served(app)()
    ws.send('{"more": 0}')
    assert ask(ws, {'more': 1}) == 'more'


def test_sync_handlers_run_in_threads_one_message_at_a_time(served: Callable[..., Say]) -> None:
    app, threads, running = FastHTML(), set(), []
    def ws(n: int):
        running.append(n)
        threads.add(threading.get_ident())
        alone = running == [n]
        running.remove(n)
        return f'{n} {alone}'
    async def on_loop(): threads.add(('loop', threading.get_ident()))
    app.ws('/ws', conn=on_loop)(ws)
    socket = served(app)()
    for n in range(200): socket.send(json.dumps({'n': n}))
    assert [socket.recv(BOUND) for _ in range(200)] == [f'{n} True' for n in range(200)]
    loop = next(ident for kind, ident in (t for t in threads if isinstance(t, tuple)))
    assert loop not in threads


def test_another_socket_does_not_wait(served: Callable[..., Say]) -> None:
    app, go = FastHTML(), threading.Event()
    @app.ws('/ws')
    def ws(wait: bool):
        if wait: go.wait(BOUND)
        return str(wait)
    dial = served(app)
    slow, quick = dial(), dial()
    slow.send('{"wait": true}')
    assert ask(quick, {'wait': False}) == 'False'
    go.set()
    assert slow.recv(BOUND) == 'True'


# Do better: what a client sends does not end its socket

WRONG = [
    ('missing', {'other': 1}, "no value for 'n'; what came is called 'other'"),
    ('cast', {'n': 'many'}, "n='many' cannot be read as int"),
    ('json', '{"n": ', 'the message is not JSON'),
    ('list', [1, 2], 'the message is a JSON list'),
    ('scalar', '7', 'the message is a JSON int'),
    ('binary', b'\x00', 'a binary message of 1 bytes'),
]


@pytest.mark.parametrize(('message', 'told'), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
@pytest.mark.parametrize('debug', [False, True])
def test_wrong_messages(served: Callable[..., Say], message: Any, told: str, debug: bool, expect_log: Any) -> None:
    app = FastHTML(debug=debug)
    app.ws('/ws')(lambda n, m=0: f'{n}')
    @app.ws('/ws')
    def ws(n: int): return {'n': n}
    expect_log(told, 1)
    socket = served(app)()
    socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    assert json.loads(ask(socket, {'n': 1})) == {'n': 1}, 'the client hears of the good one alone'


def test_an_error_in_development_leaves_the_socket_open(served: Callable[..., Say], expect_log: Any) -> None:
    app = FastHTML(debug=True)
    app.ws('/ws')(lambda n: str(10 // int(n)))
    expect_log('ZeroDivisionError', 1)
    socket = served(app)()
    socket.send('{"n": 0}')
    assert ask(socket, {'n': 5}) == '2'


def test_binary_messages(served: Callable[..., Say]) -> None:
    app = FastHTML()
    @app.ws('/ws')
    def ws(data: bytes): return data[::-1]
    assert ask(served(app)(), b'\x00\x01\xff') == b'\xff\x01\x00'


@pytest.mark.parametrize('kind', ['sync', 'async'])
def test_yield_streams_fragments(served: Callable[..., Say], kind: str) -> None:
    app = FastHTML()
    def sync(n: int):
        for i in range(n): yield P(i)
    async def async_(n: int):
        for i in range(n): yield P(i)
    app.ws('/ws')(sync if kind == 'sync' else async_)
    ws = served(app)()
    assert [ask(ws, {'n': 3}), ws.recv(BOUND), ws.recv(BOUND)] == ['<p>0</p>', '<p>1</p>', '<p>2</p>']


def test_before_runs_for_sockets(served: Callable[..., Say]) -> None:
    from websockets.exceptions import InvalidStatus

    from nbws.core.response import Response
    def before(request): return None if 'pass' in request.query_params else Response('no', 401)
    app = FastHTML(before=Beforeware(before, skip=['/open']))
    for path in ('/ws', '/open'): app.ws(path)(one)
    dial = served(app)
    assert ask(dial('/ws?pass=1'), {}) == 'default'
    assert ask(dial('/open'), {}) == 'default'
    with pytest.raises(InvalidStatus) as refused: dial('/ws')
    assert refused.value.response.status_code == 401


def test_a_path_defined_again_under_another_name(served: Callable[..., Say]) -> None:
    app = FastHTML()
    @app.ws('/ws')
    def old(): return 'old'
    socket = served(app)()
    assert ask(socket, {}) == 'old'
    @app.ws('/ws')
    def new(): return 'new'
    assert ask(socket, {}) == 'new'
    assert len([r for r in app.routes if r.path == '/ws']) == 1


def test_setup_ws(served: Callable[..., Say]) -> None:
    app = FastHTML(exts='ws')
    send = app.setup_ws(lambda msg: msg)
    dial = served(app)
    clients = [dial(), dial()]
    assert [ask(ws, {'msg': 'joined'}) for ws in clients] == ['joined'] * 2
    send(P('all'))
    assert [ws.recv(BOUND) for ws in clients] == ['<p>all</p>'] * 2


def test_sessions_are_read_and_written_by_sockets_and_pages(served: Callable[..., Say]) -> None:
    app = FastHTML(secret_key='for a test')
    def count(session: dict): session['n'] = session.get('n', 0) + 1; return str(session['n'])
    app.ws('/ws')(count)
    app.get('/')(count)
    dial = served(app)
    first = ask_page(dial)
    cookie = first.headers['set-cookie'].partition(';')[0]
    socket = dial(Cookie=cookie)
    assert [ask(socket, {}), ask(socket, {})] == ['2', '3']
    again = ask_page(dial, Cookie=cookie)
    assert (first.read(), again.read()) == (b'1', b'4')


# Match: pages

@pytest.mark.parametrize('spelling', [{'ws_hdr': True}, {'exts': 'ws'}], ids=str)
def test_the_ws_extension(spelling: Any) -> None:
    assert '/ws.js' in str(FastHTML(**spelling).head(''))
    assert '/ws.js' not in str(FastHTML().head(''))
    assert '/ws.js' in str(fast_app(**spelling)[0].head(''))


COMPONENTS = [
    (Input(id='msg'), '<input id="msg" name="msg">'),
    (Form(ws_send=True), '<form ws-send enctype="multipart/form-data"></form>'),
    (Div(hx_ext='ws', ws_connect='/ws'), '<div hx-ext="ws" ws-connect="/ws"></div>'),
    (Label('x', _for='msg', cls='c'), '<label for="msg" class="c">x</label>'),
    (UL(Li('a')), to_xml(Ul(Li('a')))),
    (P('<script>&'), '<p>&lt;script&gt;&amp;</p>'),
]


@pytest.mark.parametrize(('component', 'html'), COMPONENTS, ids=[str(i) for i in range(len(COMPONENTS))])
def test_components(component: Any, html: str) -> None: assert squeezed(to_xml(component)) == squeezed(html)


@pytest.mark.parametrize('catch_all', [False, True])
def test_our_own_files_are_behind_no_route(served: Callable[..., Say], catch_all: bool) -> None:
    app, rt = fast_app()  # serves *.css and *.js of the current folder
    if catch_all: rt('/{path:path}')(lambda path: 'mine')
    dial: Any = served(app)
    for name in ('htmx.min.js', 'pico.min.css'):
        with urlopen(f'{dial.url}/_nbws/{name}', timeout=BOUND) as answer: assert len(answer.read()) > 1000


def test_titled() -> None:
    html = squeezed(to_xml(Titled('A & B', H1('body'))))
    assert html == '<title>A &amp; B</title><main class="container"><h1>A &amp; B</h1><h1>body</h1></main>'


def test_a_visitor_logs_in() -> None:
    "FastHTML's own example of `before`: it leaves the name in the scope, and handlers ask for `auth`."
    def before(req: Any, sess: Any) -> Any:
        auth = req.scope['auth'] = sess.get('auth')
        return None if auth else RedirectResponse('/login', status_code=303)
    app, rt = fast_app(before=Beforeware(before, skip=['/login']))
    @rt('/')
    def get(auth, scope): return f'{auth} {scope.auth}'  # type: ignore[no-untyped-def]
    @rt('/login')
    def login(sess: dict[str, Any]) -> Any:
        sess['auth'] = 'ann'
        return Redirect(get)
    with Client(app) as client:
        assert client.get('/').headers['location'] == '/login'
        reply = client.get('/login')
        assert (reply.status_code, reply.headers['location']) == (303, '/')
        assert client.get('/').text == 'ann ann'


def test_cookies_beside_the_content() -> None:
    app, rt = fast_app()
    @rt('/set')
    def set_it() -> Any: return P('set'), cookie('count', 3)
    @rt('/read')
    def read(count: int = 0) -> str: return str(count)
    with Client(app) as client:
        assert client.get('/read').text == '0'
        assert '<p>set</p>' in client.get('/set').text
        assert client.get('/read').text == '3'


def test_uploads_in_a_test() -> None:
    app, rt = fast_app()
    @rt('/up')
    async def post(title: str, file: UploadFile) -> str:
        try: return f'{title} {file.filename} {file.content_type} {(await file.read()).decode()}'
        finally: await file.close()
    with Client(app) as client:
        reply = client.post('/up', data={'title': 'mine'}, files={'file': ('a.txt', b'abc', 'text/plain')})
        assert reply.text == 'mine a.txt text/plain abc'
        reply = client.post('/up', data={'title': 'mine'}, files={'file': b'abc'})
        assert reply.text == 'mine file application/octet-stream abc'


def test_a_folder_can_be_mounted(tmp_path: Path) -> None:
    (tmp_path/'a.txt').write_text('here')
    app = FastHTML()
    app.mount('/files', StaticFiles(directory=tmp_path), name='files')
    with Client(app) as client:
        assert client.get('/files/a.txt').text == 'here'
        assert {client.get(f'/files/{p}').status for p in ('b.txt', '../a.txt', '%2e%2e/a.txt', '.a.txt')} == {404}
    with pytest.raises(NbwsError, match='is not there'): StaticFiles(directory=tmp_path/'none')


def test_serve_does_nothing_in_a_module_that_is_imported() -> None:
    assert __name__ != '__main__'
    assert serve() is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(('path', 'status', 'text'), [
    ('/u/a%2Fb', 200, '<a/b>'), ('/u/a%2fb', 200, '<a/b>'), ('/u/a%252Fb', 200, '<a%2Fb>'), ('/u/a/b', 404, None),
    ('/all/a%2Fb/c', 200, '<a/b/c>'), ('/plain/page', 200, 'page'), ('/plain%2Fpage', 200, 'page'),
    ('/u/%ED%B0%AF', 200, None),
])
def test_an_encoded_slash_divides_no_path(path: str, status: int, text: str | None) -> None:
    "A name with a slash in it is one name (RFC 3986, section 2.2); a path without parameters is found as before."
    app = FastHTML()
    app.get('/u/{name}')(lambda name: f'<{name}>')
    app.get('/all/{rest:path}')(lambda rest: f'<{rest}>')
    app.get('/plain/page')(lambda: 'page')
    with Client(app) as client: answer = client.get(path)
    assert answer.status_code == status
    if text: assert answer.text == text


def test_a_socket_with_an_encoded_slash_outlives_a_change() -> None:
    app = FastHTML()
    def define(version: int) -> None: app.ws('/room/{name}')(lambda name: f'{name} {version}')
    define(1)
    with Client(app) as client, client.ws('/room/a%2Fb') as ws:
        ws.send('{}')
        assert ws.receive() == 'a/b 1'
        define(2)
        ws.send('{}')
        assert ws.receive() == 'a/b 2'
