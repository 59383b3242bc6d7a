#!/usr/bin/env bash
# uvicorn 0.54.0 with httptools 0.9.0. The guess: a server that does not know a protocol which the client offers by `Upgrade` answers as if the
# field were not there ("A server MAY ignore a received Upgrade header field", RFC 9110, section 7.8), body and all. What it does: httptools stops
# at any Upgrade, uvicorn says in its log that it is not supported and calls the application, with an empty body. So a form or JSON that was sent
# with `Upgrade: h2c` comes as nothing, with 200 for an answer. `curl --http2` and Java's HttpClient, whose default it is, offer h2c with each first
# request to an http:// address. With `--http h11` the body is there: the same program differs by whether httptools is installed.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11 2> pip.log || { cat pip.log; exit 1; }
cat > size.py <<'PY'
async def app(scope, receive, send):
    if scope['type'] != 'http': raise RuntimeError('no lifespan here')
    body, more = b'', True
    while more:
        message = await receive()
        body, more = body + message.get('body', b''), message.get('more_body', False)
    text = b'%d of %s' % (len(body), dict(scope['headers'])[b'content-length'])
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(text))]})
    await send({'type': 'http.response.body', 'body': text})
PY
cat > run.py <<'PY'
import http.client, socket, subprocess, sys, time
from importlib.metadata import version

def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s: return s.getsockname()[1]

def asked(port, fields):
    for _ in range(600):
        client = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        try:
            client.request('POST', '/', b'name=Ann', fields)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError: time.sleep(.1)
        finally: client.close()
    raise SystemExit('no server')

OFFERS = {'Connection': 'Upgrade, HTTP2-Settings', 'Upgrade': 'h2c', 'HTTP2-Settings': 'AAMAAABkAAQAAP__'}
found = {}
for parser in 'httptools', 'h11':
    port = free_port()
    with open(f'{parser}.log', 'w') as log:
        process = subprocess.Popen([sys.executable, '-m', 'uvicorn', 'size:app', '--http', parser, '--port', str(port)], stdout=log, stderr=log)
    try: found[parser] = asked(port, {}), asked(port, OFFERS)
    finally:
        process.terminate()
        process.wait(30)
    print(f"uvicorn {version('uvicorn')} with {parser} {version(parser)}: {found[parser][0]}, offering h2c {found[parser][1]}")
assert found['h11'] == ((200, '8 of 8'),) * 2
assert found['httptools'] == ((200, '8 of 8'), (200, '0 of 8'))
PY
timeout 180 venv/bin/python run.py
