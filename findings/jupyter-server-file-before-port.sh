#!/usr/bin/env bash
# jupyter_server 2.21.1. The guess: a server that has written its file jpserver-PID.json can be asked; the file says where,
# `jupyter server list` and editors read it, and `list_running_servers` calls what it finds there "a currently running
# Jupyter server instance". What it does: the file is written before the port is bound. ServerApp looks for a free port,
# gives it up again, writes the file, and binds only in the first turn of its event loop: who asks in between is refused
# (a start-up script, a test, a proxy), more often the busier the machine is. So read the file, and then try the port
# until it takes a connection.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check jupyter_server==2.21.1 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/probe.py" <<'PYTHON'
import json, os, socket, subprocess, sys, time
from pathlib import Path

import jupyter_server

home, STARTS, BOUND = Path(sys.argv[1]), 12, 300


def first_answer() -> tuple[str, float]:
    "What the port says as soon as the file is there, and after how many milliseconds it takes a connection."
    folders = {f'JUPYTER_{name}_DIR': str(home / name) for name in ('RUNTIME', 'CONFIG', 'DATA')}
    server = subprocess.Popen(
        [sys.executable, '-m', 'jupyter_server', '--no-browser', '--allow-root', '--ip=127.0.0.1', '--port=0',
         f'--ServerApp.root_dir={home}'], env={**os.environ, **folders}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file, until, first = home / 'RUNTIME' / f'jpserver-{server.pid}.json', time.monotonic() + BOUND, ''
    try:
        while True:
            assert time.monotonic() < until and server.poll() is None, 'the server did not start'
            try:
                port = json.loads(file.read_text())['port']
            except (OSError, ValueError):
                continue  # not there yet, or half written
            there = time.monotonic()
            while True:
                assert time.monotonic() < until, 'nobody listens'
                try:
                    socket.create_connection(('127.0.0.1', port), timeout=BOUND).close()
                    return first or 'takes a connection', (time.monotonic() - there) * 1000
                except ConnectionRefusedError:
                    first = 'refuses a connection'
    finally:
        server.kill()  # There is nothing to save
        server.wait(BOUND)


for start in range(1, STARTS + 1):  # This program may be too late itself: once is enough
    answer, took = first_answer()
    if refused := answer.startswith('refuses'):
        break
print(f'jupyter_server {jupyter_server.__version__}: at start {start}, once jpserver-PID.json is there, the port {answer}'
      + (f', and takes one after {took:.1f} ms' if refused else ''))
sys.exit(not refused)
PYTHON
"$folder/venv/bin/python" "$folder/probe.py" "$folder"
