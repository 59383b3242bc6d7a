#!/usr/bin/env bash
# tornado 6.6.1. The guess: a WebSocket of the same origin is let in, for `check_origin` is "only called for requests that
# appear to be cross-origin" (its documentation), and an origin is scheme, host and port, of which a port that is not said
# is the scheme's own (RFC 6454, sections 4 and 5). What it does: it compares the text of the Origin's host and port with
# the Host field, without default ports. So `Host: app.example:443`, which some clients and proxies send, with the Origin
# `https://app.example` is refused with 403, though that is one origin.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check tornado==6.6.1 2> pip.log || { cat pip.log; exit 1; }
venv/bin/python - <<'PY'
import asyncio, tornado
from tornado.web import Application
from tornado.websocket import WebSocketHandler
print('tornado', tornado.version)
class Talk(WebSocketHandler): pass
async def status(port, host, origin):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(f'GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'.encode())
    line = await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    return int(line.split()[1])
async def main():
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    sockets = bind_sockets(0, '127.0.0.1')
    server = HTTPServer(Application([('/', Talk)]), protocol='https') # As behind a proxy that ends TLS
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    found = {}
    for host, origin in (('app.example', 'https://app.example'), ('app.example:443', 'https://app.example')):
        found[host, origin] = await status(port, host, origin)
        print(f'Host: {host:16} Origin: {origin:20} {found[host, origin]}')
    server.stop()
    assert list(found.values()) == [101, 403], found
asyncio.run(main())
PY
