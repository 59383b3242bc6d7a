#!/usr/bin/env bash
# jupyter-server-proxy 4.6.0 (jupyter_server 2.21.1). The guess: a WebSocket passes through `/proxy/<port>/` as it is, its end included: an
# application that closes with 4001 and a reason reaches its page with both, as messages, pings and subprotocols do. What it does: it closes its own
# socket without a code, so the page sees 1005 ("no status code was actually present", RFC 6455, section 7.4.1) and no reason, whatever the
# application has said. A page that tells "log in again" from "server restarts" by the code, as those under 4000 to 4999 are for, and a client that
# comes again after 1012 or 1013, do the same for every end behind Jupyter, and only there.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check jupyter_server==2.21.1 jupyter-server-proxy==4.6.0 websockets==17.4 \
  2> pip.log || { cat pip.log; exit 1; }
export JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
import asyncio, secrets, socket, subprocess, sys
from importlib.metadata import version
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

token = secrets.token_hex(8)
with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]

async def application(ws):
    async for message in ws:
        code, reason = message.split(' ', 1)
        return await ws.close(int(code), reason)

async def seen(url, words):
    "Code and reason at the client, once the server is there."
    for _ in range(3000):
        try:
            async with connect(url, additional_headers={'Authorization': f'token {token}'}) as ws:
                await ws.send(words)
                await ws.wait_closed()
                return int(ws.close_code), ws.close_reason
        except (OSError, InvalidStatus): await asyncio.sleep(.1)
    raise SystemExit('no server')

async def main():
    async with serve(application, '127.0.0.1', 0) as server:
        own = server.sockets[0].getsockname()[1]
        for words in '4001 log in again', '1012 back soon':
            direct = await seen(f'ws://127.0.0.1:{own}/', words)
            proxied = await seen(f'ws://127.0.0.1:{port}/proxy/{own}/', words)
            print(f'closed with {words!r}: direct {direct}, proxied {proxied}')
            assert direct == (int(words[:4]), words[5:]) and proxied == (1005, '')

print('jupyter-server-proxy', version('jupyter-server-proxy'))
with open('server.log', 'w') as log:
    server = subprocess.Popen([sys.executable, '-m', 'jupyter_server', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
                               f'--IdentityProvider.token={token}', '--ServerApp.root_dir=.'], stderr=log)
try: asyncio.run(asyncio.wait_for(main(), 400))
finally:
    server.terminate()
    server.wait(30)
PY
timeout 450 venv/bin/python run.py 2> log || { cat log; exit 1; }
