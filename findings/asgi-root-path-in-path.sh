#!/usr/bin/env bash
# uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9. The guess: told the same root path and asked for the same path, ASGI
# servers give an application the same `scope['path']`; the specification (HTTP & WebSocket ASGI Message Format, "root_path")
# says that `path` includes `root_path`. What they do: all set root_path to /x, but for `GET /a` uvicorn says path '/x/a',
# hypercorn and granian say '/a'; for `GET /x/a` uvicorn says '/x/x/a', the others '/x/a'. So uvicorn takes it that a proxy has
# taken the prefix off, and an application that takes it off once is wrong under one of the three behind a proxy that leaves it.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 2> pip.log || { cat pip.log; exit 1; }
cat > scopes.py <<'PY'
async def app(scope, receive, send):
    if scope['type'] != 'http': raise RuntimeError('no lifespan here')
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': f"{scope['path']} {scope['root_path']}".encode()})
PY
venv/bin/python - <<'PY'
import socket, subprocess, sys, time, urllib.request
from importlib.metadata import version
def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s: return s.getsockname()[1]
def get(port, path):
    end = time.monotonic() + 60
    while True:
        try: return tuple(urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=10).read().decode().split())
        except OSError:
            if time.monotonic() > end: raise
            time.sleep(.1)
found = {}
for name, options in {'uvicorn': ['scopes:app', '--root-path', '/x', '--port'],
                      'hypercorn': ['scopes:app', '--root-path', '/x', '--bind'],
                      'granian': ['--interface', 'asgi', 'scopes:app', '--url-path-prefix', '/x', '--port']}.items():
    port = free_port()
    where = f'127.0.0.1:{port}' if name == 'hypercorn' else str(port)
    log = open(f'{name}.log', 'w')
    process = subprocess.Popen([sys.executable, '-m', name, *options, where], stdout=log, stderr=log)
    try: found[name] = get(port, '/a'), get(port, '/x/a')
    finally:
        process.terminate()
        process.wait(30)
    print(name, version(name), 'GET /a:', found[name][0], ' GET /x/a:', found[name][1])
assert found['uvicorn'] == (('/x/a', '/x'), ('/x/x/a', '/x'))
assert found['hypercorn'] == found['granian'] == (('/a', '/x'), ('/x/a', '/x'))
PY
