#!/bin/sh
# marimo disposes of what a cell has registered with `deletion=True` when another cell, on which it depends, is edited.
# Surprise: an item of `cell_lifecycle_registry` learns by `deletion` whether "the cell is being removed from the graph". It is
#   told so, too, for a cell whose code was changed, and for all cells that follow from that one, whose code is the same:
#   they are in the graph a moment later, under the same ids, and run. Who removes for good what a cell has defined (a route, a
#   window, a file) removes it at each edit of a cell above. Whether a cell is gone is known when all have run: it is not
#   among `graph.cells` then.
# Source: marimo/_runtime/cell_lifecycle_registry.py (`dispose`) and runtime.py (`_invalidate_cell_state`, `_deactivate_cell`).
#   Seen with marimo 0.25.2, in `marimo edit`, where cell a was edited and cell b uses its variable:
#     cell b ran, was told of deletion=True, and ran again
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check marimo==0.25.2 websockets==16.1 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/notebook.py" <<'PY'
import marimo

app = marimo.App()


@app.cell
def a():
    x = 1
    return (x,)


@app.cell
def b(x):
    from marimo._runtime.cell_lifecycle_item import CellLifecycleItem as _Item
    from marimo._runtime.context import get_context as _context

    def _note(what):
        with open("seen", "a") as _file: _file.write(f"{what}\n")

    class _Watch(_Item):
        def create(self, context): ...
        def dispose(self, context, deletion):
            _note(f"told of deletion={deletion}")
            return True

    _context().cell_lifecycle_registry.add(_Watch())
    _note(f"ran with {x}")
    return


if __name__ == "__main__":
    app.run()
PY
cat > "$folder/seen.py" <<'PY'
import json, os, re, socket, subprocess, sys, time, urllib.request
from importlib.metadata import version
from websockets.sync.client import connect

os.chdir(sys.argv[1])
with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
address = f'127.0.0.1:{port}'
environment = {**os.environ, 'HOME': sys.argv[1], 'XDG_CONFIG_HOME': sys.argv[1]}
server = subprocess.Popen([sys.executable, '-m', 'marimo', 'edit', '--headless', '--no-token', '--skip-update-check',
                           '--port', str(port), 'notebook.py'], env=environment, stdout=subprocess.DEVNULL)

def until(look):
    for _ in range(1200):
        try:
            if found := look(): return found
        except OSError: pass
        time.sleep(.05)
    raise SystemExit('it never came')

def seen():
    with open('seen') as file: return file.read().splitlines()

try:
    page = until(lambda: urllib.request.urlopen(f'http://{address}/').read().decode())
    token = re.search(r'serverToken["\']?:\s*["\']([^"\']+)', page)[1]
    def post(path, what):
        headers = {'Marimo-Session-Id': 's_one', 'Marimo-Server-Token': token, 'Content-Type': 'application/json'}
        request = urllib.request.Request(f'http://{address}/api/kernel/{path}', json.dumps(what).encode(), headers)
        urllib.request.urlopen(request).read()
    with connect(f'ws://{address}/ws?session_id=s_one') as ws:
        ready = {}
        while ready.get('op') != 'kernel-ready': ready = json.loads(ws.recv(60))
        cells = ready['data']['cell_ids']
        post('instantiate', {'objectIds': [], 'values': [], 'autoRun': True})
        until(lambda: 'ran with 1' in seen())
        post('run', {'cellIds': [cells[0]], 'codes': ['x = 2']})
        until(lambda: 'ran with 2' in seen())
finally:
    server.terminate()
    server.wait(30)
found = [line for line in seen() if line != 'told of deletion=False']
print(f'marimo {version("marimo")}; cell b, whose code stays the same: {found}')
assert found == ['ran with 1', 'told of deletion=True', 'ran with 2'], 'marimo tells something else now'
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
