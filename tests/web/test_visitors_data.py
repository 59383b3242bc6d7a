"""What a visitor sends never becomes attributes or elements: by every way to bind it, under every transport."""
from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple, TypedDict

import pytest
from starlette.testclient import TestClient as Starlette

from nbws.common import Li, P, Script, Ul
from nbws.core.data import Fields
from nbws.testing import Client

from nbws import App

EVIL = {'onpointerenter': 'alert(1)', 'style': 'position:fixed', 'hx-on:load': 'x()', 'a b><script>': 'y'}


@dataclass
class Item:
    name: str = ''
    extra: Any = None
    more: dict[str, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


class Typed(TypedDict, total=False):
    onclick: str
    extra: Any


class Pair(NamedTuple):
    extra: Any
    name: str = ''


class Loose(SimpleNamespace): pass


def handlers() -> dict[str, Any]:
    "Handlers that put what they got among an element's children, by every kind of parameter."
    def bare(extra): return Li(extra)
    def anything(extra: Any): return Li(extra)
    def an_object(extra: object): return Li(extra)
    def a_dict(extra: dict[str, Any]): return Li(extra)
    def maybe(extra: dict[str, Any] | None = None): return Li(extra)
    def maybe_any(extra: Any = None): return Li(extra)
    def several(items: list[dict]): return Ul(items)
    def ordered(extra: OrderedDict): return Li(extra), Li({**extra})
    def of_pairs(pairs: list[dict]): return Ul(pairs)
    def several_anythings(items: list[Any]): return Ul(*items)
    def nested(extra): return Ul(Li(extra['in']))
    def in_lists(items): return Ul(items)
    def whole(data): return Li(data)
    def whole_dict(everything: dict): return Li(everything)
    def inside_whole(everything: dict): return Li(everything['extra'])
    def copied(data): return Li(data.copy(), data | {'x': 1}, {'y': 2} | data, copy.copy(data), copy.deepcopy(data))
    def rest(**kw): return Li(kw), Li(dict(kw)), Li({**kw}), Li(kw['extra'])
    def record(item: Item): return Li(item.extra), Li(item.more), Li(item.items)
    def typed(item: Typed): return Li(item), Li(item['extra'])
    def pair(item: Pair): return Li(item.extra)
    def loose(item: Loose): return Li(item), Li(item.extra)
    def later(extra): return Li('x')(extra)
    def put(extra): return Li('x').set(extra)
    def in_attributes(extra): return Li(P(extra), Script('x', extra['in']['style']))
    def by_session(extra, sess):
        sess['extra'] = extra
        return Li(sess['extra']), Li(sess)
    return {f.__name__: f for f in list(locals().values())}


HANDLERS = handlers()
SENT = {'name': 'n', 'extra': {**EVIL, 'in': EVIL}, 'more': EVIL, 'items': [EVIL, EVIL], 'onclick': 'z()', **EVIL,
        'pairs': [[list(pair) for pair in EVIL.items()]]}


def harmless(html: str) -> None:
    "No tag of the handler's has an attribute, and no element comes from the data."
    at = html.index('<li') if '<li' in html else html.index('<ul')
    part = html[at:].partition('</body>')[0]
    tags = [t.partition('>')[0] for t in part.split('<')[1:]]
    assert not [t for t in tags if ' ' in t.strip()], part
    assert 'alert(1)' in part or 'extra' in part


@pytest.fixture
def app() -> App:
    made = App(secret_key='a test')
    for name, f in HANDLERS.items():
        made.post(f'/{name}')(f)
        made.ws(f'/ws/{name}')(f)
    return made


@pytest.mark.parametrize('name', HANDLERS)
def test_json_bodies(app: App, name: str) -> None:
    with Client(app) as client:
        answer = client.post(f'/{name}', json=SENT)
        assert answer.status_code == 200, answer.text
        harmless(answer.text)


@pytest.mark.parametrize('name', HANDLERS)
def test_messages(app: App, name: str) -> None:
    with Client(app) as client, client.ws(f'/ws/{name}') as socket:
        socket.send_json(SENT)
        harmless(str(socket.receive()))


@pytest.mark.parametrize('name', ['bare', 'rest', 'whole', 'typed', 'in_lists'])
def test_under_asgi(app: App, name: str) -> None:
    with Starlette(app, base_url='http://localhost') as client:
        harmless(client.post(f'/{name}', json=SENT).text)
        with client.websocket_connect(f'/ws/{name}', headers={'host': 'localhost'}) as socket:
            socket.send_json(SENT)
            harmless(socket.receive_text())


def test_in_a_script_it_is_json() -> None:
    assert str(Script(Fields({'a': '</script>'}), type='application/json')) == \
        '<script type="application/json">{"a": "<\\/script>"}</script>'


def test_forms_queries_and_cookies(app: App) -> None:
    @app.get('/seen')
    def seen(req): return Li(req.query_params), Li(req.cookies), Li(req.headers)
    with Client(app) as client:
        harmless(client.post('/whole', data={'extra': 'x', **EVIL}).text)
        harmless(client.post('/rest', data={'extra': 'x', **EVIL}).text)
        harmless(client.get('/seen?onclick=extra', headers={'cookie': 'onclick=extra', 'onclick': 'x'}).text)


def test_what_looks_like_an_element_is_none() -> None:
    shaped = {'tag': 'script', 'attrs': {}, 'children': ['alert(1)'], '__html__': '<b>', '__ft__': 'x'}
    for thing in Loose(**shaped), SimpleNamespace(**shaped), Item(extra=shaped): assert '<script' not in str(Li(thing))
    assert str(Li('x', title=Loose(**shaped))).startswith('<li title=')


def test_what_the_developer_wrote_is_taken_for_attributes_as_before() -> None:
    assert str(Li({'id': 'a', '@click': 'f()'}, 'x', [{'title': 'b'}])) == '<li id="a" @click="f()" title="b">x</li>'
    assert str(Li('x')({'id': 'a'})) == '<li id="a">x</li>'


def test_pydantic_models(app: App) -> None:
    pydantic = pytest.importorskip('pydantic')
    model = pydantic.create_model('Posted', name=(str, ''), extra=(Any, None), more=(dict[str, Any], {}),
                                  items=(list[dict[str, Any]], []))
    def posted(item): return Li(item.extra), Li(item.more), Ul(item.items)
    posted.__annotations__['item'] = model
    app.post('/posted')(posted)
    with Client(app) as client: harmless(client.post('/posted', json=SENT).text)


def test_objects_are_dicts_to_their_users(app: App) -> None:
    @app.post('/used')
    async def used(extra, req):
        return {'same': extra == SENT['extra'], 'dict': isinstance(extra, dict), **(await req.json())}
    with Client(app) as client: assert client.post('/used', json=SENT).json() == {'same': True, 'dict': True, **SENT}
