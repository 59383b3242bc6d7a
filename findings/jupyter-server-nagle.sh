#!/usr/bin/env bash
# jupyter_server 2.21.1, ipykernel 7.4.0. The guess: what a kernel answers within 2 ms comes to a browser as soon, and where
# it does not, ZeroMQ, the kernel's threads or the front end take the time. What it does: it takes some 45 ms.
# tornado leaves Nagle's algorithm on for a WebSocket unless it is told otherwise (WebSocketHandler.set_nodelay: "By
# default, small messages may be delayed and/or combined to minimize the number of packets sent. This can sometimes cause
# 200-500ms delays"), and jupyter_server does not tell it. A kernel publishes that it is busy before it answers: that is
# a small segment, so the answer waits until the browser acknowledges it, which Linux delays by 40 ms (RFC 1122, section
# 4.2.3.2; RFC 896). A client that acknowledges at once gets the answer some 40 ms earlier, and so does one whose kernel
# publishes no status.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check jupyter_server==2.21.1 ipykernel==7.4.0 websocket-client==1.9.2 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/probe.py" <<'PYTHON'
import json, os, secrets, socket, subprocess, sys, time, urllib.request, uuid
from pathlib import Path
from statistics import median

import jupyter_server
import websocket

home, token = Path(sys.argv[1]), secrets.token_hex(8)
with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
folders = {f'JUPYTER_{name}_DIR': str(home / name) for name in ('RUNTIME', 'CONFIG', 'DATA')}
server = subprocess.Popen(
    [sys.executable, '-m', 'jupyter_server', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
     f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={home}'],
    env={**os.environ, **folders, 'IPYTHONDIR': str(home / 'ipython')}, stderr=(home / 'log').open('w'))
TARGET = '''def target(comm, opened):
    comm.on_msg(lambda m: comm.send(m['content']['data']))
get_ipython().kernel.comm_manager.register_target('echo', target)'''


def asked(path, data=None):
    request = urllib.request.Request(f'http://127.0.0.1:{port}/{path}', data)
    request.add_header('Authorization', f'token {token}')
    with urllib.request.urlopen(request, timeout=30) as answer: return json.load(answer)


def started():
    for _ in range(300):
        try: return asked('api/kernels', b'{}')['id']
        except OSError: time.sleep(0.1)
    raise SystemExit('no server')


try:
    kernel, session = started(), uuid.uuid4().hex
    url = f'ws://127.0.0.1:{port}/api/kernels/{kernel}/channels?session_id={session}&token={token}'
    ws = websocket.create_connection(url, timeout=30)

    def send(kind, content):
        header = {'msg_id': uuid.uuid4().hex, 'msg_type': kind, 'session': session, 'version': '5.4'}
        ws.send(json.dumps({'channel': 'shell', 'header': header, 'parent_header': {}, 'metadata': {}, 'content': content}))

    def until(test, at_once=False):
        while True:
            if at_once: ws.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            message = json.loads(ws.recv())
            if test(message): return

    def round_trips(at_once):
        comm, took = uuid.uuid4().hex, []
        send('comm_open', {'comm_id': comm, 'target_name': 'echo', 'data': {}})
        for n in range(60):
            began = time.perf_counter()
            send('comm_msg', {'comm_id': comm, 'data': n})
            until(lambda m: m['msg_type'] == 'comm_msg' and m['content']['data'] == n, at_once)
            took.append((time.perf_counter() - began) * 1000)
        return median(took[10:])

    send('execute_request', {'code': TARGET, 'silent': True, 'store_history': False, 'user_expressions': {},
                             'allow_stdin': False})
    until(lambda m: m['msg_type'] == 'execute_reply')
    usual, at_once = round_trips(False), round_trips(True)
finally:
    server.terminate()
    server.wait(30)
print(f'jupyter_server {jupyter_server.__version__}: a comm message and its answer take {usual:.0f} ms at the median, '
      f'{at_once:.0f} ms where the client acknowledges at once')
sys.exit(usual - at_once < 20)
PYTHON
timeout 240 "$folder/venv/bin/python" "$folder/probe.py" "$folder"
