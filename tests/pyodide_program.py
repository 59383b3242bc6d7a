"""What test_pyodide.py runs in Pyodide: an app on the one loop there is, asked by a page without a front end."""
import asyncio
import sys
from typing import Any

from nbws.common import Div, NbwsError, UploadFile, fast_app
from nbws.notebook.channel import HttpChannel, Jar
from nbws.notebook.served import ListenOptions, start_server
from nbws.notebook.servers import LoopServer

assert 'tornado' not in sys.modules and 'httptools' not in sys.modules
app, rt = fast_app(exts='ws')
ticks: list[int] = []
sent: list[Any] = []

@rt('/')
def home(session: Any) -> Any:
    session['visits'] = session.get('visits', 0) + 1
    return Div(f"visit {session['visits']}")

@app.get('/stream')
def stream() -> Any:
    for i in range(3): yield f'{i},'

@app.post('/upload')
async def upload(file: UploadFile) -> str: return str(len(await file.read()))

@app.every(.02)
def tick() -> None: ticks.append(1)

async def ask(channel: HttpChannel, number: int, method: str, path: str, fields: Any = (), body: bytes = b'',
              ) -> tuple[int, str]:
    "The status of an answer, and its body."
    sent.clear()
    channel.receive({'frames': [['request', number, method, path, list(fields), False]]}, [body])
    await until(lambda: any(frame[0] == 'end' for data, _ in sent for frame in data['frames']))
    status = next(frame[2] for data, _ in sent for frame in data['frames'] if frame[0] == 'head')
    return status, b''.join(b for _, buffers in sent for b in buffers).decode()

async def until(holds: Any) -> None:
    "Let the loop go on until something holds, for ten seconds at most."
    for _ in range(1000):
        if holds(): return
        await asyncio.sleep(.01)
    raise TimeoutError

async def main() -> None:
    "Awaited by pyodide.mjs."
    server = start_server(app, ListenOptions())
    assert isinstance(server, LoopServer)
    channel = HttpChannel(server, lambda data, buffers: sent.append((data, buffers)), '/page', Jar())
    for number in (1, 2):
        status, page = await ask(channel, number, 'GET', '/')
        assert status == 200 and f'<div>visit {number}</div>' in page, page
    assert await ask(channel, 3, 'GET', '/stream') == (200, '0,1,2,')
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(2**20) + b'\r\n--x--\r\n'
    kind = [('content-type', 'multipart/form-data; boundary=x')]
    assert await ask(channel, 4, 'POST', '/upload', kind, form) == (200, '1048576')
    await until(lambda: len(ticks) >= 3)
    assert await app.run(asyncio.sleep(.01, 'done')) == 'done'
    refused = ''
    try: app.run(asyncio.sleep(10)).result()
    except NbwsError as e: refused = str(e)
    assert 'await it' in refused
    channel.close()
    server.stop()
    await until(lambda: app.loop is None)
    print('all is well')
