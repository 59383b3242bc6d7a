"Who is let in: by a name, by a password."
from __future__ import annotations

from typing import Any

import pytest
from live import Live, ended, live
from websockets.exceptions import InvalidStatus

from nbws.app import App
from nbws.core.errors import NbwsError
from nbws.ui.gates import Attempts, ask_name, hash_password, local_path, login

RIGHT = {'name': 'ada', 'password': 'correct horse'}
HASH = hash_password(RIGHT['password'])


def guarded(users: Any = None) -> App:
    app = App()
    login(app, {'ada': HASH} if users is None else users)
    @app.get('/')
    def home(auth: Any) -> str: return f'hello {auth}'
    @app.get('/data')
    def data(auth: Any, session: Any) -> str: return f'{auth} {session.get("basket")}'
    @app.post('/change')
    def change() -> str: return 'changed'
    @app.ws('/ws')
    def said(text: str, auth: Any) -> str: return f'{auth}: {text}'
    return app


def tried(c: Live, **fields: str) -> Any: return c.post('/login', data=fields)


def test_nothing_without_a_password() -> None:
    with live(guarded()) as c:
        sent = c.get('/data?n=1&m=2')
        assert (sent.status_code, sent.headers['location']) == (303, '/login?next=%2Fdata%3Fn%3D1%26m%3D2')
        assert c.post('/change').status_code == 401
        with pytest.raises(InvalidStatus) as e: c.ws('/ws')
        assert e.value.response.status_code == 403
        assert 'type="password"' in c.get('/login').text


def test_in_and_out() -> None:
    "Under a new session each time; the sockets of the login end with it."
    with live(guarded()) as c:
        for wrong in ({'name': 'ada', 'password': 'x'}, {**RIGHT, 'name': 'eve'}, {'name': 'ada'}):
            answer = tried(c, **wrong)
            assert (answer.status_code, 'do not fit' in answer.text) == (401, True)
        first = tried(c, **RIGHT, next='/data')
        assert (first.status_code, first.headers['location']) == (303, '/data')
        assert c.get('/data').text == 'ada None'
        cookie = '; '.join(f'{k}={v}' for k, v in c.http.cookies.items())
        ws = c.ws('/ws', additional_headers={'cookie': cookie, 'origin': c.server.url})
        ws.send('{"text": "hi"}')
        assert ws.recv(10) == 'ada: hi'
        assert c.post('/logout').headers['location'] == '/login'
        assert ended(ws) == (1008, 'logged out')
        assert c.get('/data').status_code == 303
        c.http.cookies.clear()
        assert c.get('/data', headers={'cookie': cookie}).status_code == 303, 'the old cookie is worth nothing'


def test_a_login_renews_the_session() -> None:
    "Whoever knew the id from before has nothing of it."
    app = guarded()
    with live(app) as c:
        ask = c.get('/login').cookies
        tried(c, **RIGHT)
        assert dict(ask) != dict(c.http.cookies)


@pytest.mark.parametrize('there', ['https://evil.example', '//evil.example', '/\\evil.example', '\\\\evil.example',
                                   '/\t/evil.example', 'javascript:go()', '', '/a\r\nSet-Cookie: x=y', '/%0d%0a' * 999])
def test_no_way_to_elsewhere(there: str) -> None:
    assert local_path(there) == '/'
    with live(guarded()) as c: assert tried(c, **RIGHT, next=there).headers['location'] == '/'


def test_guesses_are_bounded() -> None:
    "Also with the right password then; another visitor's name is not concerned."
    with live(guarded({'ada': HASH, 'bob': HASH})) as c:
        for _ in range(5): assert tried(c, name='ada', password='x').status_code == 401
        late = tried(c, **RIGHT)
        assert (late.status_code, int(late.headers['retry-after']) > 200) == (429, True)
        assert 'Too many attempts' in late.text
        assert tried(c, name='bob', password=RIGHT['password']).status_code == 303


def test_what_is_counted_is_bounded() -> None:
    attempts = Attempts()
    attempts.MOST = 100  # type: ignore[misc]
    for n in range(1000): attempts.begin(f'10.0.{n // 256}.{n % 256}', f'name {n}')
    assert len(vars(attempts)['_times']) <= 100
    assert [attempts.begin('x', f'n{n}', 1.0) > 0 for n in range(31)] == [False]*30 + [True]
    attempts = Attempts()
    for _ in range(20): # The right one takes the wrong ones before it away
        assert not attempts.begin('x', 'ada')
        attempts.right('x', 'ada')


@pytest.mark.parametrize('users', [{'ada': 'correct horse'}, ['ada'], None, 3])
def test_what_are_no_users(users: Any) -> None:
    with pytest.raises(NbwsError): login(App(), users)


def test_users_may_be_a_function() -> None:
    "Async, too."
    async def known(name: str, password: str) -> bool: return (name, password) == ('eve', 'apple')
    with live(guarded(known)) as c:
        assert tried(c, **RIGHT).status_code == 401
        assert tried(c, name='eve', password='apple').status_code == 303
        assert c.get().text == 'hello eve'


def test_lengths_of_passwords() -> None:
    for bad in ('', 'x' * 1001):
        with pytest.raises(ValueError, match='1 to 1000'): hash_password(bad)
    with live(guarded()) as c: assert tried(c, name='ada', password='x' * 100_000).status_code == 401


def test_a_name() -> None:
    "Of 1 to 40 characters that can be seen; then where the visitor wanted to go."
    app = App()
    ask_name(app)
    @app.get('/room')
    def room(session: Any) -> str: return session['name']
    with live(app) as c:
        sent = c.get('/room')
        assert sent.headers['location'] == '/name?next=%2Froom'
        assert 'name="next"' in c.get(sent.headers['location']).text
        for bad in ('', '   ', 'x' * 41, 'a\x07b', '\u202eabc'):
            answer = c.post('/name', data={'name': bad, 'next': '/room'})
            assert (answer.status_code, '1 to 40' in answer.text) == (422, True), repr(bad)
        done = c.post('/name', data={'name': '  Zoë   B. ', 'next': '/room'})
        assert done.headers['location'] == '/room'
        assert c.get('/room').text == 'Zoë B.'
        assert 'value="&quot;' not in c.get('/name?next="><script>').text
