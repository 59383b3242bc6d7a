#!/usr/bin/env bash
# htmx 2.0.11 and its extension ws 2.0.4 (in jsdom 26.1.0, on node 20). The guess: `htmx.process(element)` takes up what is new, and leaves alone
# what it knows: for an element with `ws-connect` a second call changes nothing, which is so. What it does where one of the element's own attributes
# has changed meanwhile, its class say: htmx forgets all that it knew of it, the open socket with the rest (htmx.js, `deInitNode`, by a hash of the
# attributes), does not tell the extension to close it, and the extension opens another. Both stay open: each message comes twice, and what is
# appended stands there twice. A script that marks the chat as active, and any later swap around it, do so.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm install --silent --no-audit --no-fund --prefix . jsdom@26.1.0 htmx.org@2.0.11 htmx-ext-ws@2.0.4 ws@8.18.3 \
  > npm.log 2>&1 || { cat npm.log; exit 1; }
cat > run.mjs <<'JS'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { JSDOM } from 'jsdom'
import { WebSocketServer } from 'ws'

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
await new Promise(done => server.on('listening', done))
const page = `<body><main><div id="chat" hx-ext="ws" ws-connect="ws://127.0.0.1:${server.address().port}/"></div></main></body>`
const { window } = new JSDOM(page, { runScripts: 'outside-only', url: 'http://127.0.0.1/' })
const { evaluate } = window.XPathExpression.prototype  // Whose second argument jsdom asks for, and browsers do not
window.XPathExpression.prototype.evaluate = function (node, type = 0, result = null) { return evaluate.call(this, node, type, result) }
for (const file of ['htmx.org/dist/htmx.js', 'htmx-ext-ws/ws.js']) window.eval(readFileSync(`node_modules/${file}`, 'utf8'))
let came = 0
window.document.addEventListener('htmx:wsBeforeMessage', e => { came += 1; e.preventDefault() })

async function until(holds) {
  for (let n = 0; n < 100 && !holds(); n++) await new Promise(done => setTimeout(done, 50))
}
async function seen() {
  await until(() => server.clients.size > 1)  // Five seconds for a second socket
  came = 0
  for (const one of server.clients) one.send('<p>hello</p>')  // To everybody, as a room does
  await until(() => came >= server.clients.size)
  return { sockets: server.clients.size, came }
}

await until(() => server.clients.size)
const { htmx } = window
htmx.process(window.document.body)
const again = await seen()
window.document.getElementById('chat').classList.add('active')
htmx.process(window.document.body)
const changed = await seen()
console.log(`htmx ${htmx.version}, processed again:`, again, '- with another class:', changed)
assert.deepEqual([again, changed], [{ sockets: 1, came: 1 }, { sockets: 2, came: 2 }])
process.exit(0)
JS
timeout 240 node run.mjs
