"""Hooks of Tremolo's style: their order, and what they may answer."""
from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from live import BOUND, live
from websockets.exceptions import InvalidStatus

from nbws.core.errors import OptionError
from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import Forbidden


def test_worker_hooks_run_in_order() -> None:
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def second(app, globals, context, loop, logger):  # noqa: A002
        seen.append(('second', globals is context is app.context, loop is asyncio.get_running_loop()))
        globals.shared = 5
    @app.on_worker_start(priority=1)
    async def first(**worker): seen.append('first')
    @app.on_worker_stop
    async def last(app): seen.append('last')
    @app.on_worker_stop
    async def stop(**worker): seen.append('stop')
    @app.route('/')
    async def page(globals): return str(globals.shared)  # noqa: A002
    with live(app) as c: assert c.get().text == '5'
    assert seen == ['first', ('second', True, True), 'stop', 'last']


def test_a_late_worker_hook_gets_the_servers_loop() -> None:
    "A cell that adds one has a loop of its own, the kernel's; a thread has none."
    app, loops, ran = Tremolo(), [], threading.Semaphore(0)
    async def late(loop):
        loops.append((loop, asyncio.get_running_loop()))
        ran.release()
    async def cell(): app.add_hook(late)
    with live(app):
        asyncio.run(cell())
        app.add_hook(late)
        assert ran.acquire(timeout=BOUND) and ran.acquire(timeout=BOUND)
        assert loops == [(app.loop, app.loop)] * 2


def test_a_true_result_ends_the_row() -> None:
    app, seen = Tremolo(), []
    @app.on_worker_start
    async def one(**_):
        seen.append(1)
        return True
    @app.on_worker_start
    async def two(**_): seen.append(2)
    with live(app): pass
    assert seen == [1]


def test_connection_hooks() -> None:
    app, seen, gone = Tremolo(), [], threading.Event()
    @app.on_connect
    async def connected(context, **server):
        context.visits = 0
        seen.append('connect')
    @app.on_close
    async def closed(context, **server):
        seen.append(('close', context.visits))
        gone.set()
    @app.route('/')
    async def page(context, websocket=None):
        context.visits += 1
        if websocket:
            async for _ in websocket: pass
        return str(context.visits)
    with live(app) as c:
        assert [c.get().text for _ in range(3)] == ['1', '2', '3']
        c.http.close()
        assert gone.wait(BOUND)
        assert seen == ['connect', ('close', 3)]
        gone.clear()
        c.ws().close()
        assert gone.wait(BOUND)
        assert seen[2:] == ['connect', ('close', 1)]


def test_request_and_response_hooks_run_by_priority() -> None:
    app, order = Tremolo(), []
    def hook(kind: str, name: str, **options: Any) -> None:
        async def run(**server): order.append(name)
        getattr(app, kind)(**options)(run) if options else getattr(app, kind)(run)
    hook('on_request', 'in 1')
    hook('on_request', 'in 2')
    hook('on_request', 'in first', priority=5)
    hook('on_response', 'out 1')
    hook('on_response', 'out 2')
    hook('on_response', 'out last', priority=1000)
    @app.route('/')
    async def page(**_): order.append('page')
    with live(app) as c: c.get()
    assert order == ['in first', 'in 1', 'in 2', 'page', 'out 2', 'out 1', 'out last']


def test_request_hooks_answer_instead_before_the_upgrade(hybrid: Tremolo) -> None:
    @hybrid.on_request
    async def gate(request, response, status=(403, 'Forbidden'), **_):
        if b'returned' in request.query_string: return 'no'
        if b'raised' in request.query_string: raise Forbidden('never')
    with live(hybrid) as c:
        assert (c.get('/?returned').status_code, c.get('/?returned').text) == (403, 'no')
        assert (r := c.get('/?raised')).status_code == 403
        assert 'never' in r.text
        for path in ('/?returned', '/?raised'):
            with pytest.raises(InvalidStatus) as e: c.ws(path)
            assert e.value.response.status_code == 403
        assert c.get().status_code == 200


def test_response_hooks_see_and_replace() -> None:
    app = Tremolo()
    @app.on_response
    async def stamp(request, response):
        response.set_header('X-Stamp', str(response.get_status()[0]))
        if request.query_string == b'other': return b'other'
    @app.route('/')
    async def page(status=(201, 'Created')):
        yield b'a'
        yield b'b'
    with live(app) as c:
        assert ((r := c.get()).text, r.headers['x-stamp']) == ('ab', '201')
        assert c.get('/?other').text == 'other'


def test_hooks_of_a_cell_that_is_run_again_are_replaced() -> None:
    app = Tremolo()
    class InACell(type(app.environment)):  # type: ignore[misc]
        def owner(self, function): return notebook_owner
    from nbws.core.routing import Owner
    notebook_owner = Owner('cell-1', 'cell [1]')
    app.environment = InACell()
    for _ in range(2):
        @app.on_request
        async def gate(**_): ...
        @app.on_worker_stop
        async def stop(**_): ...
    assert len(app.stages[()]['request']) == len(app.hooks['worker_stop']) == 1


@pytest.mark.parametrize('path', ['/staff/page', '/%73taff/page', '/staff%2Fpage', '//staff//page', '/staff/page/',
                                  '/staff/p%61ge?x=1', '/staff/any/end', '/%73taff/any/end'])
def test_the_hooks_of_a_mounted_app_run_wherever_its_routes_answer(path: str) -> None:
    "However the path is written: a guard that a percent sign leads around is none."
    app, part = Tremolo(), Tremolo()
    @part.on_request
    async def guard(**server): raise Forbidden('only for staff')
    @part.route('/page')
    async def page(**server): return b'secret'
    @part.route('end$')
    async def end(**server): return b'secret'
    app.mount('/staff', part)
    with live(app) as c:
        r = c.get(path)
        assert r.status_code in (403, 404) and b'secret' not in r.content
        assert c.get('/staff/page').status_code == 403


def test_hooks_that_a_mounted_app_gets_later_run_too() -> None:
    app, part, inner, seen = Tremolo(), Tremolo(), Tremolo(), []
    @inner.route('/page')
    async def page(**server): return b'secret'
    part.mount('/b', inner)
    app.mount('/a', part)
    app.mount('/a', part) # Again is harmless
    @inner.on_request
    async def guard(request, prefix, **server):
        seen.append(prefix)
        if request.query_string != b'key': raise Forbidden('no')
    @inner.on_connect
    async def connected(**server): seen.append('connected')
    with live(app) as c:
        assert (c.get('/a/b/page').status_code, c.get('/a/b/page?key').text) == (403, 'secret')
        @part.on_worker_start
        async def late(**server): seen.append('started')
        c.wait(asyncio.sleep(0))
        assert c.get('/a/b/page?key').text == 'secret'
    assert seen == ['connected', *[(b'a', b'b')] * 2, 'started', (b'a', b'b')]


def test_hooks_run_for_all_paths_but_those_of_nbws_itself() -> None:
    app = Tremolo()
    @app.on_request
    async def guard(**server): raise Forbidden('no')
    @app.get('/_nbwsadmin')
    def page() -> str: return 'secret'
    with live(app) as c: assert c.get('/_nbwsadmin').status_code == 403


@pytest.mark.parametrize(('call', 'told'), [
    ('app.on_request(5)', '@app.on_request stands above a function, and not 5'),
    ('app.on_close(print, 5)', '@app.on_close stands above a function'),
    ("app.on_connect(priority='first')", r"priority is a number, as in @app.on_connect\(priority=1\), and not 'first'"),
    ('app.on_worker_start()(5)', r'@app.on_worker_start\(\) stands above a function, and not 5'),
    ("app.error('404')", r"a status is a number, as in @app.error\(404\), and not '404'"),
    ('app.error(404)(5)', r'@app.error\(404\) stands above a function')])
def test_a_wrong_argument_of_a_decorator_is_refused_where_it_is_given(call: str, told: str) -> None:
    with pytest.raises(OptionError, match=told): eval(call, {'app': Tremolo()})


@pytest.mark.parametrize('call', ['app.on_response()', 'app.error(404)'])
def test_a_decorator_of_tremolos_above_nothing_warns(call: str) -> None:
    with pytest.warns(RuntimeWarning, match='registers nothing without a function below it'):
        exec(call, {'app': Tremolo()})
