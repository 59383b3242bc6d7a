"""The small app that is abused, as each of them writes it. `servers.py NAME PORT` serves it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from json import loads
from typing import Any

MIB = 2**20

def nbws_app() -> Any:
    from nbws.common import FastHTML

    app = FastHTML()
    app.get('/')(lambda: 'hello')

    @app.ws('/busy')
    async def busy(data: bytes) -> None: await asyncio.sleep(600)

    @app.ws('/said')
    async def said(data: list[Any]) -> None: pass

    @app.ws('/ws')
    async def echo(websocket: Any) -> None:
        async for message in websocket: await websocket.send(message)

    @app.post('/form')
    async def form(req: Any) -> str: return str(len(await req.form()))

    @app.post('/json')
    async def json(req: Any) -> str: return str(len(await req.json()))

    @app.get('/slow')
    async def slow() -> str:
        await asyncio.sleep(60)
        return 'late'

    @app.get('/hold')
    def hold() -> str:
        time.sleep(20)
        return 'late'

    @app.get('/{y}-{m}-{d}.html')
    def day(y: str, m: str, d: str) -> str: return y

    def join(ws: Any, name: str) -> None: app.room(name).join(ws)
    app.ws('/room/{name}', conn=join)(lambda: None)
    app.mount('/wsgi', wsgi)
    return app


def wsgi(environ: Any, start: Any) -> list[bytes]:
    environ['wsgi.input'].read()
    start('200 OK', [('content-type', 'text/plain')])
    return [b'read']


def aiohttp_app() -> Any:
    from aiohttp import web

    async def home(request: Any) -> Any: return web.Response(text='hello')

    async def busy(request: Any) -> Any:
        ws = web.WebSocketResponse(max_msg_size=10 * MIB)
        await ws.prepare(request)
        await ws.receive()
        await asyncio.sleep(600)
        return ws

    async def echo(request: Any) -> Any:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws: await ws.send_str(message.data)
        return ws

    async def said(request: Any) -> Any:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            with suppress(ValueError): loads(message.data)
        return ws

    async def form(request: Any) -> Any: return web.Response(text=str(len(await request.post())))
    async def json(request: Any) -> Any: return web.Response(text=str(len(await request.json())))
    async def slow(request: Any) -> Any: await asyncio.sleep(60)
    async def hold(request: Any) -> Any: await asyncio.to_thread(time.sleep, 20)
    async def day(request: Any) -> Any: return web.Response(text=request.match_info['y'])

    app = web.Application(client_max_size=100 * MIB)
    app.add_routes([web.get('/', home), web.get('/busy', busy), web.get('/ws', echo), web.get('/said', said),
                    web.post('/form', form), web.post('/json', json), web.get('/slow', slow), web.get('/hold', hold),
                    web.get('/{y}-{m}-{d}.html', day), web.get('/room/{name}', echo)])
    return app


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute

    def home(request: Any) -> Any: return PlainTextResponse('hello')
    def day(request: Any) -> Any: return PlainTextResponse(request.path_params['y'])

    async def busy(ws: Any) -> None:
        await ws.accept()
        await ws.receive_text()
        await asyncio.sleep(600)

    async def echo(ws: Any) -> None:
        await ws.accept()
        async for text in ws.iter_text(): await ws.send_text(text)

    async def said(ws: Any) -> None:
        await ws.accept()
        async for text in ws.iter_text():
            with suppress(ValueError): loads(text)

    async def form(request: Any) -> Any: return PlainTextResponse(str(len(await request.form())))
    async def json(request: Any) -> Any: return PlainTextResponse(str(len(await request.json())))
    async def slow(request: Any) -> Any: await asyncio.sleep(60)
    def hold(request: Any) -> Any: time.sleep(20)

    return Starlette(routes=[
        Route('/', home), WebSocketRoute('/busy', busy), WebSocketRoute('/ws', echo), WebSocketRoute('/said', said),
        Route('/form', form, methods=['POST']), Route('/json', json, methods=['POST']), Route('/slow', slow),
        Route('/hold', hold), Route('/{y}-{m}-{d}.html', day), WebSocketRoute('/room/{name}', echo)])


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    "What uvicorn serves with no framework at all: nothing is parsed, nothing is kept."
    if scope['type'] == 'websocket': return await bare_socket(scope['path'], receive, send)
    if scope['type'] != 'http': return
    while (message := await receive()).get('more_body'): pass
    if message['type'] == 'http.disconnect': return
    if scope['path'] == '/slow': await asyncio.sleep(60)
    if scope['path'] == '/hold': await asyncio.to_thread(time.sleep, 20)
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'5')]})
    await send({'type': 'http.response.body', 'body': b'hello'})


async def bare_socket(path: str, receive: Any, send: Any) -> None:
    await receive()
    await send({'type': 'websocket.accept'})
    while (message := await receive())['type'] == 'websocket.receive':
        if path == '/busy': await asyncio.sleep(600)
        if path == '/ws': await send({'type': 'websocket.send', 'text': message.get('text')})


class Passes:
    "ASGI middleware that lets everything pass."
    def __init__(self, app: Any) -> None: self.app = app
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: await self.app(scope, receive, send)


# What SECURITY.md advises under uvicorn
BOUNDED: dict[str, Any] = {'http': 'h11', 'ws': 'websockets', 'ws_per_message_deflate': False}


def serve(name: str, port: int) -> None:
    "In a process of its own, until it is killed."
    if name in ('own', 'wrapped'):
        from nbws.server.listener import Server
        app = nbws_app()
        if name == 'wrapped': app.add_middleware(Passes)
        Server(app, port=port).run()
    elif name == 'aiohttp':
        from aiohttp import web
        web.run_app(aiohttp_app(), host='127.0.0.1', port=port, access_log=None, print=None)
    else:
        import uvicorn
        apps: dict[str, Any] = {'asgi': nbws_app, 'bounded': nbws_app, 'starlette': starlette_app,
                                'uvicorn': lambda: bare_app}
        uvicorn.run(apps[name](), port=port, log_level='error', **(BOUNDED if name == 'bounded' else {}))


if __name__ == '__main__': serve(sys.argv[1], int(sys.argv[2]))
