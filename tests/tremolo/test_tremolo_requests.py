"""Requests of Tremolo's style: bytes that equal their text, and bodies."""
from __future__ import annotations

from live import live

from nbws.tremolo import Tremolo
from nbws.tremolo.requests import Text


def test_request_is_bytes() -> None:
    app, seen = Tremolo(), {}

    @app.route(r'^/a')
    async def handler(request):
        for name in ('host', 'scheme', 'path', 'query_string', 'method', 'url', 'version', 'content_type', 'ip'):
            seen[name] = getattr(request, name)
            assert isinstance(seen[name], bytes)
        seen.update(client=request.client, headers=request.headers, query=request.query, cookies=request.cookies)
        return 'ok'

    with live(app) as c:
        c.get('/a%20b?x=1&x=2&y=', headers={'X-Some': 'A, B', 'Cookie': 'k=v'})
        host = f'127.0.0.1:{c.server.port}'.encode()
    assert seen['host'] == host
    assert (seen['scheme'], seen['path'], seen['method']) == (b'http', b'/a%20b', b'GET')
    assert seen['query_string'] == b'x=1&x=2&y='
    assert (seen['url'], seen['version'], seen['ip']) == (b'/a%20b?x=1&x=2&y=', b'1.1', b'127.0.0.1')
    ip, port = seen['client']
    assert ip == '127.0.0.1'
    assert isinstance(port, int)
    assert seen['headers'][b'x-some'] == [b'A, B']
    assert seen['headers'].getlist(b'x-some') == [b'a', b'b']
    assert seen['query'] == {'x': ['1', '2']}
    assert seen['cookies'] == {'k': ['v']}


def test_bodies() -> None:
    app = Tremolo()

    @app.route('/body')
    async def body(request): return await request.body()

    @app.route('/stream')
    async def stream(request):
        async for chunk in request.stream(): yield chunk.upper()

    @app.route('/form')
    async def form(request):
        fields = await request.form()
        return repr((fields, {k: [(f['filename'], f['data']) for f in v] for k, v in request.params.files.items()}))

    @app.route('/read')
    async def read(request):
        parts = [await request.read(2), await request.recv(3), await request.read(100)]
        return b'|'.join(parts) + (b'!' if request.eof() else b'')

    with live(app) as c:
        assert c.post('/body', content=b'abc').content == b'abc'
        assert c.post('/stream', content=iter([b'ab', b'c'])).content == b'ABC'
        assert c.post('/form', data={'a': ['1', '2']}).text == "({'a': ['1', '2']}, {})"
        r = c.post('/form', data={'n': '1'}, files={'f': ('x.txt', b'hi')})
        assert r.text == "({'n': ['1']}, {'f': [('x.txt', b'hi')]})"
        assert c.post('/form', content=b'x').status_code == 400
        assert c.post('/read', content=b'abcdefg').content == b'ab|cde|fg!'


def test_text_equals_bytes() -> None:
    app = Tremolo()
    @app.route('/')
    async def handler(request):
        assert request.method == 'GET' == request.method
        assert request.method == b'GET'
        assert request.method != 'POST'
        assert request.path in ('/', '/x')
        assert request.headers['host'] == request.headers[b'host'] == [request.host]
        assert {request.scheme: 1} == {'http': 1}
        return f'{request.method} {request.path}'
    with live(app) as c: assert c.get().text == 'GET /'
    assert Text(b'a') != 5
    assert hash(Text(b'a')) == hash('a') == hash(b'a')
