#!/bin/sh
# tornado's WebSocket client never sees an extension parameter that has no value, such as client_no_context_takeover.
#
# Guess: a client that offers permessage-deflate keeps to what the server's answer says (RFC 7692, section 7.1.1.2: a client
# that is told client_no_context_takeover "MUST NOT use context takeover").
# Seen with tornado 6.6.1: `httputil._parse_header` leaves out parameters without a value, so `_get_compressor_options` finds
# `client_no_context_takeover` missing, and the client goes on to refer to the message before. A server that keeps no state
# fails at the second message: here websockets 15.0.1 closes with 1002. The same holds for everything that is built on
# this client, jupyter-server-proxy 4.6.0 among it. A parameter with a value (client_max_window_bits=10) is seen.
#
# Exits with 0 while this is so, with 1 if it changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tornado==6.6.1 websockets==15.0.1
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio, logging, sys
import tornado
from tornado import httputil
from tornado.websocket import websocket_connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

print('tornado', tornado.version)
ANSWER = 'permessage-deflate; client_no_context_takeover; client_max_window_bits=10'
seen = httputil._parse_header(ANSWER)
print(f'of {ANSWER!r} it sees {seen}')

logging.disable() # The server tells of the failure that is meant

async def echo(ws):
    async for message in ws: await ws.send(message)

async def talk(**agreement):
    "How many of five equal messages come back, and the close code then."
    factory = ServerPerMessageDeflateFactory(**agreement)
    async with serve(echo, '127.0.0.1', 0, compression=None, extensions=[factory]) as server:
        port = server.sockets[0].getsockname()[1]
        client = await websocket_connect(f'ws://127.0.0.1:{port}/', compression_options={})
        count = 0
        for _ in range(5):
            await client.write_message('the same words again and again')
            if await client.read_message() is None: break
            count += 1
        code = client.close_code
        client.close()
        return count, code

async def main():
    without = await talk(client_no_context_takeover=True, client_max_window_bits=12)
    with_context = await talk(client_max_window_bits=12)
    print('told client_no_context_takeover:', without, '- with context:', with_context)
    return seen[1] == {'client_max_window_bits': '10'} and without == (1, 1002) and with_context[0] == 5

sys.exit(not asyncio.run(main()))
PYTHON
