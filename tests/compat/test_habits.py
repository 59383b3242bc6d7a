"""Components, routes and heads as FastHTML's users write them."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbws import common
from nbws.common import (APIRouter, Button, Div, FastHTML, Form, Input, P, Request, Response,
                         Option, Select, Title, Titled, fast_app, fill_form, to_xml, uri)
from nbws.common import Client as SyncClient
from nbws.core.html import render
from nbws.testing import Client


@pytest.fixture
def client() -> Iterator[Client]:
    "Of an app with a page, a page for a name, and one with elements that name them."
    app, rt = fast_app()
    @rt
    def more(n: int = 1) -> Any: return P(n)
    @rt('/person/{name}')
    def person(name: str) -> Any: return P(name)
    @rt('/')
    def get() -> Any:
        return (Button('a', get=more), Button('b', post='/x?y=1'), Button('c', delete='more'), P(put=more.to(n=2)),
                common.A('d', link=uri('person', name='Ada L')), Div(patch='more?n=3'), Button('e', hx_get=more),
                Form(get=person.to(name='x')), P(f'see {more}'), Div(**{'hx-get': 'as it is'}))
    with Client(app) as client: yield client


def test_elements_name_routes(client: Client) -> None:
    page = client.get('/').text
    wanted = ['<button hx-get="/more">a', '<button hx-post="/x?y=1">b', '<button hx-delete="/more">c',
              '<p hx-put="/more?n=2">', 'href="/person/Ada%20L"', '<div hx-patch="/more?n=3">',
              '<button hx-get="/more">e', 'hx-get="/person/x"', '<p>see /more</p>', 'hx-get="as it is"']
    assert [part for part in wanted if part not in page] == []


def test_a_name_that_no_route_has_is_the_developers_to_hear(expect_log: Any) -> None:
    expect_log("no route is called 'nowhere'", times=1)
    app = FastHTML()
    @app.get('/')
    def get() -> Any: return Button(get='nowhere')
    with Client(app) as client: assert client.get('/').status == 500
    assert to_xml(Button(get='nowhere')) == '<button hx-get="nowhere"></button>' # Outside of a page


def test_a_route_function_is_its_path() -> None:
    app, rt = fast_app()
    def inside(n: int) -> Any: return P(n)
    page = rt('/page/{n}')(inside)
    assert (str(page), f'{page}', page.to(n=3, q='x'), page.__wrapped__, page.__name__) == (
        '/page/{n}', '/page/{n}', '/page/3?q=x', inside, 'inside')
    assert render(page(5)) == '<p>5</p>' and rt('/again')(page).__wrapped__ is inside
    assert app.url(page) == '/again'


def test_an_element_is_its_id() -> None:
    el = Div('x', id='a')
    assert (str(el), f'#{el}', '#' + el, el + '-b') == ('a', '#a', '#a', 'a-b')
    assert str(Div('x')) == to_xml(Div('x')) == '<div>x</div>'
    assert render(Button(hx_target=el, hx_include=f'#{el}')) == '<button hx-target="#a" hx-include="#a"></button>'
    assert f'<p>{to_xml(el)}</p>' == '<p><div id="a">x</div></p>' and el.__html__() == '<div id="a">x</div>'


def test_what_a_filled_form_says() -> None:
    form = Form(Input(type='checkbox', name='a'), Select(Option('x', value='x'), name='b'))
    filled = fill_form(form, {'a': True, 'b': 'x'})
    assert 'checked="1"' in render(filled) and 'selected="1"' in render(filled)


def test_a_class_is_a_route() -> None:
    app, rt = fast_app()
    @rt('/card/{id}')
    class Card:
        async def get(self, id: int) -> Any: return f'get {id}'  # noqa: A002
        def delete(id: int) -> Any: return f'delete {id}'  # type: ignore[misc]  # noqa: A002
    @rt
    class Index:
        def get(self) -> Any: return 'first'
    with Client(app) as client:
        asked = [client.get('/card/3'), client.delete('/card/3'), client.get('/')]
        assert [reply.text for reply in asked] == ['get 3', 'delete 3', 'first']
        assert client.post('/card/3').status == 405
    assert (str(Card), Card.to(id=4)) == ('/card/{id}', '/card/4')
    with pytest.raises(TypeError, match='no method for a verb'): rt('/x')(type('Empty', (), {}))


class Paging:
    def __init__(self, at: int) -> None: self.at = at
    @classmethod
    def __from_request__(cls, req: Any, page: int = 1) -> Any: return cls(page * int(req.headers.get('x-size', 10)))


class Body:
    def __init__(self, text: str) -> None: self.text = text
    @classmethod
    async def __from_request__(cls, req: Request) -> Any: return cls((await req.form())['text'])


def test_a_class_that_says_how_it_is_made_of_a_request(expect_log: Any) -> None:
    expect_log('cannot be read as int', times=1)
    app = FastHTML()
    @app.get('/')
    def get(paging: Paging) -> Any: return paging.at
    @app.post('/')
    def post(body: Body) -> Any: return body.text
    with Client(app) as client:
        assert client.get('/?page=3', headers={'x-size': '5'}).text == '15'
        assert (client.get('/?page=x').status, client.post('/', data={'text': 'hi'}).text) == (400, 'hi')


def test_header_fields_by_name() -> None:
    response = Response('x', headers={'X-A': '1'})
    response.headers['x-b'] = '2'
    response.headers['X-a'] = '3'
    response.headers.append('set-cookie', 'c=d')
    response.headers.update({'x-e': 'f'}, h='i')
    response.headers.setdefault('x-e', 'no')
    del response.headers['H']
    assert response.headers.items() == [('x-a', '3'), ('x-b', '2'), ('set-cookie', 'c=d'), ('x-e', 'f')]
    fields = response.headers
    assert ('X-B' in fields, fields.get('none', 0), fields['SET-cookie']) == (True, 0, 'c=d')
    with pytest.raises(ValueError, match='latin-1'): response.headers['x-a'] = '\N{snowman}'
    with pytest.raises(KeyError): _ = response.headers['none']
    assert dict(response.headers) == {'x-a': '3', 'x-b': '2', 'set-cookie': 'c=d', 'x-e': 'f'}


def test_hosts_and_wraps_of_one_route() -> None:
    known = ['ada.example.org', 'a.example.org']
    app = FastHTML(body_wrap=lambda content: Div(*content, cls='all'), allowed_hosts=known)
    @app.get('/', host='{user}.example.org')
    def theirs(user: str) -> Any: return P(user)
    @app.get('/')
    def others() -> Any: return Title('T'), P('others')
    @app.route('/own', body_wrap=lambda content, req: Div(*content, cls=req.path[1:]))
    def own() -> Any: return P('x')
    @app.get('/only', host='a.example.org')
    def only() -> Any: return P('only')
    with Client(app) as client:
        def ask(path: str, host: str) -> Any: return client.get(path, headers={'host': host})
        assert '<p>ada</p>' in ask('/', 'ada.example.org:80').text and '<p>others</p>' in ask('/', 'localhost').text
        assert '<div class="all"><p>others</p></div>' in ask('/', 'localhost').text
        assert '<div class="own"><p>x</p></div>' in client.get('/own').text
        assert (ask('/only', 'a.example.org').status, ask('/only', 'localhost').status) == (200, 404)


def test_beginnings_of_request_and_session() -> None:
    app = FastHTML()
    @app.get('/')
    def get(r: Any, s: Any, re, sess) -> Any:  # type: ignore[no-untyped-def]
        return [type(x).__name__ for x in (re, sess)]
    @app.get('/named')
    def named(r) -> Any: return r if isinstance(r, str) else type(r).__name__  # type: ignore[no-untyped-def]
    with Client(app) as client:
        assert client.get('/?r=1&s=2').json() == ['Request', 'Session']
        assert (client.get('/named').text, client.get('/named?r=mine').text) == ('Request', 'mine')


def test_functions_added_to_before_and_after() -> None:
    app = FastHTML()
    def before(req: Any) -> Any: return None if req.headers.get('x-key') else common.HTTPException
    app.before.append(common.Beforeware(lambda request: P('shut'), skip=['/free']))
    app.after.append(lambda resp, req: req.injects.append(P('added')))
    @app.get('/free')
    def free() -> Any: return P('free')
    @app.get('/')
    def get() -> Any: return P('in')
    with Client(app) as client:
        assert '<p>free</p><p>added</p>' in client.get('/free').text
        assert '<p>shut</p>' in client.get('/').text and 'in</p>' not in client.get('/').text


def test_a_router(expect_log: Any) -> None:
    expect_log('cannot be read as int', times=1)
    ar = APIRouter('/shop', body_wrap=lambda c: Div(*c, id='shop'))
    @ar
    def index() -> Any: return P('all')
    @ar('/item/{n}')
    def get(n: int) -> Any: return P(n)
    @ar.post('/item/{n}', name='buy')
    def buy(n: int) -> Any: return P(f'bought {n}')
    @ar.ws('/ws')
    def ws(msg: str) -> Any: return msg
    assert (str(index), str(ar.index), ar.rt_funcs.buy.to(n=3)) == ('/shop/', '/shop/', '/shop/item/3')
    with pytest.raises(AttributeError): _ = ar.get_item
    app = FastHTML(exts='ws')
    ar.to_app(app)
    with Client(app) as client:
        assert '<div id="shop"><p>all</p></div>' in client.get('/shop/').text
        assert ('bought 2' in client.post('/shop/item/2').text, client.get('/shop/item/x').status) == (True, 404)
        with client.ws('/shop/ws') as socket:
            socket.send_json({'msg': 'hi'})
            assert socket.receive() == 'hi'


def test_fasthtmls_client() -> None:
    app, rt = fast_app()
    @rt('/')
    def get(q: str = '') -> Any: return Titled('T', P(q))
    cli = SyncClient(app, 'http://localhost')
    assert cli.get('/', params={'q': 'x'}).status_code == 200 and '<p>x</p>' in cli.get('/?q=x').text


def test_a_type_of_paths() -> None:
    common.reg_re_param('picture', 'png|jpg')
    app = FastHTML()
    @app.get('/{name}.{ext:picture}')
    def get(name: str, ext: str) -> str: return f'{name} {ext}'
    with Client(app) as client: assert [client.get(f'/a.{e}').status for e in ('png', 'gif')] == [200, 404]


# The head

HEAD = {'htmx': '/_nbws/htmx.min.js', 'fasthtml': '/_nbws/fasthtml.js', 'surreal': '/_nbws/surreal.js',
        'css-scope-inline': '/_nbws/css-scope-inline.js'}


@pytest.mark.parametrize(('options', 'wanted'), [
    ({}, {'htmx', 'fasthtml', 'surreal', 'css-scope-inline'}), ({'surreal': False}, {'htmx', 'fasthtml'}),
    ({'htmx': False}, {'surreal', 'css-scope-inline'}), ({'default_hdrs': False}, set())])
def test_the_head(options: Any, wanted: set[str]) -> None:
    app, rt = fast_app(**options)
    @rt('/')
    def get() -> Any: return P('x')
    with Client(app) as client:
        page = client.get('/').text
        assert {name for name, src in HEAD.items() if src in page} == wanted
        for name in wanted: assert client.get(HEAD[name]).status == 200


@pytest.mark.parametrize('name', ['ws', 'sse', 'morph', 'head-support', 'preload', 'class-tools', 'loading-states',
                                  'multi-swap', 'path-deps', 'remove-me', 'chunked-transfer'])
def test_an_extension_of_htmx(name: str) -> None:
    import re
    app, rt = fast_app(exts=name)
    @rt('/')
    def get() -> Any: return P('x')
    with Client(app) as client:
        sources = re.findall(r'<script[^>]*src="([^"]+)"', client.get('/').text)
        assert all(src.startswith('/_nbws/') and client.get(src).status == 200 for src in sources)
        text = ''.join(client.get(src).text for src in sources[-1:])
        assert 'defineExtension' in text


def test_address_of_a_page_and_an_htmx_of_tomorrow() -> None:
    app = FastHTML(canonical=True, htmx4=True)
    @app.get('/a')
    def get() -> Any: return P('x')
    with Client(app) as client:
        page = client.get('/a?b=1').text
        assert '<link rel="canonical" href="https://localhost/a?b=1">' in page
        assert 'htmx.org@4' in page and '/_nbws/htmx.min.js' not in page
    both = str(FastHTML(htmx=False, htmx4=True, exts=['ws', 'multipart']).pages.head(''))
    assert [s for s in ('htmx.org@4', 'hx-ws.min.js', 'hx-multipart.min.js') if s not in both] == []
    assert '/_nbws/ws.js' not in both and 'sockets.js' not in both
    assert to_xml(*common.def_hdrs()).count('<script') == 4


def test_a_part_of_a_path_may_be_empty(expect_log: Any) -> None:
    expect_log('cannot be read as', times=1)
    app = FastHTML()
    app.get('/tasks')(lambda: 'all')
    @app.get('/tasks/{kind}')
    def tasks(kind: str) -> str: return f'<{kind}>'
    @app.get('/days/{day}/notes')
    def notes(day: str) -> str: return f'<{day}>'
    @app.get('/n/{n}')
    def number(n: int) -> Any: return n
    @app.get('/f/{n:int}')
    def typed(n: int) -> Any: return n
    with Client(app) as client:
        found = [client.get(p) for p in ('/tasks', '/tasks/', '/tasks/new', '/days//notes')]
        assert [r.text for r in found] == ['all', '<>', '<new>', '<>']
        assert [client.get(p).status for p in ('/n/', '/f/')] == [404, 404]
