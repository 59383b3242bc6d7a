#!/usr/bin/env bash
# hypercorn 0.18.0 (wsproto 1.3.2), beside uvicorn 0.54.0 and granian 2.8.9. The guess: `websocket.disconnect` has the code by which the client
# closed, "as per the WebSocket spec" (HTTP & WebSocket ASGI Message Format, "Disconnect - receive event"); 1006 is for a connection that was lost
# without a closing frame (RFC 6455, section 7.1.5). What it does: the code is 1006 however the client closes, with 1000 as well as with 4001 and a
# reason, though the closing handshake is done as it should be and the client gets its code back. So whoever counts lost connections, or tells
# "left" from "cut off", finds that nobody has ever left. uvicorn and granian give the code.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check hypercorn==0.18.0 wsproto==1.3.2 uvicorn==0.54.0 granian==2.8.9 websockets==17.4 \
  2> pip.log || { cat pip.log; exit 1; }
cat > told.py <<'PY'
async def app(scope, receive, send):
    if scope['type'] != 'websocket': raise RuntimeError('no lifespan here')
    await receive()
    await send({'type': 'websocket.accept'})
    while (message := await receive())['type'] != 'websocket.disconnect': pass
    with open(f"{scope['path'][1:]}.told", 'w') as file: file.write(str(int(message['code'])))
PY
cat > run.py <<'PY'
import asyncio, os, socket, subprocess, sys
from importlib.metadata import version
from pathlib import Path
from websockets.asyncio.client import connect

def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s: return s.getsockname()[1]

async def until(done):
    for _ in range(600):
        if (found := await done()) is not None: return found
        await asyncio.sleep(.1)
    raise SystemExit('nothing came')

async def closed(url, code, reason):
    "The code that the client has in the end."
    async def opened():
        try: return await connect(url)
        except OSError: return None
    client = await until(opened)
    await client.close(code, reason)
    return client.close_code

async def told(name):
    async def look():
        file = Path(f'{name}.told')
        return int(text) if file.exists() and (text := file.read_text()) else None
    return await until(look)

async def main():
    found = {}
    for server, options in {'hypercorn': ['told:app', '--bind'], 'uvicorn': ['told:app', '--port'],
                            'granian': ['--interface', 'asgi', 'told:app', '--port']}.items():
        port = free_port()
        log = open(f'{server}.log', 'w')
        where = f'127.0.0.1:{port}' if server == 'hypercorn' else str(port)
        process = subprocess.Popen([sys.executable, '-m', server, *options, where], stdout=log, stderr=log)
        try:
            for code, reason in (1000, ''), (4001, 'enough'):
                back = await closed(f'ws://127.0.0.1:{port}/{server}{code}', code, reason)
                found[server, code] = await told(f'{server}{code}')
                print(f'{server} {version(server)}: closed with {code}, the client has {back}, the application is told {found[server, code]}')
                assert back == code
        finally:
            process.terminate()
            process.wait(30)
    assert {found['hypercorn', c] for c in (1000, 4001)} == {1006}
    assert all(found[s, c] == c for s in ('uvicorn', 'granian') for c in (1000, 4001))

asyncio.run(main())
PY
timeout 240 venv/bin/python run.py
