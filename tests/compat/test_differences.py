"""Where nbws differs from FastHTML on purpose: one test for each row of the table in nbs/coming_from.ipynb."""
from __future__ import annotations

import re
import socket
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bound import BOUND

from compat.rows import Rows
from nbws import common
from nbws.common import (Div, FastHTML, HtmxResponseHeaders, MarkdownJS, P, Safe, Script, Style, Title, add_toast,
                         cookie, fast_app, serve, to_xml)
from nbws.core.errors import OptionError, SignatureError
from nbws.server.listener import Server
from nbws.testing import Client

row = Rows('Different on purpose')


def text(app: Any, path: str = '/', **options: Any) -> tuple[int, str]:
    "Status and text of an answer."
    with Client(app) as client:
        reply = client.get(path, **options)
        return reply.status, reply.text


def test_each_row_has_a_test() -> None:
    assert row.named() == list(row.tests)


@row('last route')
def test_the_last_route_answers() -> None:
    app = FastHTML()
    @app.get('/')
    def first() -> str: return 'first'
    @app.get('/')
    def second() -> str: return 'second'
    assert text(app) == (200, 'second')


@row('specific route')
def test_a_specific_route_goes_first() -> None:
    app = FastHTML()
    @app.get('/{name}')
    def name(name: str) -> str: return 'name'
    @app.get('/{n:int}')
    def number(n: int) -> str: return 'number'
    @app.get('/me')
    def me() -> str: return 'me'
    with Client(app) as client: assert [client.get(p).text for p in ('/x', '/3', '/me')] == ['name', 'number', 'me']


@row('missing value')
def test_a_missing_value_is_named(expect_log: Any) -> None:
    expect_log("no value for 'x'", times=1)
    app = FastHTML()
    @app.get('/')
    def get(x: int) -> Any: return x
    status, told = text(app, '/?y=1')
    assert status == 400 and "'x'" in told and "'y'" in told


@row('bad value')
def test_a_bad_value_is_named(expect_log: Any) -> None:
    expect_log('cannot be read as', times=3)
    app = FastHTML()
    @app.get('/n/{n}')
    def path(n: int) -> Any: return n
    @app.get('/')
    def get(n: int = 0, yes: bool = False) -> Any: return n
    with Client(app) as client:
        replies = [client.get(p) for p in ('/?n=x', '/?yes=maybe', '/n/x')]
    assert [r.status for r in replies] == [400, 400, 404]
    assert all(name in r.text for name, r in zip(('n=', 'yes=', 'n='), replies, strict=True))


@row('unannotated name')
def test_a_name_without_an_annotation_is_bound() -> None:
    app = FastHTML()
    @app.get('/')
    def get(word): return word  # type: ignore[no-untyped-def]
    assert text(app, '/?word=hi') == (200, 'hi')


@row('bare list')
def test_a_bare_list_is_refused() -> None:
    app = FastHTML()
    with pytest.raises(SignatureError, match=r'list\[str\]'):
        @app.get('/')
        def get(names: list) -> Any: return names  # type: ignore[type-arg]


@row('own field first')
def test_a_messages_own_field_goes_before_the_query() -> None:
    app = FastHTML(exts='ws')
    @app.ws('/ws')
    def ws(msg: str, names: list[str], data: Any) -> Any: return [msg, names, data['msg'], data['x']]
    with Client(app) as client, client.ws('/ws?msg=query&names=q&x=1') as ws_:
        ws_.send_json({'msg': 'own', 'names': ['a', 'b']})
        assert ws_.receive_json() == ['own', ['a', 'b'], 'own', '1']


@row('lists are JSON')
def test_data_is_json() -> None:
    app = FastHTML()
    app.get('/')(lambda: [1, {'a': 2}])
    app.get('/elements', name='e')(lambda: [P('x')])
    with Client(app) as client:
        assert client.get('/').json() == [1, {'a': 2}]
        assert '<p>x</p>' in client.get('/elements').text


@row('no error as content')
def test_an_error_is_no_content(expect_log: Any) -> None:
    expect_log('ValueError: inner|no value for', times=2)
    app = FastHTML(exts='ws', debug=True)
    @app.ws('/ws')
    def ws(msg: str) -> Any:
        if msg == 'bad': raise ValueError('inner')
        return msg
    with Client(app) as client, client.ws('/ws') as ws_:
        for message in ({'msg': 'bad'}, {}, {'msg': 'good'}): ws_.send_json(message)
        assert ws_.receive() == 'good'


@row('unknown keyword')
def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(OptionError, match="'before'"): FastHTML(befor=lambda: None)
    with pytest.raises(OptionError, match="'before'"): fast_app(befor=lambda: None)


@row('no middleware unrun')
def test_what_is_no_middleware_is_refused() -> None:
    with pytest.raises(OptionError, match='is no middleware'): FastHTML(middleware=['guard'])


def raw(server: Server, sent: bytes, size: int = 4096) -> bytes:
    "What a server answers to bytes."
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=BOUND) as sock:
        sock.sendall(sent)
        return sock.recv(size)


@row('X-Forwarded')
def test_forwarded_fields_of_anybody_are_not_believed() -> None:
    app = FastHTML()
    @app.get('/')
    def get(request: Any) -> Any: return f'{request.client.host} {request.url.scheme}'
    with Server(app, port=0, forwarded_allow_ips='10.0.0.1') as server:
        asked = b'GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n'
        assert b'127.0.0.1 http' in raw(server, asked)


@row('unmasked frames')
def test_an_unmasked_frame_is_refused(expect_log: Any) -> None:
    app = FastHTML(exts='ws')
    app.ws('/ws')(lambda msg: msg)
    with Server(app, port=0) as server:
        parts = urlsplit(server.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=BOUND) as sock:
            sock.sendall(b'GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
                         b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
            head = b''
            while b'\r\n\r\n' not in head: head += sock.recv(4096)
            sock.sendall(b'\x81\x02{}')
            frame = head.partition(b'\r\n\r\n')[2]
            while len(frame) < 4: frame += sock.recv(4096)
        assert frame[0] == 0x88 and int.from_bytes(frame[2:4], 'big') == 1002


@row('long forms')
def test_a_long_form_is_refused(expect_log: Any) -> None:
    expect_log('bytes', times=1)
    def answer(**options: Any) -> int:
        app = FastHTML(**options)
        @app.post('/')
        def post(a: str) -> Any: return len(a)
        with Client(app) as client: return client.post('/', data={'a': 'x' * (2**20 + 1)}).status
    assert (answer(), answer(max_part_size=2**22)) == (413, 200)


@row('loopback')
def test_the_server_is_for_this_machine() -> None:
    with Server(FastHTML(), port=0) as server: assert urlsplit(server.url).hostname in ('localhost', '127.0.0.1')
    assert signature(serve).parameters['host'].default is None


@row('cookies')
def test_a_cookie_is_out_of_reach_of_scripts() -> None:
    assert 'HttpOnly' in cookie('a', 'b').v and 'HttpOnly' not in cookie('a', 'b', httponly=False).v


@row('other sites')
def test_other_sites_may_not_post() -> None:
    app = FastHTML()
    app.post('/')(lambda: 'done')
    known = FastHTML(allowed_origins='https://b.example')
    known.post('/')(lambda: 'done')
    def posted(app: Any, origin: str) -> int:
        with Client(app) as client: return client.post('/', headers={'origin': origin}).status
    assert [posted(app, 'https://b.example'), posted(known, 'https://b.example')] == [403, 200]


@row('reload')
def test_nothing_is_reloaded_unless_asked() -> None:
    assert signature(serve).parameters['reload'].default is False


@row('ws_hdr')
def test_ws_hdr_loads_the_extension() -> None:
    app = FastHTML(ws_hdr=True)
    app.get('/')(lambda: P())
    page = text(app)[1]
    assert 'src="/_nbws/ws.js"' in page and 'ws-hdr' not in page


@row('files, not strings')
def test_scripts_are_files_of_the_app() -> None:
    assert to_xml(MarkdownJS()) == '<script src="/_nbws/enhance.js" data-use="markdown" data-sel=".marked"></script>'


@row('canonical')
def test_an_address_is_named_only_where_asked() -> None:
    for asked in (False, True):
        app = FastHTML(canonical=asked)
        app.get('/')(lambda: (Title('T'), P()))
        assert ('rel="canonical"' in text(app)[1]) is asked


@row('true for htmx')
def test_true_is_written_out_for_htmx() -> None:
    assert to_xml(Div(hx_push_url=True, hx_disable=True)) == '<div hx-push-url="true" hx-disable></div>'


@row('misspelt attribute')
def test_a_misspelt_attribute_is_an_error() -> None:
    el = Div()
    with pytest.raises(AttributeError): _ = el.chidlren
    assert el.get('chidlren') is None


@row('hx_reselect')
def test_the_name_of_a_response_field() -> None:
    assert HtmxResponseHeaders(hx_reselect='a').k == HtmxResponseHeaders(reselect='a').k == 'HX-Reselect'


@row('slips among tags')
def test_a_slip_is_no_tag() -> None:
    for module in ('nbws.common', 'nbws.components', 'nbws.core'):
        with pytest.raises(ImportError, match='no Beforware'): exec(f'from {module} import Beforware', {})
        names: dict[str, Any] = {}
        exec(f'from {module} import Sl_button, Marquee, Mrow, UkIcon, LinearGradient', names)
        made = ''.join(to_xml(names[n]()) for n in ('Sl_button', 'Marquee', 'Mrow', 'UkIcon', 'LinearGradient'))
        assert re.findall(r'<([\w-]+)>', made) == ['sl-button', 'marquee', 'mrow', 'uk-icon', 'linearGradient']
    with pytest.raises(AttributeError, match='did you mean Beforeware'): _ = common.Beforware
    with pytest.raises(AttributeError, match=r'from nbws\.svg import Polyline'): _ = common.Polyline
    assert to_xml(common.ft('channel')) == '<channel></channel>'


@row('keywords of no table')
def test_what_is_no_column_is_refused(tmp_path: Path) -> None:
    class Guard: ...
    assert len(fast_app(id=int, name=str, pk='id')) == 2 # Columns, though there is no database
    for database in (None, str(tmp_path/'a.db')):
        for guard in (Guard, Guard(), lambda request: None, [Guard]):
            with pytest.raises(OptionError, match="'before'"): fast_app(database, befor=guard, id=int, pk='id')


@row('settings of elements')
def test_a_setting_of_elements_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="fh_cfg\\['auto_id'\\] has no effect"): common.fh_cfg['auto_id'] = True
    with pytest.warns(UserWarning, match='ft_cls'): common.fh_cfg.ft_cls = Div
    common.fh_cfg.indent = True
    assert to_xml(P()) == '<p></p>'
    assert P(id=True).id


@row('lists among children')
def test_a_list_is_its_elements() -> None:
    assert to_xml(Div('x', [P('a'), [P('b')]], [])) == '<div>x<p>a</p><p>b</p></div>'


@row('end of a script')
def test_a_text_does_not_end_its_script() -> None:
    for make, tag in ((Style, 'style'), (Script, 'script')):
        html = to_xml(make(f'a</{tag}><script>go()</script>'))
        assert html.lower().count(f'</{tag}') == 1 and html.endswith(f'</{tag}>')
    assert to_xml(Safe('<style>a</style><script>go()</script>')).count('</') == 2


@row('title of a page')
def test_a_page_without_a_title() -> None:
    def page(**options: Any) -> str:
        app = FastHTML(**options)
        app.get('/')(lambda: P())
        return text(app)[1]
    assert '<title>nbws page</title>' in page() and '<title>FastHTML page</title>' in page(title='FastHTML page')


@row('client of tests')
def test_a_client_gets_what_a_visitor_gets(expect_log: Any) -> None:
    expect_log('ValueError: inner', times=1)
    app = FastHTML()
    @app.get('/')
    def get() -> Any: raise ValueError('inner')
    reply = common.Client(app, 'http://localhost').get('/')
    assert reply.status_code == 500 and 'inner' not in reply.text


@row('dicts of attributes')
def test_a_dict_of_an_attribute_is_json() -> None:
    assert to_xml(Div(x_data={'open': False})) == """<div x-data='{"open": false}'></div>"""
    assert to_xml(Div(hx_headers={'X-A': 1}, style={'a': 1})) == """<div hx-headers='{"X-A": 1}' style="a:1"></div>"""


@row('toast kinds')
def test_an_unknown_kind_of_a_toast() -> None:
    with pytest.raises(ValueError, match='no kind'): add_toast({}, 'x', 'loud')
