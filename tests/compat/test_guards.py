"""What guards an app for FastHTML's users is run for all that comes, and keeps its meaning."""
from __future__ import annotations

import base64
from typing import Any

import pytest
from logs import ExpectLog

from nbws.common import (APIRouter, Div, FastHTML, Middleware, Response, form2dict, html2ft, to_xml, user_pwd_auth)
from nbws.core.data import MultiDict
from nbws.core.errors import OptionError, SignatureError
from nbws.core.routing import Owner
from nbws.testing import Client, Refused
from nbws.web.succession import succeed

pytest.importorskip('starlette')


class Passing:
    "ASGI middleware that does nothing."
    def __init__(self, app: Any) -> None: self.app = app
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: await self.app(scope, receive, send)


def login(user: str, password: str) -> dict[str, str]:
    return {'authorization': 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()}


def deny() -> Response: return Response(b'no', 403)


def test_an_async_lookup_is_awaited() -> None:
    async def fits(user: str, password: str) -> bool: return (user, password) == ('ann', 'right')
    app = FastHTML(middleware=user_pwd_auth(fits))
    @app.get('/')
    def index(auth: Any) -> Any: return auth
    with Client(app) as client:
        assert client.get('/', headers=login('ann', 'wrong')).status == 401
        assert client.get('/', headers=login('ann', 'right')).text == 'ann'


def test_pages_that_all_may_see_are_so_below_a_prefix() -> None:
    inner = FastHTML(middleware=user_pwd_auth(ann='right', skip=['/open']))
    @inner.get('/{page}')
    def index(page: str) -> str: return page
    app = FastHTML()
    app.mount('/in', inner)
    with Client(app) as client:
        assert [client.get(f'/in/{page}').status for page in ('open', 'closed', 'in/open')] == [200, 401, 401]


def test_a_password_is_asked_for_all_that_comes() -> None:
    app, inner = FastHTML(middleware=[user_pwd_auth(ann='right')]), FastHTML()
    @inner.get('/page')
    def page() -> str: return 'inner'
    @app.ws('/ws')
    def ws(msg: str) -> str: return msg
    @app.ws('/pull')
    async def pull(websocket: Any) -> None: await websocket.accept()
    app.mount('/in', inner)
    app.static_route_exts(static_path='.')
    paths = ('/', '/in/page', '/none', '/a.css', '/ws', '/pull', '/_nbws/htmx.min.js')
    with Client(app) as client:
        methods = ('GET', 'HEAD', 'OPTIONS', 'POST', 'BREW')
        assert {client.request(m, p).status for m in methods for p in paths} == {401}
        for path in ('/ws', '/pull', '/none'):
            with pytest.raises(Refused), client.ws(path): pass
        with client.ws('/ws', headers=login('ann', 'right')) as socket:
            socket.send_json({'msg': 'hi'})
            assert socket.receive() == 'hi'


def test_what_middleware_has_found_out_is_known_within() -> None:
    "To other middleware, to handlers, and to an application that is mounted."
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] == 'lifespan': return
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': scope['auth'].encode()})
    app = FastHTML(middleware=[user_pwd_auth(ann='right'), Passing, Passing])
    app.mount('/in', mounted)
    @app.get('/')
    def index(auth: Any) -> Any: return auth
    with Client(app) as client:
        for path in ('/', '/in/'):
            assert client.get(path, headers=login('ann', 'right')).text == 'ann'


def count(session: Any) -> str:
    session['n'] = session.get('n', 0) + 1
    return str(session['n'])


def test_a_session_that_middleware_keeps() -> None:
    from starlette.middleware.sessions import SessionMiddleware
    keeper = Middleware(SessionMiddleware, secret_key='k' * 32, session_cookie='theirs')
    app = FastHTML(middleware=[keeper, Passing], sess_cls=None)
    app.get('/')(count)
    @app.ws('/ws')
    def ws(msg: str, session: Any) -> str: return str(session['n'])
    with Client(app) as client:
        assert [client.get('/').text for _ in range(2)] == ['1', '2']
        assert list(client.cookies) == ['theirs']
        with client.ws('/ws') as socket:
            socket.send_json({'msg': ''})
            assert socket.receive() == '2'


def test_a_class_of_session_middleware_keeps_the_session() -> None:
    kept: dict[str, Any] = {}
    class Kept:
        def __init__(self, app: Any, secret_key: str, session_cookie: str, **options: Any) -> None: self.app = app
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, 'session': kept}, receive, send)
    app = FastHTML(sess_cls=Kept)
    app.get('/')(count)
    with Client(app) as client:
        assert client.get('/').text == '1' and kept == {'n': 1} and not client.cookies


def test_no_session_is_said(expect_log: ExpectLog) -> None:
    expect_log('no middleware has put a session into the scope')
    app = FastHTML(sess_cls=None)
    app.get('/')(count)
    with Client(app) as client: assert client.get('/').status == 500


def test_routes_of_starlette_have_the_session() -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    app = FastHTML(routes=[Route('/', lambda request: PlainTextResponse(count(request.session)))])
    with Client(app) as client: assert [client.get('/').text for _ in range(2)] == ['1', '2']


def test_routes_by_host() -> None:
    app = FastHTML(allowed_hosts=['blog.example.org', 'ann.example.org'])
    @app.get('/')
    def shown() -> str: return 'shown'
    @app.post('/')
    def changed() -> str: return 'changed'
    @app.route('/', host='Blog.example.org')
    def blog() -> str: return 'blog'
    @app.route('/', host='{user}.example.org')
    def of_user(user: str) -> str: return user
    def ask(method: str, host: str) -> str: return client.request(method, '/', headers={'host': host}).text
    with Client(app) as client:
        hosts = ('localhost', 'BLOG.example.org:80', 'ann.example.org')
        assert [ask('GET', h) for h in hosts] == ['shown', 'blog', 'ann']
        assert [ask('POST', h) for h in ('localhost', 'blog.example.org')] == ['changed', 'blog']
    with pytest.raises(SignatureError, match='sockets are answered for every host'):
        @app.route('/ws', host='blog.example.org')
        async def ws(websocket: Any) -> None: ...


def test_what_a_route_says_holds_for_its_sockets_and_for_bare_decorators() -> None:
    app, router = FastHTML(), APIRouter()
    @app.route('/both', before=deny)
    async def both(websocket: Any) -> None: await websocket.accept()
    def bare() -> str: return 'bare'
    router.get(bare, before=deny)
    def there() -> str: return 'there'
    app.get(there, host='blog.example.org')
    router.to_app(app)
    with Client(app) as client:
        with pytest.raises(Refused, match='403'), client.ws('/both'): pass
        assert [client.get(path).status for path in ('/both', '/bare', '/there')] == [403, 403, 404]


def test_middleware_of_a_routers_socket_is_not_ignored() -> None:
    router = APIRouter()
    @router.ws('/ws', middleware=[Passing])
    def ws(msg: str) -> str: return msg
    with pytest.raises(OptionError, match='give it to the app'): router.to_app(FastHTML())


class Cells:
    "A notebook as an app's environment sees it: the cell that runs."
    def __init__(self) -> None: self.cell, self.runs = '', 0
    def run(self, cell: str) -> None: self.cell, self.runs = cell, self.runs + 1
    def here(self) -> Owner: return Owner(self.cell, f'cell [{self.runs}]')


def test_middleware_of_another_cell_is_kept_when_the_apps_cell_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = Cells()
    monkeypatch.setattr(FastHTML.environment, 'here', cells.here, raising=False)
    seen: list[str] = []
    def noting(name: str) -> Any:
        async def note(request: Any, call_next: Any) -> Any:
            seen.append(name)
            return await call_next(request)
        return note
    cells.run('app')
    old = FastHTML(middleware=[Passing])
    for _ in range(2): # Run again, too
        cells.run('guard')
        old.add_middleware(user_pwd_auth(ann='right'))
        for name in 'ab': old.middleware(noting(name))
    assert len(old.middlewares) == 4 # None twice, and both of one name
    cells.run('app')
    app = FastHTML(middleware=[Passing])
    succeed(app, old, 'app', lambda route: True)
    @app.get('/')
    def index() -> str: return 'page'
    with Client(app) as client: assert client.get('/').status == 401
    assert seen == ['b', 'a']


def test_a_visitors_names_are_text() -> None:
    form = MultiDict([('onclick', 'x'), ('onclick', 'y'), ('id', 'z')])
    assert form2dict(form) == {'onclick': ['x', 'y'], 'id': 'z'}
    assert to_xml(Div(form2dict(form))).startswith('<div>{')


@pytest.mark.parametrize('html', ['<p(evil()) a="1">x</p(evil())>', '<link as="style" class="x">'])
def test_html_becomes_python_that_calls_elements_only(html: str) -> None:
    pytest.importorskip('bs4')
    from nbws import common
    for attr1st in (False, True):
        made = eval(html2ft(html, attr1st), dict(vars(common)))
        assert 'evil' not in html or made.tag == 'p(evil())'
