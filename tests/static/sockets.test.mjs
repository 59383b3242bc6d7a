// Sockets that are kept alive, and come back
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answer, Element, Page } from './page.mjs'

const up = () => answer(200)
const open = ({ dataset = { all: '' }, fetch = up, url, ...globals } = {}) => {
  const page = new Page(url, { fetch, ...globals })
  page.run('sockets.js', page.window.location.origin, dataset)
  return page
}
// A socket of the page, whose other end knows the subprotocol; with all that it hears
const connected = (page, url = 'ws://127.0.0.1:5001/ws') => {
  const socket = new page.window.WebSocket(url), heard = []
  socket.opens([socket.protocols].flat()[0])
  socket.addEventListener('message', e => heard.push(e.data))
  socket.addEventListener('close', e => heard.push([e.code, e.reason ?? '']))
  return { socket, heard }
}

test('who may ask the other end', () => {
  const asks = (dataset, ...args) => {
    const page = open({ dataset })
    return new page.window.WebSocket(...args).protocols === 'nbws.alive'
  }
  assert.ok(asks({ all: '' }, 'ws://127.0.0.1:5001/ws'))
  assert.ok(asks({ all: '' }, '/ws', []))
  assert.ok(!asks({}, 'ws://127.0.0.1:5001/ws'), 'a page that is not being worked on: only sockets of htmx')
  assert.ok(!asks({ all: '' }, 'ws://127.0.0.1:5001/ws', 'chat'), 'it has a subprotocol of its own')
  assert.ok(!asks({ all: '' }, 'wss://elsewhere.example/ws'))
  assert.ok(!asks({ all: '' }, 'ws://127.0.0.1:5002/ws'))
})

test('silence: it is asked, and an answer is enough', async () => {
  const page = open(), { socket, heard } = connected(page)
  await page.pass(9000)
  assert.deepEqual(socket.sent, [])
  await page.pass(3000)
  assert.deepEqual(socket.sent, ['nbws ping'])
  socket.receives('nbws pong')
  await page.pass(9000)
  assert.deepEqual(socket.sent, ['nbws ping'])
  assert.deepEqual(heard, [], 'the page does not see it')
  assert.equal(socket.readyState, 1)
})

test('no answer while the server answers elsewhere: it is given up', async () => {
  const page = open(), { socket, heard } = connected(page)
  await page.pass(20_000)
  assert.deepEqual(heard, [[1006, 'no answer']])
  assert.ok(socket.closedWith)
  socket.ends(1000)
  assert.deepEqual(heard, [[1006, 'no answer']], 'once')
})

test('no answer while the server is away: it may come back', async () => {
  let fetch = () => { throw new TypeError('Failed to fetch') }
  const page = open({ fetch: () => fetch() }), { socket, heard } = connected(page)
  await page.pass(30_000)
  assert.deepEqual(heard, [])
  fetch = up
  socket.receives('hello')
  await page.pass(5000)
  assert.deepEqual(heard, ['hello'])
})

test('what was sent and not answered is doubted sooner', async () => {
  const page = open(), { socket } = connected(page)
  socket.send('hello')
  await page.pass(4000)
  assert.deepEqual(socket.sent, ['hello', 'nbws ping'])
})

test('who has said that it pauses is not asked', async () => {
  const page = open(), { socket, heard } = connected(page)
  socket.receives('nbws pause')
  await page.pass(60_000)
  assert.deepEqual([socket.sent, heard], [[], []])
  socket.receives('nbws resume')
  await page.pass(12_000)
  assert.deepEqual(socket.sent, ['nbws ping'])
})

test('another end that does not know the subprotocol is left alone', async () => {
  const page = open(), socket = new page.window.WebSocket('/ws')
  socket.opens('')
  await page.pass(60_000)
  assert.deepEqual(socket.sent, [])
})

test('a proxy drops the code: with a farewell it is what that said, else a loss', () => {
  for (const [farewell, told] of [['nbws close 4001 go away', [4001, 'go away']], ['', [1006, '']]]) {
    const { socket, heard } = connected(open())
    if (farewell) socket.receives(farewell)
    socket.ends(1005)
    assert.deepEqual(heard, [told])
  }
})

test('rooms: the page does not see the positions of messages', () => {
  const { socket, heard } = connected(open({ dataset: { rooms: '' } }), '/ws?a=1')
  assert.equal(socket.url, '/ws?a=1')
  for (const text of ['one\x1eabcdef01:1', 'two\x1eabcdef01:2', '\x1e00000002:9', 'no position', '\x1eABC:1'])
    socket.receives(text)
  assert.deepEqual(heard, ['one', 'two', 'no position', '\x1eABC:1'])
})

test('rooms: a socket that opens again says what this page has seen', () => {
  const urls = [], page = new Page(undefined, { fetch: up })
  const { WebSocket } = page.window
  page.window.WebSocket = class extends WebSocket {
    constructor(url, ...rest) {
      super(url, ...rest)
      urls.push(String(url))
    }
  }
  page.run('sockets.js', page.window.location.origin, { rooms: '' })
  const socket = new page.window.WebSocket('/ws')
  socket.opens()
  socket.receives('one\x1eabcdef01:1')
  socket.receives('two\x1eabcdef01:2')
  socket.receives('x\x1e00000002:9')
  new page.window.WebSocket('/ws').opens() // While that is open: another one, which begins anew
  socket.ends(1006)
  const again = new page.window.WebSocket('/ws')
  again.close() // By the page itself
  again.ends(1000)
  new page.window.WebSocket('/ws')
  new page.window.WebSocket('ws://elsewhere.example/ws')
  const begins = '/ws?nbws-since=', goesOn = '/ws?nbws-since=abcdef01:2.00000002:9'
  assert.deepEqual(urls, [begins, begins, goesOn, begins, 'ws://elsewhere.example/ws'])
})

test('rooms: a page that was away for too long is loaded anew, once nothing is typed into it', async () => {
  const page = open({ dataset: { rooms: '' } }), { socket, heard } = connected(page, '/ws'), told = []
  const field = page.found['input:not([type=hidden]), textarea'] = [{ value: 'half a sen', defaultValue: '' }]
  page.document.addEventListener('nbws:gap', e => told.push(e.detail.url))
  socket.receives('\x1egap')
  socket.receives('\x1egap')
  socket.receives('one\x1eabcdef01:40')
  await page.pass(5000)
  assert.deepEqual([heard, told, page.went], [['one'], ['/ws', '/ws'], []])
  field[0].value = ''
  await page.pass(1000)
  assert.deepEqual(page.went, [['reload']])
})

test('rooms: a page may look after a gap itself', async () => {
  const page = open({ dataset: { rooms: '' } }), { socket } = connected(page, '/ws')
  page.document.addEventListener('nbws:gap', e => e.preventDefault())
  socket.receives('\x1egap')
  await page.pass(5000)
  assert.deepEqual(page.went, [])
})

test('rooms: while others are not reached the page says so', async () => {
  const page = open({ dataset: { rooms: '' } }), told = [], shown = page.document.documentElement.appended
  const [one, two] = ['/ws', '/other'].map(url => connected(page, url))
  for (const name of ['nbws:away', 'nbws:back'])
    page.document.addEventListener(name, e => told.push(name + ' ' + e.detail.url))
  one.socket.receives('\x1eaway')
  await page.pass(500)
  one.socket.receives('\x1eback')
  await page.pass(5000)
  assert.deepEqual(shown, [], 'a moment is not told')
  one.socket.receives('\x1eaway')
  two.socket.receives('\x1eaway')
  one.socket.receives('\x1eaway')
  await page.pass(1000)
  const [word] = shown
  assert.match(word.textContent, /others are not reached now/)
  assert.equal(word.role, 'status')
  one.socket.receives('\x1eback')
  assert.ok(!word.removed)
  two.socket.ends(1006)
  assert.ok(word.removed)
  assert.deepEqual(told, ['nbws:away /ws', 'nbws:back /ws', 'nbws:away /ws', 'nbws:back /other'])
  one.socket.receives('\x1eaway')
  await page.pass(1000)
  assert.equal(shown.length, 2)
  shown[1].appended[0].onclick({ target: { parentNode: shown[1] } })
  assert.ok(shown[1].removed, 'dismissed')
  assert.deepEqual([one.heard, two.heard], [[], [[1006, '']]], 'the page does not see what is said about it')
})

test('rooms: a page may say in its own words that others are not reached', async () => {
  const page = open({ dataset: { rooms: '' } }), { socket } = connected(page, '/ws')
  page.document.addEventListener('nbws:away', e => e.preventDefault())
  socket.receives('\x1eaway')
  await page.pass(5000)
  assert.deepEqual(page.document.documentElement.appended, [])
})

// The htmx extension, as far as it matters: it makes a socket by `htmx.createWebSocket`, and keeps what has made it
const withHtmx = ({ fetch = up } = {}) => {
  const page = open({ dataset: {}, fetch }), element = new Element(), { window } = page
  window.htmx = { config: {}, createWebSocket: url => new window.WebSocket(url, []) }
  page.document.fire('DOMContentLoaded')
  const webSocket = { init() { this.socket = window.htmx.createWebSocket('/ws') } }
  element['htmx-internal-data'] = { webSocket }
  page.found['[ws-connect],[data-ws-connect],[hx-ws],[data-hx-ws]'] = [element]
  webSocket.init()
  return page
}

test('a socket of htmx comes back at once, and htmx does not try besides', async () => {
  const page = withHtmx()
  assert.equal(page.sockets[0].protocols, 'nbws.alive')
  page.sockets[0].opens('nbws.alive')
  page.sockets[0].ends(1006)
  assert.ok(page.window.htmx.config.wsReconnectDelay(0) > 1e9)
  await page.pass(100)
  assert.equal(page.sockets.length, 2)
})

test('it comes back once the server answers', async () => {
  let isUp = false
  const page = withHtmx({ fetch: () => answer(isUp ? 200 : 502) })
  page.sockets[0].opens('nbws.alive')
  page.sockets[0].ends(1012)
  await page.pass(30_000)
  assert.equal(page.sockets.length, 1)
  isUp = true
  await page.pass(1000)
  assert.equal(page.sockets.length, 2)
})

test('it comes back faster when the network does', async () => {
  const page = withHtmx()
  for (let n = 0; n < 8; n++) { // Refused again and again: it waits longer and longer
    page.sockets.at(-1).ends(1006)
    await page.pass(6000)
  }
  page.sockets.at(-1).ends(1006)
  const { length } = page.sockets
  page.window.fire('online')
  await page.pass(50)
  assert.equal(page.sockets.length, length + 1)
})

test('one that was closed on purpose stays closed', async () => {
  const page = withHtmx()
  page.sockets[0].opens('nbws.alive')
  page.sockets[0].ends(1000)
  await page.pass(60_000)
  assert.equal(page.sockets.length, 1)
})

test('where the subprotocol was refused it is not offered again', async () => {
  const page = withHtmx()
  page.sockets[0].ends(1006) // It never opened
  await page.pass(6000)
  assert.deepEqual([...page.sockets[1].protocols], [])
})

test('who types into a field keeps the focus when it is replaced', () => {
  const page = open(), focused = [], field = { id: 'msg' }
  page.document.activeElement = field
  page.document.fire('htmx:oobBeforeSwap', { detail: { target: { contains: element => element === field } } })
  page.found['#msg'] = [{ id: 'msg', focus: ({ preventScroll }) => focused.push(preventScroll) }]
  page.document.fire('htmx:oobAfterSwap')
  page.document.fire('htmx:oobAfterSwap')
  assert.deepEqual(focused, [true])
})
