// The line between a page and the process that serves it: what the page says, asks and does
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { JUPYTER, KERNEL, load } from './line.mjs'
import { answer, Element } from './page.mjs'

const messages = socket => socket.sent.map(text => JSON.parse(text))
const noticed = page => messages(page.line).filter(m => m.type === 'noticed')

test('its address says which page this is, who made it and when', async () => {
  assert.equal((await load()).line.url, 'ws://127.0.0.1:5001/_nbws/live?made=7&since=123.5&page=%2Fpage')
  assert.equal((await load(JUPYTER)).line.url,
    `wss://hub.example${KERNEL}/_nbws/live?made=7&since=123.5&page=%2Fpage`)
})

test('a process that answers late is busy', async () => {
  const page = await load()
  await page.pass(2100)
  assert.deepEqual(messages(page.line), [{ type: 'ping' }])
  assert.equal(page.status.textContent, '')
  await page.pass(1000)
  assert.equal(page.status.textContent, 'the kernel is busy')
  page.hears({ type: 'pong' })
  assert.equal(page.status.textContent, '')
  assert.equal(page.status.hidden, true)
})

test('an error is shown until it is dismissed, and makes room for itself', async () => {
  const page = await load(), measured = []
  page.window.nbws.measure = () => measured.push(page.window.nbws.room())
  page.hears({ type: 'error', where: 'cell 3', text: 'ZeroDivisionError', at: 200 })
  assert.deepEqual([page.parts.b.textContent, page.parts.pre.textContent], ['cell 3', 'ZeroDivisionError'])
  assert.equal(page.dialog.hidden, false)
  page.parts.button.onclick()
  assert.equal(page.dialog.hidden, true)
  assert.deepEqual(measured, [124, 0])
  assert.equal(page.window.nbws.since, 200)
})

test('what nobody knows is passed over', async () => {
  const page = await load()
  page.hears({ type: 'of a later version' })
  assert.equal(page.status.textContent, '')
})

test('the line comes back when the server answers', async () => {
  let isUp = true
  const page = await load({ fetch: () => answer(isUp ? 200 : 502) })
  isUp = false
  page.line.ends(1006)
  assert.equal(page.status.textContent, 'reconnecting')
  await page.pass(20_000)
  assert.equal(page.sockets.length, 1)
  isUp = true
  await page.pass(1000)
  assert.equal(page.sockets.length, 2)
  page.sockets[1].opens()
  page.hears({ type: 'hello', boot: 'b1', peer: 'kernel' })
  assert.equal(page.status.textContent, '')
  assert.deepEqual(page.went, [])
})

test('after that, a page that does not open its own socket again is loaded again; what was typed stays', async () => {
  const opens = [true, false]
  for (const again of opens) {
    const page = await load(), url = 'ws://127.0.0.1:5001/ws'
    const box = { localName: 'input', name: 'msg', value: 'half a', defaultValue: '', checked: false }
    box.defaultChecked = box.checked
    page.found['textarea, input:not([type=file], [type=password])'] = [box]
    const own = new page.window.WebSocket(url)
    own.opens()
    own.ends(1012)
    page.line.ends(1012)
    if (again) new page.window.WebSocket(url)
    await page.pass(1000)
    page.sockets.at(-1).opens()
    page.hears({ type: 'hello', boot: 'b1', peer: 'kernel' })
    assert.deepEqual(page.went, again ? [] : [['reload']])
    const kept = page.storage.get('nbws typed /page')
    if (!again) assert.deepEqual(JSON.parse(kept), { typed: [[0, 'msg', 'half a', false]], focus: -1 })
  }
})

test('another process: the page is fetched again', async () => {
  const asked = [], fetch = (url, { headers = {} } = {}) => {
    if (headers['NBWS-Refresh']) asked.push(url)
    return answer(headers['NBWS-Refresh'] ? 500 : 200)
  }
  const page = await load({ fetch, htmx: {} })
  page.line.ends(1012)
  await page.pass(1000)
  page.hears({ type: 'hello', boot: 'b2', peer: 'program' })
  await page.pass(0)
  assert.deepEqual(asked, ['http://127.0.0.1:5001/page'])
  assert.equal(page.window.nbws.peer, 'program')
})

test('a page without htmx, and scripts that were saved: it is loaded again', async () => {
  const plain = await load(), other = await load({ htmx: {} })
  plain.hears({ type: 'refresh' })
  other.hears({ type: 'refresh', files: ['style.css', 'game.js'] })
  assert.deepEqual([plain.went, other.went], [[['reload']], [['reload']]])
})

test('style sheets that were saved are fetched again, and nothing else', async () => {
  const page = await load({ htmx: {} }), put = []
  const link = href => ({ href, after: fresh => put.push(fresh.href), cloneNode: () => ({}) })
  page.found['link[rel~=stylesheet]'] = [
    link('http://127.0.0.1:5001/style.css'), link('http://127.0.0.1:5001/other.css'),
    link('https://cdn.example/style.css'),
  ]
  page.hears({ type: 'refresh', files: ['style.css'] })
  assert.match(put.join(), /^http:\/\/127.0.0.1:5001\/style.css\?nbws=\d+$/)
  assert.deepEqual(page.went, [])
})

test('what htmx complains of is told once', async () => {
  const page = await load()
  const detail = { requestConfig: { verb: 'post', path: '/add' }, xhr: { status: 422 } }
  for (let n = 0; n < 3; n++) page.document.fire('htmx:responseError', { detail })
  const content = { id: 'x', outerHTML: '<p id="x">' + 'y'.repeat(300) }
  page.document.fire('htmx:oobErrorNoTarget', { detail: { content } })
  const [response, oob, ...more] = noticed(page)
  assert.deepEqual(response, { type: 'noticed', what: 'response', verb: 'POST', path: '/add', status: 422 })
  assert.deepEqual([oob.what, oob.id, oob.element.length, more.length], ['oob', 'x', 200, 0])
})

test('sockets that fail are told, but not while the server is away', async () => {
  const page = await load(), { WebSocket } = page.window
  const own = new WebSocket('ws://127.0.0.1:5001/ws')
  own.ends(1006)
  new WebSocket('ws://127.0.0.1:5001/game').ends(1000)
  new WebSocket('ws://127.0.0.1:5001/soon').ends(1006)
  assert.deepEqual(noticed(page), []) // The cell that answers it may be the next that runs
  new WebSocket('ws://127.0.0.1:5001/soon').opens()
  await page.pass(2000)
  assert.deepEqual(noticed(page).map(({ path, opened, code }) => [path, opened, code]), [['/ws', false, 1006]])
  page.line.ends(1006)
  await page.pass(100)
  new WebSocket('ws://127.0.0.1:5001/late').ends(1006)
  page.sockets.at(-2).opens()
  await page.pass(2000)
  assert.deepEqual(page.sockets.flatMap(messages).filter(m => m.path === '/late'), [])
})

test('attributes that nothing has taken up', async () => {
  const page = await load({ htmx: { config: {}, createWebSocket() {} } })
  const at = (path, more = {}) => Object.assign(new Element(), { getAttribute: () => path, ...more })
  const taken = at('/a', { 'htmx-internal-data': { webSocket: {} } })
  page.found['[ws-connect],[data-ws-connect]'] = [taken, at('/b')]
  page.found['[sse-connect],[data-sse-connect]'] = [at('/c')]
  page.found['[ws-send],[data-ws-send]'] = [at('')]
  page.window.fire('load')
  assert.deepEqual(noticed(page).map(({ attribute, reason, path }) => [attribute, reason, path]),
    [['ws-connect', 'attribute', '/b'], ['sse-connect', 'extension', '/c'], ['ws-send', 'outside', '']])
})
