"""A call that is given the wrong thing says so at once, in the cell that has it, and names what a person knows."""
from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import nbws.common
import nbws.testing
import nbws.tremolo
from nbws.common import P, WebSocket, ask_name, hash_password, login
from nbws.core.docments import name_methods_after
from nbws.core.errors import NbwsError
from nbws.sockets.dispatch import latest
from nbws.testing import Client
from nbws.web.succession import adopt

from nbws import App


def page() -> str: return 'page'


WRONG: dict[str, tuple[Callable[[App], Any], str]] = {
    'a number for a path': (lambda app: app.route(5), r"such as @app.route\('/chat'\), and not 5"),
    'the same by a verb': (lambda app: app.get(5), 'takes a path'),
    'a function for a name': (lambda app: app.get('/x', page), # type: ignore[arg-type]
                              'below the decorator, and not the function page'),
    'a number for methods': (lambda app: app.route('/x', 5), # type: ignore[arg-type]
                             "methods are text, such as 'post'"),
    'numbers for methods': (lambda app: app.route('/x', [5]), # type: ignore[list-item]
                            'methods are text'),
    'a number for a host': (lambda app: app.route('/x', host=5), 'a host is text'), # type: ignore[arg-type]
    'a number for body_wrap': (lambda app: app.route('/x', body_wrap=5), 'body_wrap'), # type: ignore[arg-type]
    'a path above a number': (lambda app: app.route('/x')(5), r"@app.route\('/x'\) stands above a function, and not 5"),
    'a bare ws': (lambda app: app.ws(page), # type: ignore[arg-type]
                  r"such as @app.ws\('/chat'\), and not the function page"),
    'ws without a path': (lambda app: app.ws(None), 'takes a path'), # type: ignore[arg-type]
    'ws above a number': (lambda app: app.ws('/x')(5), 'stands above a function'), # type: ignore[type-var]
    'an unknown overflow': (lambda app: app.ws('/x', overflow='wiat'), "'wait', 'drop' or 'close', and not 'wiat'"),
    'a number for subprotocols': (lambda app: app.ws('/x', subprotocols=5), # type: ignore[arg-type]
                                  'subprotocols are text'),
    'a bare every': (lambda app: app.every(page), r'@app.every\(1\)'), # type: ignore[arg-type]
    'every of a text': (lambda app: app.every('1'), 'takes seconds'), # type: ignore[arg-type]
    'every 0 seconds': (lambda app: app.every(0), 'at least 0.001'),
    'every above a number': (lambda app: app.every(3)(5), # type: ignore[arg-type]
                             r'@app.every\(3\) stands above a function'),
    'a text for a part': (lambda app: app.part('div'), # type: ignore[arg-type]
                          "@app.part stands above a function, and not 'div'"),
    'a number for a tag': (lambda app: app.part(tag=5), 'the tag of a part'), # type: ignore[arg-type]
    'on_join with parentheses': (lambda app: app.on_join(), '@app.on_join stands above a function, without paren'),
    'on_leave of a room': (lambda app: app.on_leave('people'), # type: ignore[arg-type]
                           "without parentheses, and not 'people'"),
    'on_startup with parentheses': (lambda app: app.on_startup(), 'without parentheses'),
    'on_shutdown of a text': (lambda app: app.on_shutdown('x'), 'without parentheses'), # type: ignore[type-var]
    'an unknown event': (lambda app: app.on_event('start'), "'startup' or 'shutdown', and not 'start'"),
    'middleware with parentheses': (lambda app: app.middleware(), 'without parentheses'),
    'middleware of another kind': (lambda app: app.middleware('https'), "and not 'https'"),
    'a bare exception_handler': (lambda app: app.exception_handler(page), 'such as 404 or KeyError'),
    'a text for a status': (lambda app: app.exception_handler('404'), "and not '404'"),
    'a number that is no status': (lambda app: app.exception_handler(4040), 'such as 404'),
    'a number for its handler': (lambda app: app.add_exception_handler(404, 5), # type: ignore[arg-type]
                                 r'@app.exception_handler\(404\) stands above a function'),
    'add_route without a function': (lambda app: app.add_route('/x'), r"app.add_route\('/x', page\)"),
    'a number for a prefix': (lambda app: app.mount(5, App()), r"app.mount\('/sub'"), # type: ignore[arg-type]
    'a number for files': (lambda app: app.static(5, '.'), 'takes a path'), # type: ignore[arg-type]
    'a number for an ending': (lambda app: app.static_route(5), r"'\.png'"), # type: ignore[arg-type]
    'a number for a room': (lambda app: app.room(5), r"app.room\('people'\), and not 5"), # type: ignore[arg-type]
    'a text for a history': (lambda app: app.room('x', '5'), # type: ignore[arg-type]
                             "history is how many .* and not '5'"),
    'less than no history': (lambda app: app.room('x', -1), '0 or more'),
    'the same for a room that is there': (lambda app: app.room('x').keep(-1), '0 or more'),
    'an unknown overflow of a room': (lambda app: app.room('x', overflow='x'), "'wait', 'drop' or 'close'"),
    'a name for a socket': (lambda app: app.room('x').join('ann'), # type: ignore[arg-type]
                            "the `ws` of a handler, and not 'ann'"),
    'a function for the path of sockets': (lambda app: app.to(page, 'hi'), # type: ignore[arg-type]
                                           r"app.to\('/ws', .* not the function page"),
    'a function to run': (lambda app: app.run(page), # type: ignore[arg-type]
                          r'app.run\(ticker\(\)\), and not the function page'),
    'a number to refresh': (lambda app: app.refresh(5), r"app.refresh\('/figure'\)"), # type: ignore[arg-type]
    'a number for a route': (lambda app: app.url(5), "a route's name or its function"),
    'on_startup of an app': (lambda app: App(on_startup=5), 'on_startup is a function, and not 5'),
    'lifespan of an app': (lambda app: App(lifespan=5), 'lifespan is a function'), # type: ignore[arg-type]
    'a key that is a number': (lambda app: App(secret_key=5), 'secret_key is text$'), # type: ignore[arg-type]
    'handlers that are no dict': (lambda app: App(exception_handlers=5), 'is a dict'), # type: ignore[arg-type]
    'a handler that is a number': (lambda app: App(exception_handlers={404: 5}), # type: ignore[dict-item]
                                   'what answers for 404'),
    'a text for ask_name': (lambda app: ask_name('Name?'), r'ask_name\(app\)'), # type: ignore[arg-type]
    'users for login': (lambda app: login({'ada': 'x'}, app), r'login\(app, users\)'), # type: ignore[arg-type]
    'a number for a password': (lambda app: hash_password(5), 'a password is text$'), # type: ignore[arg-type]
}


@pytest.mark.parametrize('call', WRONG)
def test_a_wrong_argument_is_refused_where_it_is_given(call: str) -> None:
    app = App()
    before = app.table
    run, told = WRONG[call]
    with pytest.raises(TypeError, match=told) as error: run(app)
    assert isinstance(error.value, NbwsError)
    assert app.table is before


@pytest.mark.parametrize(('options', 'told'), [
    ({'max_age': 'a day'}, "max_age is a number of seconds, such as 3600, and not 'a day'"),
    ({'same_site': 'no'}, "'lax', 'strict' or 'none', and not 'no'"),
    ({'session_cookie': 'a b'}, 'cannot be a cookie name'), ({'sess_path': '/;a'}, 'line break')])
def test_what_no_session_cookie_can_have_is_refused_where_the_app_is_made(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told): App(**options)


def test_a_single_subprotocol_is_text() -> None:
    app = App()
    @app.ws('/ws', subprotocols='chat')
    def ws(msg: str) -> None: ...
    with Client(app) as client, client.ws('/ws', subprotocols=['chat']) as socket:
        assert socket.subprotocol == 'chat'


@pytest.mark.parametrize('call', ["app.ws('/ws', page)", "app.get('/x')", 'app.every(3)', 'app.part()',
                                  "app.on_event('startup')", 'app.exception_handler(404)'])
def test_a_decorator_above_nothing_warns(call: str) -> None:
    with pytest.warns(RuntimeWarning, match='registers nothing without a function below it') as told:
        exec(call, {'app': App(), 'page': page})
    assert call.partition('(')[0] in str(told[0].message)
    assert told[0].filename == '<string>', 'the warning is for the line that has the call'


def test_a_decorator_that_is_shown_or_used_does_not_warn() -> None:
    app = App()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert repr(app.every(3)) == '@app.every(3) registers nothing without a function below it'
        app.get('/x')(page)


# What is sent to

def app_with_sockets() -> App:
    app = App()
    @app.ws('/chat')
    def chat(msg: str) -> None: ...
    @app.ws('/rooms/{name}')
    def in_room(name: str, msg: str) -> None: ...
    @app.get('/figure')
    def figure() -> str: return 'figure'
    app.mount('/sub', App())
    return app


@pytest.mark.parametrize(('path', 'told'), [
    ('/caht', "no socket can be at '/caht': did you mean '/chat'"),
    ('/zzzzz', 'there are /chat, /rooms/{name}'), ('chat', 'did you mean'), ('/chat?a=1', 'did you mean'),
    ('/figure', 'no socket can be'), ('/rooms/{name}', 'stands for many paths'), ('/sub/ws', 'its own `to`')])
def test_to_refuses_a_path_where_no_socket_can_be(path: str, told: str) -> None:
    with pytest.raises(NbwsError, match=told): app_with_sockets().to(path, 'hello')


def test_to_of_an_app_without_sockets_says_that_there_is_none() -> None:
    with pytest.raises(NbwsError, match=r'there is none$'): App().to('/ws', 'hello')


def test_to_says_0_where_nobody_is() -> None:
    app = app_with_sockets()
    assert (app.to('/chat', 'hello'), app.to('/rooms/tea', 'hello')) == (0, 0)


def test_to_of_an_app_that_was_taken_over_reaches_who_is_there_now() -> None:
    old, new = app_with_sockets(), app_with_sockets()
    with Client(old) as client, client.ws('/chat') as socket:
        async def take_over() -> None: adopt(new, old)
        old.run(take_over()).result()
        assert latest(old) is new
        assert old.to('/chat', P('hello')) == 1
        assert socket.receive() == '<p>hello</p>'


def test_refresh_refuses_a_path_that_nothing_answers() -> None:
    app = app_with_sockets()
    with pytest.raises(NbwsError, match="no page is at '/figur': did you mean '/figure'"): app.refresh('/figur')
    assert [app.refresh(what) for what in ('', '/figure', '/sub/x', 'an-id')] == [0, 0, 0, 0]


# Whose names errors tell

def known_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in (nbws.testing, nbws.tremolo, nbws.common):
        for name in getattr(module, '__all__', ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) and thing.__module__.startswith('nbws.'):
                found[name] = thing
    return found


KNOWN = known_classes()


@pytest.mark.parametrize('name', sorted(KNOWN))
def test_pythons_own_errors_name_a_class_that_people_know(name: str) -> None:
    def called_after(f: Any) -> str: return str(f.__qualname__.partition('.')[0])
    methods = [m for m, f in inspect.getmembers(KNOWN[name], inspect.isfunction)
               if not m.startswith('_') and '.' in f.__qualname__ and f.__module__.startswith('nbws.')
               and called_after(f) not in {*KNOWN, KNOWN[name].__name__}]
    assert not methods, f'{methods}: see `name_methods_after`'


def test_a_missing_argument_is_told_with_the_name_of_the_app() -> None:
    with pytest.raises(TypeError, match=r'^App\.room\(\) missing'): App().room() # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r'^App\.every\(\) missing'): App().every() # type: ignore[call-arg]
    receive: Any = WebSocket.receive
    with pytest.raises(TypeError, match=r'^WebSocket\.receive\(\) takes'): receive(1, 2, 3)


def test_only_methods_of_bases_below_are_called_after_a_class() -> None:
    class Base:
        def f(self) -> None: ...
    class Public(Base):
        def g(self) -> None: ...
    class Own(Public):
        def h(self) -> None: ...
    name_methods_after(Own, Public)
    assert (Own.f.__qualname__, Own.g.__qualname__) == (Base.f.__qualname__, Public.g.__qualname__)


def test_a_test_that_sends_a_dict_is_told_what_sends_it() -> None:
    app = App()
    @app.ws('/ws')
    def ws(msg: str) -> str: return msg
    with Client(app) as client, client.ws('/ws') as socket:
        with pytest.raises(TypeError, match='send_json'): socket.send({'msg': 'hi'}) # type: ignore[arg-type]
        socket.send_json({'msg': 'hi'})
        assert socket.receive() == 'hi'


def test_a_part_that_a_page_does_not_give_enough_is_named(expect_log: Any) -> None:
    app = App()
    @app.part
    def chart(n: int) -> str: return str(n)
    @app.get('/')
    def index() -> Any: return chart()
    expect_log("no value for 'n'", times=1)
    with Client(app) as client:
        assert client.get('/').text == "400 chart: no value for 'n'; nothing came"
        assert client.get('/?n=5').status == 200


@pytest.mark.parametrize('methods', [{'GET', 'PUT'}, ('get', 'put'), iter(['GET', 'PUT']), ['get', 'put']])
def test_methods_are_any_collection(methods: Any) -> None:
    app = App()
    app.route('/x', methods)(page)
    assert {m for r in app.routes if r.path == '/x' for m in r.methods} == {'GET', 'PUT'}
