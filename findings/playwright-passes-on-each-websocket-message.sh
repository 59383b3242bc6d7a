#!/usr/bin/env bash
# Playwright 1.65.2 (Python), with the system's Chromium. The guess: what a page's WebSocket receives is passed on to
# Playwright only where the test has asked for it (`page.on('websocket')`). What it does: Chromium passes each message on
# always, a binary one as base64 in JSON: 1 MiB is a line of 1.4 MB over the pipe to Playwright's driver. So round trips
# that are measured in a page which Playwright drives contain that work: over Jupyter's socket 1 MiB took 224 ms there and
# back, and 117 where Playwright was away meanwhile.
#
# The source: Playwright turns on the DevTools protocol's Network domain for each page (crNetworkManager.ts), and its event
# `webSocketFrameReceived` has the whole payload (https://chromedevtools.github.io/devtools-protocol/tot/Network/).
# Wants Chromium on the PATH (Debian: apt-get install chromium). Exits 0 while that is so, 1 when it has changed.
set -eu
browser=$(command -v chromium-headless-shell || command -v chromium) ||
  { echo 'no Chromium: apt-get install chromium'; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check playwright==1.65.2 websockets==17.4 2> "$dir/pip.log" ||
  { cat "$dir/pip.log"; exit 1; }
DEBUG=pw:protocol "$dir/venv/bin/python" - "$browser" 2> "$dir/protocol.log" <<'PY'
import sys
import threading
from playwright.sync_api import sync_playwright
from websockets.sync.server import serve

PAGE = '''port => new Promise(done => {
  const socket = new WebSocket('ws://127.0.0.1:' + port)
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => socket.send('more')
  socket.onmessage = e => done(e.data.byteLength)
})'''

def talk(socket) -> None:
    for _ in socket: socket.send(bytes(2**20))

with serve(talk, '127.0.0.1', 0) as server, sync_playwright() as playwright:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    chromium = playwright.chromium.launch(executable_path=sys.argv[1], args=['--no-sandbox'])
    size = chromium.new_page().evaluate(PAGE, server.socket.getsockname()[1])
    print(f'the page has received {size} bytes, and nobody listens')
    chromium.close()
    server.shutdown()
    thread.join()
PY
passed_on=$(grep webSocketFrameReceived "$dir/protocol.log" | wc -c)
echo "$passed_on bytes of that were passed on to Playwright"
[ "$passed_on" -gt 1300000 ]
