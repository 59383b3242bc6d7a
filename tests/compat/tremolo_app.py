"""An app in Tremolo's style for `tremolo_raw.py`: `python tremolo_app.py tremolo|nbws.tremolo PORT FOLDER`."""
from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

name, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
tremolo: Any = importlib.import_module(name)
x: Any = importlib.import_module(f'{name}.exceptions')
app, part = tremolo.Application(), tremolo.Application()


@app.on_request
async def before(request, response, **server):
    if request.path == b'/early': return b'from the hook'
    if request.path == b'/refused': raise x.Forbidden('not for you')
    request.ctx.seen = b'seen'
    response.set_header('X-Before', 'yes')


@app.on_response
async def after(response, **server): response.set_header('X-After', 'yes')


@app.route('/text')
async def as_text(**server): return 'caf\u00e9'

@app.route('/bytes')
async def as_bytes(content_type='application/x-bytes', **server): return b'\x00\x01'

@app.route('/latin')
async def latin(**server): return 'caf\u00e9', 'latin-1'

@app.route('/empty')
async def empty(**server): return b''

@app.route('/stream')
async def stream(**server):
    yield b'one '
    yield b''
    yield b'two'

@app.route('/plain')
def plain(request, **server): return b'in a thread: ' + request.ctx.seen

@app.route('/asked')
async def asked(request, **server):
    return json.dumps([v.decode('latin-1') for v in (request.method, request.url, request.path, request.query_string,
                                                     request.version, request.scheme, request.ip)])

@app.route('/host')
async def host(request): return request.host

@app.route('/fields')
async def fields(request):
    return repr(sorted((bytes(k), [bytes(v) for v in vs]) for k, vs in request.headers.items() if k != b'host'))

@app.route('/query')
async def query(request): return json.dumps(request.query)

@app.route('/cookies')
async def cookies(request): return json.dumps(request.cookies)

@app.route('/echo')
async def echo(request): return bytes(await request.body())

@app.route('/pieces')
async def pieces(request):
    size = 0
    async for piece in request.stream(): size += len(piece)
    yield b'%d' % size

@app.route('/first')
async def first(request): return bytes(await request.read(3)) + b'|' + bytes(await request.read(2))

@app.route('/form')
async def form(request): return json.dumps(await request.form())

@app.route('/files')
async def files(request):
    async for part in request.files():
        yield json.dumps([part['name'], part.get('filename'), part.get('type'), len(part['data'])]).encode()

@app.route('/upload')
async def upload(request):
    found = await request.form()
    kept = {n: [[f['filename'], f['type'], f['data'].decode()] for f in fs]
            for n, fs in request.params.files.items()}
    return json.dumps([found, kept])

@app.route('/made')
async def made(response):
    response.set_status(201, 'Created')
    response.set_content_type('application/json')
    response.set_header('X-Made', 'one')
    response.append_header('X-Made', 'two')
    return '{}'

@app.route('/nothing')
async def nothing(response):
    response.set_status(204, 'No Content')
    return b''

@app.route('/cookie')
async def cookie(response):
    response.set_cookie('a', '1')
    response.set_cookie('b', 'x y', expires=60, path='/p', secure=True, httponly=True, samesite='Lax')
    return b'set'

@app.route('/written')
async def written(response):
    response.set_content_type('text/plain')
    await response.write(b'one ')
    await response.write(b'two')

@app.route('/ended')
async def ended(response): await response.end(b'all of it')

@app.route('/closed')
async def closed(response): response.close()

@app.route('/file')
async def file(response): await response.sendfile(f'{folder}/letters', content_type='text/plain')

@app.route('/part')
async def part_of_file(response):
    await response.sendfile(f'{folder}/letters', offset=2, count=10)
    return True

@app.route('/nofile')
async def no_file(response): await response.sendfile(f'{folder}/none')

@app.route('/moved')
async def moved(response, request): raise response.redirect('/text', code=int(request.query_string or 302))

@app.route('/wrong')
async def wrong(request):
    kind = request.query_string.decode()
    if kind == 'ValueError': raise ValueError('inside')
    if kind == 'retry': raise x.ServiceUnavailable('later', retry_after=b'5')
    raise getattr(x, kind)('because')

@app.route('/sse')
async def sse(sse=None, **server):
    await sse.send('one\ntwo', event='news', event_id='7')
    await sse.send(b'three', retry=100)
    await sse.close()

@app.on_worker_start
async def begun(globals, **worker): globals.count = 0  # noqa: A002

@app.route('/count')
async def count(globals, **server):  # noqa: A002
    globals.count += 1
    return str(globals.count)

@app.route('/later')
async def later(request, loop, **server):
    done = loop.create_future()
    async def work():
        await asyncio.sleep(0)
        done.set_result(b'done')
    request.protocol.create_task(work())
    return await done

@app.route('/thing')
class Thing:
    async def get(self, **server): return 'got'
    async def post(self, request, **server): return bytes(await request.body())

@app.route(r'^/item/(?P<number>\d+)(?:/(?P<rest>\w+))?$')
async def item(number=None, rest=None, **server): return b'%s %s' % (number, rest or b'-')

@app.route(r'^/find\?q=(?P<what>\w+)')
async def find(what=b'', **server): return what

@app.route('tail$')
async def tail(request): return request.path

@app.error(405)
async def not_allowed(request, response, **server): return b'no ' + request.method

@app.route('/ws')
async def socket(request=None, websocket=None, **server):
    if websocket is None: return b'a page'
    async for message in websocket:
        if message == 'bye': await websocket.close(1000); break
        await websocket.send(message)

@app.route('/wsclosed')
async def closing(websocket=None):
    await websocket.accept()
    await websocket.send('last')
    await websocket.close(code=4001)

@part.on_request
async def inside(response, **server): response.set_header('X-Part', 'yes')

@part.route('/page')
async def page(request, prefix, **server): return b'/' + b'/'.join(prefix) + b' ' + request.path

app.mount('/part', part)

if __name__ == '__main__':
    app.run('127.0.0.1', port, client_max_body_size=100_000, ws_max_payload_size=10_000, worker_num=0,
            log_level='ERROR')
