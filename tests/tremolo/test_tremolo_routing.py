"""Routes of Tremolo's style: classes, mounted apps, and the order in which paths are tried."""
from __future__ import annotations

import pytest
from live import BOUND, live
from logs import ExpectLog

from nbws.tremolo import Application, Tremolo


def test_views() -> None:
    app = Tremolo()

    @app.route('/thing')
    class Thing:
        async def get(self, request): return 'got'
        async def post(self, request): return await request.body()

    with live(app) as c:
        assert (c.get('/thing').text, c.post('/thing', content=b'x').text) == ('got', 'x')
        assert (r := c.http.delete('/thing')).status_code == 405
        assert {'GET', 'POST'} <= set(r.headers['allow'].split(', '))


def test_mount() -> None:
    app, other, order = Tremolo(), Tremolo(), []
    @app.on_request
    async def outer(**_): order.append('outer')
    @other.on_request
    async def inner(**_): order.append('inner')
    @other.route('/')
    async def index(request, prefix): return b'%s %r' % (request.path, list(prefix))
    @other.route(r'^/page/(?P<n>\d+)')
    async def page(n): return n
    app.mount('/part', other)
    @other.route('/late')
    async def late(**_): return 'late'
    with live(app) as c:
        assert c.get('/part').text == "/part [b'part']"
        assert c.get('/part/page/12').text == '12'
        assert c.get('/part/late').text == 'late'
        assert c.get('/late').status_code == 404
    assert order == ['inner', 'inner', 'inner', 'outer']
    with pytest.raises(RuntimeError, match='mounted somewhere'): other.run('127.0.0.1', 0)
    with pytest.raises(ValueError, match='invalid app'): app.mount('/x', app)
    with pytest.raises(ValueError, match='must start with'): app.mount('x', Tremolo())


def test_the_last_route_wins() -> None:
    app = Tremolo()
    for n in (1, 2):
        @app.route('/same')
        async def same(n=n): return str(n)
        @app.route(f'^/re{"" if n == 1 else "g"}')
        async def regex(n=n): return str(n)
    with live(app) as c: assert [c.get(p).text for p in ('/same', '/same/', '/regex', '/rex')] == ['2', '2', '2', '1']


def test_routes_added_while_serving_answer(hybrid: Tremolo) -> None:
    with live(hybrid) as c:
        assert c.get('/new').status_code == 404
        @hybrid.route('/new')
        async def new(**_): return 'new'
        assert c.get('/new').text == 'new'


def test_both_styles_are_one_system(expect_log: ExpectLog) -> None:
    app = Application()
    expect_log('cannot be read as int')
    @app.get('/ours')
    def ours(name: str): return {'name': name}
    @app.ws('/socket')
    def socket(msg: str, ws): return f'got {msg}'
    @app.route('/rooms')
    async def rooms(websocket=None, **_):
        await websocket.accept()
        app.room('all').join(websocket)
        async for message in websocket: app.room('all').send(message)
    @app.route('/query')
    async def query(n: int = 3): return str(n + 1)
    with live(app) as c:
        assert c.get('/ours?name=x').json() == {'name': 'x'}
        ws = c.ws('/socket')
        ws.send('{"msg": "hi"}')
        assert ws.recv(BOUND) == 'got hi'
        one, two = c.ws('/rooms'), c.ws('/rooms')
        two.send('a')
        two.recv(BOUND)
        one.send('b')
        assert one.recv(BOUND) in ('a', 'b')
        assert c.get('/query?n=5').text == '6'
        assert c.get('/query?n=x').status_code == 400
