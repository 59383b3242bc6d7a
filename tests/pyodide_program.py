"""What runs in Pyodide for test_pyodide.py: an app on the one loop there is, and a page's requests without a front end."""
import asyncio
import sys
from typing import Any

from nbws.common import *
from nbws.notebook.channel import HttpChannel, Jar
from nbws.notebook.served import start_server, ListenOptions
from nbws.notebook.servers import LoopServer

assert 'tornado' not in sys.modules and 'httptools' not in sys.modules
app, rt = fast_app(exts='ws')
ticks, sent = [], []

@rt('/')
def home(session):
    session['visits'] = session.get('visits', 0) + 1
    return Div(f"visit {session['visits']}")

@app.get('/stream')
def stream():
    for i in range(3): yield f'{i},'

@app.post('/upload')
async def upload(file: UploadFile): return str(len(await file.read()))

@app.every(.02)
def tick(): ticks.append(1)

server = start_server(app, ListenOptions())
assert isinstance(server, LoopServer)
channel = HttpChannel(server, lambda data, buffers: sent.append((data, buffers)), '/page', Jar())

async def ask(number: int, method: str, path: str, fields: Any = (), body: bytes = b'') -> tuple[int, str]:
    "The status of an answer, and the end of its body."
    sent.clear()
    channel.receive({'frames': [['request', number, method, path, list(fields), False]]}, [body])
    for _ in range(500):
        await asyncio.sleep(.01)
        if any(frame[0] == 'end' for data, _ in sent for frame in data['frames']): break
    status = next(frame[2] for data, _ in sent for frame in data['frames'] if frame[0] == 'head')
    return status, b''.join(b for _, buffers in sent for b in buffers).decode()

for number in (1, 2):
    status, page = await ask(number, 'GET', '/')
    assert status == 200 and f'<div>visit {number}</div>' in page, page
assert await ask(3, 'GET', '/stream') == (200, '0,1,2,')
form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(2**20) + b'\r\n--x--\r\n'
assert await ask(4, 'POST', '/upload', [('content-type', 'multipart/form-data; boundary=x')], form) == (200, '1048576')
while len(ticks) < 3: await asyncio.sleep(.01)
assert await app.run(asyncio.sleep(.01, 'done')) == 'done'
try: app.run(asyncio.sleep(10)).result()
except NbwsError as e: assert 'await it' in str(e)
else: raise AssertionError('one thread has waited for itself')
channel.close()
server.stop()
while app.loop is not None: await asyncio.sleep(.01)
print('all is well')
