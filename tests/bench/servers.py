"""What is measured: the same small app as each of the peers writes it. `python servers.py NAME PORT [WORKERS]` runs it.

nbws and FastHTML run their full path, with bound parameters and rendered components; the others their plainest code.
A peer that leaves the loop to its program runs on asyncio's, or on uvloop where NAME ends with ", uvloop". The others
choose: uvicorn (and FastHTML and Starlette on it), granian and nbws take uvloop, socketify has one of its own in C.
Paths: /echo, /echo_sync, /fanout, /dict (a fan-out over a dict of `send`s), and / for a page."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any


def ours(port: int, workers: int = 1) -> None:
    if workers == 1:
        try: from nbws.server.listener import Server
        except ImportError: from nbws.server import Server  # type: ignore[no-redef] # An older checkout, without folders
        return Server(components(), port=port).run()
    command = [sys.executable, '-m', 'nbws', 'run', 'app:app', '--port', str(port), '--workers', str(workers)]
    os.execv(sys.executable, command)


def components() -> object:
    "The app in components; nbws's, or FastHTML's where nbws is not there."
    if 'nbws' in sys.modules: from nbws.common import H1, Div, FastHTML, Li, P, Titled, Ul
    else: from fasthtml.common import H1, Div, FastHTML, Li, P, Titled, Ul  # type: ignore[no-redef]
    app, everybody = FastHTML(), {}

    @app.ws('/echo')
    async def echo(msg: str): return Div(msg, id='out')

    @app.ws('/echo_sync')
    def echo_sync(msg: str): return Div(msg, id='out')

    def joined(ws, send): everybody[id(ws)] = send
    def left(ws): everybody.pop(id(ws), None)

    async def to_each(msg: str):
        for send in tuple(everybody.values()): await send(Div(msg, id='out'))
    app.ws('/dict', conn=joined, disconn=left)(to_each)

    if 'nbws' in sys.modules:
        room = app.room('all')
        @app.ws('/fanout', conn=lambda ws: room.join(ws))
        async def fanout(msg: str): room.send(Div(msg, id='out'))
    else: app.ws('/fanout', conn=joined, disconn=left)(to_each) # It has no rooms

    def page():
        items = Ul(Li('one'), Li('two'), Li('three'))
        return Titled('A page', Div(H1('Hello', cls='big'), P('of some elements'), items, id='main'))

    @app.get('/')
    async def index(): return page()

    @app.get('/sync')
    def index_sync(): return page()
    return app


def fasthtml(port: int) -> None:
    import uvicorn
    uvicorn.run(components(), port=port, log_level='error')


def starlette(port: int) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    everybody = {}

    async def echo(ws):
        await ws.accept()
        async for text in ws.iter_text(): await ws.send_text(text)

    async def fanout(ws):
        await ws.accept()
        everybody[id(ws)] = ws
        try:
            async for text in ws.iter_text():
                for other in tuple(everybody.values()): await other.send_text(text)
        finally: everybody.pop(id(ws))

    async def index(request): return PlainTextResponse('Hello, world')
    routes = [Route('/', index), WebSocketRoute('/echo', echo), WebSocketRoute('/fanout', fanout)]
    uvicorn.run(Starlette(routes=routes), port=port, log_level='error')


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    "Echo and page for servers without a framework."
    if scope['type'] == 'lifespan':
        while True:
            asked = (await receive())['type']
            await send({'type': f'{asked}.complete'})
            if asked == 'lifespan.shutdown': return
    if scope['type'] == 'http':
        headers = [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'12')]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        return await send({'type': 'http.response.body', 'body': b'Hello, world'})
    await receive()
    await send({'type': 'websocket.accept'})
    while (event := await receive())['type'] == 'websocket.receive':
        await send({'type': 'websocket.send', 'text': event['text']})


async def rsgi(scope: Any, protocol: Any) -> None:
    "The same for granian's own interface."
    if scope.proto == 'http':
        return protocol.response_str(200, [('content-type', 'text/plain; charset=utf-8')], 'Hello, world')
    socket = await protocol.accept()
    while True:
        message = await socket.receive()
        if message.kind == 0: break
        await socket.send_str(message.data)
    protocol.close()


def uvicorn(port: int, workers: int = 1) -> None:
    import uvicorn
    uvicorn.run('servers:asgi', port=port, log_level='error', workers=workers)


def hypercorn(port: int, uvloop: bool = False, workers: int = 1) -> None:
    from hypercorn.config import Config
    from hypercorn.run import run
    config = Config()
    config.application_path, config.bind, config.workers = 'servers:asgi', [f'127.0.0.1:{port}'], workers
    config.worker_class = 'uvloop' if uvloop else 'asyncio'
    config.keep_alive_max_requests = sys.maxsize # Or it ends a connection after 1,000, and with it the load
    run(config)


def granian_asgi(port: int, workers: int = 1, interface: str = 'asgi') -> None:
    from granian import Granian
    Granian(f'servers:{interface}', port=port, interface=interface, workers=workers, log_enabled=False).serve()


def granian_rsgi(port: int, workers: int = 1) -> None: granian_asgi(port, workers, 'rsgi')


def socketify(port: int) -> None:
    from socketify import App, AppListenOptions, CompressOptions
    app, plain = App(), {'compression': CompressOptions.DISABLED}
    app.get('/', lambda response, request: response.end('Hello, world'))
    app.ws('/echo', {**plain, 'message': lambda ws, message, kind: ws.send(message, kind)})
    app.ws('/fanout', {**plain, 'open': lambda ws: ws.subscribe('all'),
                       'message': lambda ws, message, kind: app.publish('all', message, kind)})
    app.listen(AppListenOptions(port=port, host='127.0.0.1'), None)
    app.run()


def aiohttp(port: int, uvloop: bool = False) -> None:
    from aiohttp import web
    everybody = {}

    async def echo(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws: await ws.send_str(message.data)
        return ws

    async def fanout(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        everybody[id(ws)] = ws
        async for message in ws:
            for other in tuple(everybody.values()): await other.send_str(message.data)
        everybody.pop(id(ws))
        return ws

    async def index(request): return web.Response(text='Hello, world')
    app = web.Application()
    app.add_routes([web.get('/', index), web.get('/echo', echo), web.get('/fanout', fanout)])
    web.run_app(app, host='127.0.0.1', port=port, access_log=None, print=None, loop=_uvloop() if uvloop else None)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop
    return uvloop.new_event_loop()


def _run(main: Coroutine[object, object, None], uvloop: bool) -> None:
    (_uvloop() if uvloop else asyncio.new_event_loop()).run_until_complete(main)


def picows(port: int, uvloop: bool = False) -> None:
    from picows import WSListener, WSMsgType, ws_create_server
    everybody = set()

    class Echo(WSListener):
        def on_ws_frame(self, transport, frame): transport.send(frame.msg_type, frame.get_payload_as_bytes())

    class Fanout(WSListener):
        def on_ws_connected(self, transport): everybody.add(transport)
        def on_ws_disconnected(self, transport): everybody.discard(transport)
        def on_ws_frame(self, transport, frame):
            data = frame.get_payload_as_bytes()
            for other in everybody: other.send(WSMsgType.TEXT, data)

    async def main():
        server = await ws_create_server(lambda r: Echo() if r.path == b'/echo' else Fanout(), '127.0.0.1', port)
        await server.serve_forever()
    _run(main(), uvloop)


def websockets(port: int, uvloop: bool = False) -> None:
    from websockets.asyncio.server import broadcast, serve
    everybody = set()

    async def handle(ws):
        if ws.request.path == '/echo':
            async for message in ws: await ws.send(message)
            return
        everybody.add(ws)
        try:
            async for message in ws: broadcast(everybody, message)
        finally: everybody.discard(ws)

    async def main():
        async with serve(handle, '127.0.0.1', port, compression=None): await asyncio.Future()
    _run(main(), uvloop)


def tornado(port: int, uvloop: bool = False) -> None:
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler
    everybody = set()

    class Index(RequestHandler):
        def get(self): self.finish('Hello, world')

    class Echo(WebSocketHandler):
        def on_message(self, message): self.write_message(message)

    class Fanout(WebSocketHandler):
        def open(self): everybody.add(self)
        def on_close(self): everybody.discard(self)
        def on_message(self, message):
            for other in everybody: other.write_message(message)

    async def main():
        Application([('/', Index), ('/echo', Echo), ('/fanout', Fanout)]).listen(port, '127.0.0.1')
        await asyncio.Future()
    import logging
    logging.disable()
    _run(main(), uvloop)


def tremolo(port: int, uvloop: bool = False) -> None:
    from tremolo import Application
    app, everybody = Application(), {}

    @app.route('/')
    async def index(response, **server): await response.end(b'Hello, world') # What it returns goes in chunks

    @app.route('/echo')
    async def echo(websocket, **server):
        await websocket.accept()
        while True: await websocket.send(await websocket.receive())

    @app.route('/fanout')
    async def fanout(websocket, **server):
        await websocket.accept()
        everybody[id(websocket)] = websocket
        try:
            while True:
                text = await websocket.receive()
                for other in tuple(everybody.values()): await other.send(text)
        finally: everybody.pop(id(websocket))
    app.run('127.0.0.1', port, worker_num=1, log_level='CRITICAL',
            loop='uvloop' if uvloop else 'asyncio')


if __name__ == '__main__':
    name, _, loop = sys.argv[1].partition(', ')
    serve = ours if name == 'nbws' else globals()[name.replace(' ', '_').lower()]
    options: dict[str, Any] = {'uvloop': True} if loop else {}
    if sys.argv[3:]: options['workers'] = int(sys.argv[3])
    serve(int(sys.argv[2]), **options)
