"""Sessions: logins get a new id, apps have their own, nobody's traffic throws out somebody else's."""
from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from logs import ExpectLog
from processes import asgi_server, nbws, running
from raw import Raw, text

from nbws import App
from nbws.core.data import Fields
from nbws.core.request import Request
from nbws.server.listener import Server
from nbws.web.session_data import Session
from nbws.web.session_store import ENDED, LARGEST, LIVE
from nbws.web.sessions import Sessions
from nbws.web.succession import adopt
from nbws.testing import Client
from nbws.tremolo import Tremolo


pytestmark = pytest.mark.usefixtures('data')


def make(kind: Any = App, **options: Any) -> Any:
    "An app that shows its session, and changes it in every way."
    app = kind(**options)
    @app.get('/')
    async def home(session: dict[str, Any]) -> str: return json.dumps(session)
    @app.get('/put/{key}/{value}')
    async def put(key: str, value: str, session: dict[str, Any]) -> str:
        session[key] = value
        return json.dumps(session)
    @app.get('/way/{way}')
    async def another_way(way: str, session: dict[str, Any]) -> str:
        if way == 'update': session.update(auth='ann')
        elif way == 'setdefault': session.setdefault('auth', 'ann')
        elif way == 'or': session |= {'auth': 'ann'}
        return json.dumps(session)
    @app.get('/large')
    async def large(session: dict[str, Any], n: int = 5000) -> str:
        session['large'] = 'x' * n
        return 'done'
    @app.get('/drop')
    def drop(session: dict[str, Any], how: str = 'del') -> str: # In a thread
        if how == 'del': del session['auth']
        elif how == 'pop': session.pop('auth')
        elif how == 'none': session['auth'] = None
        else: session.clear()
        return json.dumps(session)
    @app.get('/renew')
    async def renew(session: Session) -> str:
        session.renew()
        return json.dumps(session)
    @app.get('/nested')
    async def nested(session: dict[str, Any]) -> str:
        session.setdefault('cart', []).append('apple')
        return json.dumps(session)
    @app.ws('/ws')
    async def talk(msg: str, session: dict[str, Any]) -> str:
        if msg == 'log in': session['auth'] = 'ann'
        elif msg == 'log out': del session['auth']
        elif msg == 'renew': session.renew() # type: ignore[attr-defined]
        elif msg != 'look': session['said'] = msg
        return json.dumps(session)
    return app


def ask(client: Any, path: str, cookie: str | None = None) -> Any:
    "What the session holds, for whoever brings this cookie; and the cookie that comes back."
    client.cookies.clear()
    reply = client.get(path, headers={'cookie': cookie} if cookie else {})
    assert reply.status == 200, reply.text
    try: seen = json.loads(reply.text)
    except ValueError: seen = reply.text
    fields = reply.headers.getlist('set-cookie')
    return seen, fields[0].partition(';')[0] if fields else ''


@pytest.fixture(params=[App, Tremolo])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(make()) as client: yield client


# ---------------------------------------------------------------- fixation

@pytest.mark.parametrize('path', ['/put/auth/ann', '/put/user/ann', '/put/user_id/7', '/put/admin/yes', '/put/role/x',
                                  '/put/username/ann', '/put/email/a@b', '/way/update', '/way/setdefault', '/way/or'])
def test_a_login_has_a_new_id(client: Client, path: str) -> None:
    _, before = ask(client, '/put/theme/dark')
    seen, after = ask(client, path, before)
    assert len(seen) == 2
    assert after
    assert after != before
    assert ask(client, '/', after) == (seen, '')
    assert ask(client, '/', before) == ({}, '') # And its answer does not take the new cookie's place
    assert ask(client, '/put/theme/light', before) == ({'theme': 'light'}, '')
    assert ask(client, '/', after)[0] == seen


def test_an_old_cookie_that_logs_in_is_somebody_again(client: Client) -> None:
    _, before = ask(client, '/put/theme/dark')
    ask(client, '/put/auth/ann', before)
    seen, late = ask(client, '/put/auth/bob', before)
    assert seen == {'auth': 'bob'}
    assert ask(client, '/', late)[0] == seen


def test_an_old_cookie_in_front_of_the_new_one(client: Client) -> None:
    "Whoever planted it gave it a longer path; the login counts all the same."
    _, before = ask(client, '/put/theme/dark')
    seen, after = ask(client, '/put/auth/ann', before)
    assert ask(client, '/', f'{before}; {after}')[0] == seen


def test_another_login_takes_nothing_along(client: Client) -> None:
    _, ann = ask(client, '/put/auth/ann')
    _, bob = ask(client, '/put/auth/bob', ann)
    assert ask(client, '/', ann)[0] == {}
    assert ask(client, '/', bob)[0] == {'auth': 'bob'}
    _, same = ask(client, '/put/auth/bob', bob)
    assert not same


@pytest.mark.parametrize('how', ['del', 'pop', 'none', 'clear'])
def test_a_cookie_from_before_the_end_of_a_login(client: Client, how: str) -> None:
    "It says that somebody is logged in, and is signed: the id is what has died."
    _, before = ask(client, '/put/auth/ann')
    seen, after = ask(client, f'/drop?how={how}', before)
    assert not seen.get('auth')
    assert ask(client, '/', before)[0] == {}
    assert not ask(client, '/', after)[0].get('auth')


def test_on_request(client: Client) -> None:
    _, before = ask(client, '/put/member/ann')
    seen, after = ask(client, '/renew', before)
    assert seen == {'member': 'ann'}
    assert after
    assert ask(client, '/', before)[0] == {}
    assert ask(client, '/', after)[0] == seen


def test_what_was_cleared_does_not_come_back(client: Client) -> None:
    _, before = ask(client, '/put/member/ann')
    assert ask(client, '/drop?how=clear', before) == ({}, 'session_=')
    assert ask(client, '/', before) == ({}, '')


def test_a_first_visit_needs_no_new_id(client: Client) -> None:
    assert ask(client, '/put/auth/ann')[0] == {'auth': 'ann'}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(make()) as server: yield server


class Page:
    "Talks to a server over the network, with a cookie."
    def __init__(self, server: Server) -> None: self.server = server
    cookies: dict[str, str] = {}
    def get(self, path: str, headers: dict[str, str]) -> Any:
        import http.client
        at = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=BOUND)
        try:
            at.request('GET', path, headers=headers)
            answer = at.getresponse()
            said = answer.read().decode()
            class Reply:
                status, text = answer.status, said
                class headers:
                    @staticmethod
                    def getlist(name: str) -> list[str]: return answer.headers.get_all(name) or []
            return Reply
        finally: at.close()


def says(raw: Raw, msg: str) -> Any:
    "What the handler answers to a message."
    raw.send(text(json.dumps({'msg': msg})))
    return json.loads(raw.frame()[2])


def test_open_sockets_of_the_old_id(server: Server) -> None:
    "They go on with what was there before; a login is not for them, nor what comes into the session after it."
    page = Page(server)
    _, before = ask(page, '/nested')
    with Raw(server) as raw:
        raw.open('/ws', cookie=before)
        assert says(raw, 'look') == {'cart': ['apple']}
        ask(page, '/put/theme/dark', before)
        assert says(raw, 'look') == {'cart': ['apple'], 'theme': 'dark'} # Shared until then
        _, after = ask(page, '/put/auth/ann', before)
        ask(page, '/nested', after)
        assert says(raw, 'look') == {'cart': ['apple'], 'theme': 'dark'}
        assert says(raw, 'hello')['said'] == 'hello'
        assert ask(page, '/', after)[0] == {'cart': ['apple', 'apple'], 'theme': 'dark', 'auth': 'ann'}
        with Raw(server) as own:
            own.open('/ws', cookie=after)
            assert says(own, 'look')['auth'] == 'ann'
            ask(page, '/drop', after)
            assert 'auth' not in says(own, 'look') # A login that ends does so for all who share it
        with Raw(server) as late:
            late.open('/ws', cookie=before)
            assert says(late, 'look') == {}


def test_renewal_empties_the_old_id(server: Server) -> None:
    page = Page(server)
    _, before = ask(page, '/put/member/ann')
    with Raw(server) as raw:
        raw.open('/ws', cookie=before)
        ask(page, '/renew', before)
        assert says(raw, 'look') == {}


def test_a_login_over_a_socket_is_the_sockets(server: Server) -> None:
    "No cookie can be sent there, and who else has the old one must not be logged in by it."
    page = Page(server)
    _, cookie = ask(page, '/put/theme/dark')
    with Raw(server) as raw:
        raw.open('/ws', cookie=cookie)
        assert says(raw, 'log in') == {'theme': 'dark', 'auth': 'ann'}
        assert says(raw, 'look')['auth'] == 'ann'
        assert ask(page, '/', cookie)[0] == {'theme': 'dark'}
        assert says(raw, 'hello')['auth'] == 'ann'


def test_a_login_with_the_handshake(server: Server) -> None:
    "`conn` runs before it is answered, so its answer brings the new cookie."
    def conn(session: dict[str, Any]) -> None: session['auth'] = 'ann'
    server.app.ws('/in', conn=conn)(lambda msg, session: json.dumps(session))
    page = Page(server)
    _, before = ask(page, '/put/theme/dark')
    with Raw(server) as raw:
        after = raw.open('/in', cookie=before)['set-cookie'].partition(';')[0]
        assert says(raw, 'look') == {'theme': 'dark', 'auth': 'ann'}
        assert ask(page, '/', after)[0] == {'theme': 'dark', 'auth': 'ann'}
        assert ask(page, '/', before)[0] == {}


def test_what_a_socket_says_is_there_for_the_next_page(server: Server) -> None:
    page = Page(server)
    _, cookie = ask(page, '/put/auth/ann')
    with Raw(server) as raw:
        raw.open('/ws', cookie=cookie)
        assert says(raw, 'hello') == {'auth': 'ann', 'said': 'hello'}
    seen, _ = ask(page, '/', cookie)
    assert seen == {'auth': 'ann', 'said': 'hello'}
    with Raw(server) as raw:
        raw.open('/ws', cookie=cookie)
        says(raw, 'log out') # Over which no cookie can be sent: the old one is dead
    assert ask(page, '/', cookie)[0] == {}


@pytest.mark.parametrize('kind', ['nbws', 'uvicorn', 'hypercorn', 'granian'])
def test_under_every_server(kind: str, tmp_path: Path) -> None:
    (tmp_path/'logs_in.py').write_text(
        "from nbws import App\napp = App()\n"
        "@app.get('/')\nasync def home(session): return session.get('auth', 'nobody')\n"
        "@app.get('/visit')\nasync def visit(session): session['n'] = 1\n"
        "@app.get('/login')\nasync def login(session): session['auth'] = 'ann'\n")
    import http.client
    with asgi_server(kind, 'logs_in:app', tmp_path) as process:
        def get(path: str, cookie: str = '') -> tuple[str, str]:
            at = http.client.HTTPConnection('127.0.0.1', process.port, timeout=BOUND)
            try:
                at.request('GET', path, headers={'Cookie': cookie} if cookie else {})
                answer = at.getresponse()
                return answer.read().decode(), (answer.headers['set-cookie'] or '').partition(';')[0]
            finally: at.close()
        before = get('/visit')[1]
        after = get('/login', before)[1]
        assert after
        assert (get('/', before)[0], get('/', after)[0]) == ('nobody', 'ann')
        process.stop()


# ---------------------------------------------------------------- a dict for all who know dicts

def test_a_session_is_a_dict() -> None:
    sessions = Sessions('a key for this test')
    session = sessions.load(Request())
    session['a'], session['b'] = 1, [2]
    assert session == {'a': 1, 'b': [2]}
    assert (session.pop('a'), session.pop('a', 0), session.popitem()) == (1, 0, ('b', [2]))
    for missing in (lambda: session['x'], lambda: session.pop('x'), session.popitem):
        with pytest.raises(KeyError): missing()
    with pytest.raises(KeyError): del session['x']
    session.update([('a', 1)], b=2)
    session |= {'c': 3}
    assert session.setdefault('c', 4) == 3
    assert (type(copy.deepcopy(session)), copy.copy(session), session | {'d': 4}) == (Fields, {'a': 1, 'b': 2, 'c': 3},
                                                                                      {'a': 1, 'b': 2, 'c': 3, 'd': 4})
    session.clear()
    assert not session


# ---------------------------------------------------------------- time and traffic

def visit(cookie: str = '', peer: str = '192.0.2.1') -> Request:
    "A request with this cookie, from this address."
    return Request(headers={'cookie': cookie} if cookie else {}, peer=(peer, 1))


def given(sessions: Sessions, session: Session) -> str:
    "The cookie that the answer sets, as the browser sends it back."
    value = sessions.save(session)
    assert value
    return value.partition(';')[0]


def test_the_clock_steps_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cookie = ask(client, '/put/auth/ann')
    now = time.time
    for step in (-10, -86400 * 400, 3600):
        monkeypatch.setattr(time, 'time', lambda step=step: now() + step)
        assert ask(client, '/', cookie)[0] == {'auth': 'ann'}
        fresh = Sessions('key')
        assert fresh.load(visit(cookie)) == {}
    monkeypatch.setattr(time, 'time', lambda: now() + 366 * 86400)
    assert ask(client, '/', cookie)[0] == {}


@pytest.mark.parametrize(('others', 'peer'), [
    ('no data', '192.0.2.1'), ('small', '192.0.2.1'), ('large', '192.0.2.1'), ('come back', '192.0.2.2')])
def test_a_large_session_stays(others: str, peer: str, expect_log: ExpectLog) -> None:
    "10,050 visitors come by, of the same address or of another; with large sessions too, which are 50 MB together."
    expect_log('more than a cookie can hold', times=1)
    sessions = Sessions('a key for this test')
    mine = sessions.load(visit())
    mine['large'], mine['auth'] = 'x' * 5000, 'ann'
    cookie = given(sessions, mine)
    del mine
    for i in range(10_050):
        session = sessions.load(visit(peer=peer))
        if others == 'no data': sessions.touch(session)
        else: session['n'] = i if others == 'small' else f'{i:5000}'
        value = given(sessions, session)
        if others == 'come back': assert sessions.load(visit(value, peer))['n'] == f'{i:5000}'
    assert sessions.load(visit(cookie)) == {'large': 'x' * 5000, 'auth': 'ann'}
    assert sessions.store.texts.total <= LARGEST
    assert sessions.store.size <= LIVE
    assert len(sessions.store.live) <= 1000


def test_workers() -> None:
    "Each has a memory of its own, and the newer cookie counts; an older one that comes late does not."
    one, other = (Sessions('a key for this test') for _ in range(2))
    session = one.load(visit())
    session['n'] = 0
    older = cookie = given(one, session)
    for i in range(6):
        worker = (one, other)[i % 2]
        session = worker.load(visit(cookie))
        assert session == {'n': i}
        session['n'] += 1
        older, cookie = cookie, given(worker, session)
    assert worker.load(visit(older)) == {'n': 6}


def test_what_a_socket_wrote_stays() -> None:
    "It is in no cookie yet. Visitors without a cookie threw it out."
    sessions = Sessions('a key for this test', live=100)
    page = sessions.load(visit())
    page['n'] = 1
    cookie = given(sessions, page)
    on_a_socket, gone = sessions.load(visit(cookie)), sessions.load(visit(cookie))
    def come_by() -> None:
        for _ in range(300): sessions.touch(sessions.load(visit()))
    on_a_socket['n'] = 2
    come_by()
    assert sessions.load(visit(cookie)) == {'n': 2}
    on_a_socket['seen'] = [3]
    del on_a_socket, gone, page
    come_by()
    assert sessions.load(visit(cookie)) == {'n': 2, 'seen': [3]}


def test_what_is_too_large_even_for_memory(expect_log: ExpectLog) -> None:
    expect_log('is larger than sessions may be')
    sessions = Sessions('a key for this test')
    session = sessions.load(visit())
    session['large'] = 'x' * (LARGEST // 16)
    given(sessions, session)
    assert sessions.store.texts.total == 0


def test_dead_ids_are_bounded() -> None:
    sessions = Sessions('a key for this test')
    session = sessions.load(visit())
    session['n'] = 1
    given(sessions, session)
    for _ in range(ENDED + 100):
        session.renew()
        given(sessions, session)
    assert len(sessions.store.ended) == ENDED


# ---------------------------------------------------------------- whose cookie it is

first, second = App(), App()
for app in (first, second): app.get('/')(lambda session: session.get('admin', 'nobody'))


def test_two_apps_of_one_module() -> None:
    forged = first.sessions.load(Request())
    forged['admin'] = 'yes'
    cookie = given(first.sessions, forged)
    assert first.sessions.load(visit(cookie)) == {'admin': 'yes'}
    assert second.sessions.load(visit(cookie)) == {}


@pytest.mark.parametrize('key', [None, 'the same key for both'])
def test_two_apps_that_a_function_made(key: str | None) -> None:
    with Client(make(secret_key=key)) as one, Client(make(secret_key=key)) as other:
        _, cookie = ask(one, '/put/admin/yes')
        assert ask(one, '/', cookie)[0] == {'admin': 'yes'}
        seen, own = ask(other, '/put/theme/dark', cookie)
        assert seen == {'theme': 'dark'}
        both = f'{cookie}; {own}' # On one host: neither takes the other's place
        assert own.partition('=')[0] != cookie.partition('=')[0]
        assert (ask(one, '/', both)[0], ask(other, '/', both)[0]) == ({'admin': 'yes'}, {'theme': 'dark'})


def test_apps_that_are_to_share() -> None:
    a, b = (App(secret_key='k', session_salt='shop') for _ in range(2))
    session = a.sessions.load(Request())
    session['n'] = 1
    assert b.sessions.load(visit(given(a.sessions, session))) == {'n': 1}


def test_a_mounted_app_is_a_part(expect_log: ExpectLog) -> None:
    whole, part, own = make(), make(), make(secret_key='its own')
    inner = make()
    part.mount('/inner', inner)
    whole.mount('/part', part)
    whole.mount('/own', own)
    with Client(whole) as client:
        _, cookie = ask(client, '/put/auth/ann')
        for path in ('/part/', '/part/inner/'): assert ask(client, path, cookie)[0] == {'auth': 'ann'}
        assert ask(client, '/own/', cookie)[0] == {}
        seen, more = ask(client, '/part/put/theme/dark', cookie)
        assert ask(client, '/', more)[0] == seen == {'auth': 'ann', 'theme': 'dark'}


PROGRAM = """
from nbws import App, serve
app = App({options})
other = App({options})
@app.get('/')
async def home(session): return session.get('admin', 'nobody')
@app.get('/admin')
async def admin(session): session['admin'] = 'yes'
other.get('/')(home)
serve(app, port=0)
"""
NOTEBOOK = {'nbformat': 4, 'nbformat_minor': 5, 'metadata': {}, 'cells': [
    {'cell_type': 'code', 'id': 'a', 'metadata': {}, 'outputs': [], 'execution_count': None,
     'source': PROGRAM.format(options='')}]}


def fetch(port: int, path: str, cookie: str = '') -> tuple[str, str]:
    "The text of an answer, and the cookie that it sets."
    import http.client
    at = http.client.HTTPConnection('127.0.0.1', port, timeout=BOUND)
    try:
        at.request('GET', path, headers={'Cookie': cookie} if cookie else {})
        answer = at.getresponse()
        return answer.read().decode(), (answer.headers['set-cookie'] or '').partition(';')[0]
    finally: at.close()


@pytest.mark.parametrize('options', ['', "secret_key='of this program'"])
def test_programs(options: str, tmp_path: Path) -> None:
    "An app knows its cookies again after a restart, in each worker and however it is started; another one does not."
    import sys
    for folder in ('one', 'two'):
        (tmp_path/folder).mkdir()
        (tmp_path/folder/'shop.py').write_text(PROGRAM.format(options=options))
    (tmp_path/'one'/'blog.py').write_text(PROGRAM.format(options=options))
    ways = [nbws('run', 'shop', '--port', '0'), nbws('run', 'shop.py', '--port', '0', '--workers', '2'),
            [sys.executable, 'shop.py']]
    cookie = ''
    for command in (*ways, ways[0]):
        with running(command, cwd=tmp_path/'one') as process:
            process.serves()
            cookie = cookie or fetch(process.port, '/admin')[1]
            for _ in range(4): assert fetch(process.port, '/', cookie)[0] == 'yes', command
            process.stop()
    others = [(nbws('run', 'shop:other', '--port', '0'), 'one'), (nbws('run', 'blog', '--port', '0'), 'one')]
    if not options: others.append((ways[0], 'two')) # The same key of its own in the same program: the same app, moved
    for command, folder in others:
        with running(command, cwd=tmp_path/folder) as process:
            process.serves()
            assert fetch(process.port, '/', cookie)[0] == 'nobody'
            process.stop()


def test_notebooks(tmp_path: Path) -> None:
    for name in ('one', 'two'): (tmp_path/f'{name}.ipynb').write_text(json.dumps(NOTEBOOK))
    cookie = ''
    for name, expected in (('one', 'yes'), ('two', 'nobody'), ('one', 'yes')):
        with running(nbws('run', f'{name}.ipynb', '--port', '0'), cwd=tmp_path) as process:
            process.serves()
            cookie = cookie or fetch(process.port, '/admin')[1]
            assert fetch(process.port, '/', cookie)[0] == expected
            process.stop()


def test_a_cell_that_is_run_again_knows_its_visitors() -> None:
    old, fresh = make(), make()
    session = old.sessions.load(Request())
    session['auth'] = 'ann'
    cookie = given(old.sessions, session)
    adopt(fresh, old)
    assert fresh.sessions.load(visit(cookie)) == {'auth': 'ann'}
