"""Rooms that are shared with other people's apps on purpose: two real programs, and somebody without the key."""
from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND, until
from live import on, replace
from processes import Process, nbws, running
from raw import serving
from redises import Make, RedisProcess, redis_server
from websockets.sync.client import ClientConnection, connect

from nbws import App
from nbws.core.errors import NbwsError, StartError
from nbws.core.protocols import Broker, Published
from nbws.server.listener import Server
from nbws.sockets.brokers import MemoryBroker
from nbws.sockets.rooms import FIGURES, figures
from nbws.sockets.teams import SignedBroker, team_key

KEY, OTHER = 'one good key, made by chance', 'another good key, made by chance'
QUIZ = """
import os
from nbws.common import *
APP = App()
quiz = APP.room('quiz', history=5, share='team', key=os.environ['ROOM_KEY'])
private = APP.room('private', history=5)
async def conn(ws): await quiz.join(ws, as_=os.environ['USER'])
@APP.ws('/ws', conn=conn)
async def hear(msg: str): await quiz.send(msg)
@APP.ws('/private', conn=private.join)
async def hear_private(msg: str): await private.send(msg)
@APP.get('/')
def people(): return ' '.join(sorted(quiz.people())) + f' {quiz.count()}'
@APP.on_join
def joined(room, who): print(f'{room.name}: {who} came')
"""


def named(redis: RedisProcess, user: str) -> str:
    "The address for a user who may only write into his own rooms and the team's: the rights that the docs name."
    source = json.loads((Path(__file__).parents[2]/'nbs'/'many_machines.ipynb').read_text())['cells']
    [line] = [line for cell in source for line in cell['source'] if line.startswith('ACL SETUSER ann')]
    rights = line.replace('ann', user).replace('>...', '>secret').split()
    assert redis.ask(*map(str.encode, rights)) == b'OK'
    return f'{redis.url}?username={user}&password=secret'


@contextmanager
def notebook(user: str, redis: str, folder: Path, key: str = KEY) -> Iterator[Process]:
    "A program of another user, whose app has a name of its own."
    (folder/f'{user}.py').write_text(QUIZ.replace('APP', f'app_of_{user}'))
    variables = [f'{name}={value}' for name, value in {'NBWS_REDIS': redis, 'USER': user, 'LOGNAME': user,
                                                       'ROOM_KEY': key, 'XDG_DATA_HOME': str(folder)}.items()]
    command = ['env', *variables, *nbws('run', f'{user}.py', '--port', '0')]
    with running(command, cwd=folder) as process: yield process.serves()


def intrude(redis: RedisProcess, text: str, kept: bool = True) -> None:
    "Write into the channel, and into what is kept, as somebody does who has the Redis and no key."
    room = b'nbws::team:quiz'
    epoch = redis.ask(b'HGET', b'{' + room + b'}', b'epoch')
    if kept:
        offset = redis.ask(b'HINCRBY', b'{' + room + b'}', b'offset', b'1')
        head = b'1.t.%d' % len(text)
        entry = b's', b'0123456789ab', b'h', head, b'd', text.encode(), b'c', b''
        redis.ask(b'XADD', b'{' + room + b'}:said', offset + b'-0', *entry)
        before = b':%d:0123456789ab::' % (int(offset) - 1)
        redis.ask(b'PUBLISH', b'{' + room + b'}', epoch + before + head + b':' + text.encode())
    else: redis.ask(b'PUBLISH', b'{' + room + b'}', text.encode())


def say(ws: ClientConnection, text: str) -> None: ws.send(f'{{"msg": "{text}"}}')


def test_two_users_and_somebody_without_the_key(tmp_path: Path) -> None:
    with (redis_server() as redis, notebook('ann', named(redis, 'ann'), tmp_path) as ann,
          notebook('bob', redis.url, tmp_path) as bob, ExitStack() as stack):
        a, b = (stack.enter_context(p.ws('/ws')) for p in (ann, bob))
        say(a, 'hello')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['hello'] * 2
        until(lambda: ann.get('/') == bob.get('/') == (200, 'ann bob 2'))
        intrude(redis, '<script>alert(1)</script>')
        for text in 'no message', 'epoch:x:y:z:t', ':::::': intrude(redis, text, kept=False)
        say(b, 'who is that?')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['who is that?'] * 2
        for process in ann, bob: process.says("messages for the room 'quiz' that another key signed were dropped")
        with ann.ws('/ws') as late, bob.ws('/ws') as later:
            for ws in late, later: assert [ws.recv(BOUND) for _ in range(2)] == ['hello', 'who is that?']
        # What was not shared is each one's own
        c, d = (stack.enter_context(p.ws('/private')) for p in (ann, bob))
        say(c, 'secret')
        assert c.recv(BOUND) == 'secret'
        say(d, 'mine')
        assert d.recv(BOUND) == 'mine'
        with notebook('eve', redis.url, tmp_path, OTHER) as eve, eve.ws('/ws') as e:
            say(e, 'let me in') # By another key: a room of her own
            assert e.recv(BOUND) == 'let me in'
            say(a, 'still here')
            assert [ws.recv(BOUND) for ws in (a, b)] == ['still here'] * 2
            assert eve.get('/') == (200, 'eve 1')
            assert ann.get('/') == (200, 'ann bob 2')
        assert ann.output.count('another key signed') == 1 # Once
        # A process that comes later begins with what is signed
        with notebook('cat', redis.url, tmp_path) as cat, cat.ws('/ws') as c:
            assert [c.recv(BOUND) for _ in range(3)] == ['hello', 'who is that?', 'still here']
            until(lambda: bob.get('/') == (200, 'ann bob cat 3'))
            cat.says('quiz: cat came') # Bob may hear of it first
        until(lambda: bob.get('/') == (200, 'ann bob 2'))
        assert [p.output.count('quiz: cat came') for p in (ann, bob, cat)] == [0, 0, 1]
        assert [p.output.count('quiz: ann came') for p in (ann, bob, cat)] == [1, 0, 0]


def app(broker: Broker | None, number: int, key: str | bytes | None = KEY, share: str | None = 'team') -> App:
    app = App()
    app.broker, app.origin = broker, app.origin._replace(number=number)
    app.room('quiz', history=5, share=share, key=key)

    @app.ws('/', conn=lambda ws: app.room('quiz').join(ws, as_=ws.query_params.get('who', '')))
    def hear(msg: str) -> None: app.room('quiz').send(msg)

    return app


def client(server: Server, who: str = '', query: str = '') -> ClientConnection:
    return connect(f'ws://127.0.0.1:{server.port}/?who={who}{query}')


def test_another_key_counts_at_once(make: Make, expect_log: Any) -> None:
    "In the app whose cell runs again, under open pages; then in the other one."
    expect_log("messages for the room 'quiz' that another key signed")
    with (serving(app(make(), 1)) as one, serving(app(make(), 2)) as two,
          client(one, 'Ann') as a, client(two, 'Bob') as b):
        first: Any = one.app
        second: Any = two.app
        say(a, 'hello')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['hello'] * 2
        until(lambda: sorted(first.room('quiz').people()) == sorted(second.room('quiz').people()) == ['Ann', 'Bob'])
        first.room('quiz', share='team', key=OTHER)
        say(a, 'by the new key')
        assert a.recv(BOUND) == 'by the new key'
        say(b, 'by the old key')
        assert b.recv(BOUND) == 'by the old key'
        until(lambda: first.room('quiz').team.dropped > 0)
        assert dict(zip(FIGURES, figures(first.room('quiz')), strict=True))['dropped'] > 0
        assert "shared with 'team'" in repr(first.room('quiz'))
        second.room('quiz', share='team', key=OTHER.encode())
        say(b, 'together again')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['together again'] * 2
        until(lambda: sorted(first.room('quiz').people()) == sorted(second.room('quiz').people()) == ['Ann', 'Bob'])
        first.room('quiz', share='') # And no longer
        say(a, 'alone')
        assert a.recv(BOUND) == 'alone'
        say(b, 'alone, too')
        assert b.recv(BOUND) == 'alone, too'
        until(lambda: second.room('quiz').people() == ['Bob'])
        assert first.room('quiz').people() == ['Ann']


@pytest.mark.parametrize('key', [KEY, OTHER])
def test_an_app_that_takes_anothers_place_says_by_which_key(
        make: Make, key: str, expect_log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if key == OTHER: expect_log("messages for the room 'quiz' that another key signed")
    refused, refuse = list[tuple[SignedBroker, str]](), SignedBroker.refuse
    def noted(self: SignedBroker, message: Published) -> None:
        refuse(self, message)
        refused.append((self, str(message.data)))
    monkeypatch.setattr(SignedBroker, 'refuse', noted)
    with (serving(app(make(), 1)) as one, serving(app(make(), 2)) as two,
          client(one, 'Ann') as a, client(two, 'Bob') as b):
        say(a, 'hello')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['hello'] * 2
        on(one, replace(one, app(make(), 1, key)))
        say(a, 'after')
        assert a.recv(BOUND) == 'after'
        second: Any = two.app
        if key == OTHER:
            its = second.room('quiz').team.broker # With the key that it has then, it could read it
            until(lambda: any(broker is its and 'after' in text for broker, text in refused))
            second.room('quiz', share='team', key=OTHER)
        else: assert b.recv(BOUND) == 'after'
        say(b, 'end')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['end'] * 2
        until(lambda: sorted(second.room('quiz').people()) == ['Ann', 'Bob'])
        on(one, replace(one, app(make(), 1, None, None))) # It says nothing of it: the room stays as it is
        say(b, 'the end')
        assert [ws.recv(BOUND) for ws in (a, b)] == ['the end'] * 2


def test_a_page_resumes(make: Make) -> None:
    with serving(app(make(), 1)) as one, serving(app(make(), 2)) as two:
        with client(one, query='&nbws-since=') as a:
            say(a, 'hello')
            seen = next(text for text in iter(lambda: str(a.recv(BOUND)), '') if text.startswith('hello'))
        with client(two) as b:
            for n in range(3): say(b, str(n))
            for _ in range(4): b.recv(BOUND)
        with client(one, query='&nbws-since=' + seen.partition('\x1e')[2]) as a:
            heard = (str(a.recv(BOUND)).partition('\x1e')[0] for _ in range(9))
            assert list(islice(filter(None, heard), 3)) == ['0', '1', '2']


@pytest.mark.parametrize(('share', 'key', 'says'), [
    ('team', None, 'needs a key'), ('team', '', 'is empty'), ('team', ' \n', 'is empty'),
    ('team', 'secret', 'too short'), ('team', 'a' * 40, 'too simple'), ('team', 42, 'text or bytes'),
    (None, KEY, 'says with whom'),
    (True, KEY, 'no name of a team'), ('t' * 101, KEY, 'no name of a team')])
def test_what_cannot_be_a_key(share: Any, key: Any, says: str) -> None:
    with pytest.raises(NbwsError, match=says): App().room('quiz', share=share, key=key)


def test_a_key_from_a_file_is_the_same_as_text_and_as_bytes() -> None:
    assert len({team_key('team', key) for key in (KEY, f'{KEY}\n', KEY.encode(), f'{KEY}\r\n'.encode())}) == 1
    with pytest.raises(NbwsError, match=r"^share='t.{,60} is no name of a team"): team_key('t' * 10000, KEY)


def test_without_a_redis_nobody_would_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('NBWS_REDIS', raising=False)
    with pytest.raises(StartError, match="the room 'quiz' cannot be shared with 'team', for no Redis is named"):
        with serving(app(None, 1)): pass
    with serving(app(None, 1, None, None)) as server:
        served: Any = server.app
        with pytest.raises(StartError, match='no Redis is named'): served.room('quiz', share='team', key=KEY)
        served.broker = MemoryBroker()
        on(server, served.share_rooms())
        served.room('quiz', share='team', key=KEY)


def test_the_redis_of_workers_is_theirs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('NBWS_REDIS', raising=False)
    (tmp_path/'quiz.py').write_text(QUIZ.replace('APP', 'app'))
    command = ['env', f'ROOM_KEY={KEY}', *nbws('run', 'quiz.py', '--port', '0', '--workers', '2')]
    with running(command, cwd=tmp_path) as process:
        process.says('the Redis of these workers is theirs alone')
        assert process.ends() == 1


def test_the_doctor_says_it(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with (serving(app(make(), 1)) as one, serving(app(make(), 2, secrets.token_urlsafe())) as two,
          client(one) as a, client(two) as b):
        first: Any = one.app
        say(b, 'hello')
        assert b.recv(BOUND) == 'hello'
        until(lambda: first.room('quiz').team.dropped)
        text = on(one, first.room_broker.diagnosis(first.rooms))
        assert "The room 'quiz' is shared with 'team'; others who share it now: 0. But messages for the room" in text
        assert 'do both notebooks have the same key?' in text
        say(a, 'mine')
        assert a.recv(BOUND) == 'mine'
