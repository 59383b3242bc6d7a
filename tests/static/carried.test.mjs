// Sockets that go by requests, because no upgrade passes: what the page's code sees, and what is asked for
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Page } from './page.mjs'

const [TEXT, BINARY, PIECE, OPENED, CLOSE, PAUSE, RESUME] = [1, 2, 3, 4, 5, 6, 7]
const bytes = text => new TextEncoder().encode(text)
const frame = (kind, number, data = '') => {
  const content = typeof data === 'string' ? bytes(data) : data, whole = new Uint8Array(9 + content.length)
  const view = new DataView(whole.buffer)
  view.setUint8(0, kind)
  view.setUint32(1, number)
  view.setUint32(5, content.length)
  whole.set(content, 9)
  return whole
}
const closing = (code, reason = '') => new Uint8Array([code >> 8, code & 255, ...bytes(reason)])
const response = (status, { json, redirected = false, reader } = {}) => ({
  status, ok: status < 300, redirected, json: async () => json,
  arrayBuffer: async () => bytes(json === undefined ? '' : JSON.stringify(json)).buffer,
  body: { getReader: () => reader },
})

// The other end: what goes up is kept, and tests say what comes down
class Kernel {
  lines = 0
  opened = [] // [number, path, protocols]
  frames = [] // What has come up: [kind, number, text]
  places = [] // Of the bodies, each time that one came
  bodies = [] // Their lengths
  confirmed = [] // The places that the page has said without one
  takes = async () => {} // Before a body is taken
  status = 101 // Of a handshake
  buffers = false // A proxy holds a stream back
  fails = () => null // query -> a status in place of the answer, or an error
  #down = []
  #wake = () => {}

  fetch = async (url, { body, signal } = {}) => {
    if (url.endsWith('sockets.js')) return response(200)
    const query = new URL(url).searchParams, told = await this.fails(query)
    if (told instanceof Error) throw told
    if (told) return response(told)
    if (query.has('open')) {
      this.opened.push([Number(query.get('open')), query.get('url'), query.get('protocols')])
      return response(200, { json: { status: this.status } })
    }
    if (query.has('up') && !body) this.confirmed.push(Number(query.get('down')))
    if (query.has('up')) return body ? this.#take(Number(query.get('up')), body) : response(204)
    if (query.has('down')) return this.#send(query, signal)
    if (query.has('end')) return response(204)
    return response(200, { json: { line: 'line ' + ++this.lines } })
  }
  async #take(place, body) {
    this.places.push(place)
    this.bodies.push(body.length)
    await this.takes()
    const view = new DataView(body.buffer)
    for (let at = 0; at < body.length;) {
      const size = view.getUint32(at + 5), data = body.subarray(at + 9, at + 9 + size)
      this.frames.push([view.getUint8(at), view.getUint32(at + 1), size < 200 ? new TextDecoder().decode(data) : size])
      at += 9 + size
    }
    return response(204)
  }
  #send(query, signal) {
    this.streams = query.has('stream')
    const aborted = new Promise((_, no) => signal.addEventListener('abort', () => no(Error('aborted'))))
    const next = async () => {
      while (!this.#down.length || (this.streams && this.buffers)) await new Promise(ok => { this.#wake = ok })
      return { value: this.#down.shift() }
    }
    let first = true
    const read = () => Promise.race([aborted, first || this.streams ? next() : { done: true }])
      .finally(() => { first = false })
    return response(200, { reader: { read } })
  }
  sends(...pieces) {
    this.#down.push(...pieces)
    this.#wake()
  }
}
const open = (kernel, options = {}) => {
  const page = new Page(undefined, { fetch: kernel.fetch, upgrades: false, ...options })
  page.run('sockets.js', undefined, { all: '' })
  return page
}
const connect = (page, ...args) => {
  const socket = new page.window.WebSocket(...args), heard = []
  socket.binaryType = 'arraybuffer'
  for (const type of ['open', 'message', 'error', 'close'])
    socket.addEventListener(type, e => heard.push(type === 'message' ? e.data : type === 'close' ? e.code : type))
  return { socket, heard }
}
const failed = async (page, ...args) => { // Its upgrade has failed
  const made = connect(page, ...args)
  page.sockets.at(-1).ends(1006)
  await page.pass(0)
  return made
}

test('the same object goes on: messages, a subprotocol, a close', async () => {
  const kernel = new Kernel(), page = open(kernel)
  const { socket, heard } = await failed(page, '/ws?a=1', ['x', 'chat'])
  assert.deepEqual([socket.readyState, heard], [0, []])
  assert.deepEqual(kernel.opened, [[1, '/ws?a=1', 'x,chat']])
  kernel.sends(frame(OPENED, 1, 'chat'))
  await page.pass(0)
  assert.deepEqual([socket.readyState, socket.protocol, heard], [1, 'chat', ['open']])
  socket.send('one')
  socket.send(new Uint8Array([65, 66]).buffer)
  socket.send('three')
  await page.pass(0)
  assert.deepEqual(kernel.frames, [[TEXT, 1, 'one'], [BINARY, 1, 'AB'], [TEXT, 1, 'three']])
  assert.deepEqual(kernel.places, [0], 'what is sent in one turn goes together')
  socket.close(4001, 'done')
  socket.send('dropped')
  kernel.sends(frame(CLOSE, 1, closing(4001)))
  await page.pass(0)
  assert.deepEqual(kernel.frames.at(-1).slice(0, 2), [CLOSE, 1])
  assert.deepEqual([socket.readyState, heard], [3, ['open', 4001]])
})

test('frames arrive in whatever pieces', async () => {
  const kernel = new Kernel(), page = open(kernel), { heard } = await failed(page, '/ws')
  const texts = [frame(TEXT, 1, 'käse'), frame(TEXT, 9, 'not mine'), frame(TEXT, 1, ''), frame(TEXT, 1, 'x')]
  for (const byte of [frame(OPENED, 1), ...texts].flatMap(each => [...each])) kernel.sends(new Uint8Array([byte]))
  await page.pass(0)
  for (let n = 0; n < 20 && heard.length < 4; n++) await page.pass(0)
  assert.deepEqual(heard, ['open', 'käse', '', 'x'])
})

test('a long message goes in pieces', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket } = await failed(page, '/ws')
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  socket.send('x'.repeat(2 ** 19))
  assert.equal(socket.bufferedAmount, 2 ** 19)
  await page.pass(0)
  const most = 2 ** 18 - 9
  assert.deepEqual(kernel.frames, [[PIECE, 1, most], [PIECE, 1, most], [TEXT, 1, 'x'.repeat(18)]])
  assert.deepEqual([kernel.places, socket.bufferedAmount], [[0, 2 ** 18], 0])
})

test('more pieces go at once where that is fast', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket } = await failed(page, '/ws')
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  const sent = async () => {
    kernel.bodies = []
    socket.send('x'.repeat(2 ** 22))
    for (let n = 0; n < 50 && socket.bufferedAmount; n++) await page.pass(0)
    return kernel.bodies
  }
  const piece = 2 ** 18, rest = 2 ** 22 % (piece - 9) + 9
  assert.deepEqual(await sent(), [piece, 2 * piece, 4 * piece, 4 * piece, 4 * piece, piece + rest])
  kernel.takes = async () => { page.clock.now += 2000 }
  assert.deepEqual((await sent()).slice(0, 4), [4 * piece, piece, piece, piece])
})

test('what has come down is confirmed beside what goes up', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket, heard } = await failed(page, '/ws')
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  let go
  kernel.takes = () => new Promise(ok => { go = ok })
  socket.send('up')
  await page.pass(0)
  const text = 'x'.repeat(2 ** 16)
  kernel.sends(frame(TEXT, 1, text))
  await page.pass(0)
  assert.deepEqual([heard, kernel.frames, kernel.confirmed], [['open', text], [], [2 ** 16 + 18]])
  go()
  await page.pass(0)
  assert.deepEqual(kernel.frames, [[TEXT, 1, 'up']])
})

test('where upgrades pass, a socket that fails has failed', async () => {
  const kernel = new Kernel(), page = open(kernel, { upgrades: true })
  const { socket, heard } = await failed(page, '/nothing')
  assert.deepEqual([heard, typeof page.window.nbwsLine], [['error', 1006], 'undefined'])
  assert.equal(socket.readyState, 3)
})

test('where nobody answers, too', async () => {
  const page = open({ fetch: () => { throw new TypeError('Failed to fetch') } })
  const { heard } = await failed(page, '/ws')
  assert.deepEqual([heard, typeof page.window.nbwsLine], [['error', 1006], 'undefined'])
})

test('what the app refuses is refused', async () => {
  const kernel = Object.assign(new Kernel(), { status: 403 }), page = open(kernel)
  assert.deepEqual((await failed(page, '/ws')).heard, ['error', 1006])
})

test('the next sockets need no upgrade to fail', async () => {
  const kernel = new Kernel(), page = open(kernel)
  await failed(page, '/ws')
  const { socket } = connect(page, '/other'), opened = []
  assert.ok(page.sockets.length === 1 && socket instanceof page.window.WebSocket, 'no upgrade is tried')
  socket.onopen = e => opened.push(e.type)
  await page.pass(0)
  assert.deepEqual(kernel.opened.map(([number, path]) => [number, path]), [[1, '/ws'], [2, '/other']])
  assert.equal(kernel.lines, 1, 'they share a line')
  assert.throws(() => socket.send('early'), { name: 'InvalidStateError' })
  assert.throws(() => socket.close(1001), { name: 'InvalidAccessError' })
})

test('another server is nothing to us', async () => {
  const kernel = new Kernel(), page = open(kernel), { heard } = await failed(page, 'ws://elsewhere.example/ws')
  assert.deepEqual([heard, kernel.opened], [[1006], []])
})

test('an answer that is lost is asked for again, from the same place', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket } = await failed(page, '/ws')
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  let fails = 3
  kernel.fails = query => query.has('up') && fails-- > 0 ? [new TypeError('Failed to fetch'), 502, 503][fails] : null
  socket.send('one')
  await page.pass(3000)
  socket.send('two')
  await page.pass(0)
  assert.deepEqual(kernel.frames, [[TEXT, 1, 'one'], [TEXT, 1, 'two']])
  assert.deepEqual(kernel.places, [0, 12])
})

test('a line that is not known any more: its sockets are lost, and the next one begins anew', async () => {
  for (const lost of [404, 403]) {
    const kernel = new Kernel(), page = open(kernel), { socket, heard } = await failed(page, '/ws')
    kernel.sends(frame(OPENED, 1))
    await page.pass(0)
    kernel.fails = query => query.has('up') ? lost : null
    socket.send('x')
    await page.pass(0)
    assert.deepEqual(heard, ['open', 'error', 1006])
    kernel.fails = () => null
    connect(page, '/ws')
    await page.pass(0)
    assert.equal(kernel.lines, 2)
  }
})

test('a network that stays away: the sockets are lost in the end', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket, heard } = await failed(page, '/ws')
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  kernel.fails = () => new TypeError('Failed to fetch')
  socket.send('x')
  await page.pass(10_000)
  assert.deepEqual(heard, ['open'])
  await page.pass(15_000)
  assert.deepEqual(heard, ['open', 'error', 1006])
})

test('a proxy that holds streams back: long polls, and the next page knows', async () => {
  const kernel = Object.assign(new Kernel(), { buffers: true }), page = open(kernel)
  const { heard } = await failed(page, '/ws')
  assert.equal(kernel.streams, true)
  await page.pass(1100)
  assert.equal(kernel.streams, false)
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  assert.deepEqual([heard, page.window.nbwsLine.streams], [['open'], false])
  assert.match(page.storage.get('nbws line '), /^poll /)
})

test('a proxy that does not wait for long: shorter polls, and nothing is lost', async () => {
  const kernel = Object.assign(new Kernel(), { buffers: true }), page = open(kernel), asked = []
  const { heard } = await failed(page, '/ws')
  await page.pass(1100)
  kernel.fails = query => {
    if (!query.has('down')) return null
    const wait = Number(query.get('wait'))
    asked.push(wait)
    return wait < 10 ? null : new Promise(done => page.clock.set(done, 10_000, 0, [504]))
  }
  kernel.sends(frame(PAUSE, 1))
  await page.pass(15_000)
  kernel.sends(frame(OPENED, 1))
  await page.pass(0)
  assert.deepEqual([heard, asked.slice(0, 2)], [['open'], [20, 5]])
})

test('a handler that cannot keep up: nothing more of this socket goes, and others do', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket } = await failed(page, '/ws')
  const { socket: other } = connect(page, '/other')
  kernel.sends(frame(OPENED, 1), frame(OPENED, 2), frame(PAUSE, 1))
  for (let n = 0; n < 5; n++) await page.pass(0)
  socket.send('waits')
  other.send('goes')
  await page.pass(0)
  assert.deepEqual(kernel.frames, [[TEXT, 2, 'goes']])
  kernel.sends(frame(RESUME, 1))
  await page.pass(0)
  assert.deepEqual(kernel.frames.at(-1), [TEXT, 1, 'waits'])
})

test('closed before it is open: the other end hears of it', async () => {
  const kernel = new Kernel(), page = open(kernel), { socket, heard } = await failed(page, '/ws')
  socket.close()
  kernel.sends(frame(OPENED, 1))
  await page.pass(10)
  assert.deepEqual(heard, ['error', 1006])
  await page.pass(0)
  assert.deepEqual(kernel.frames, [[CLOSE, 1, '']])
})

test('a page that is left says so', async () => {
  const kernel = new Kernel(), page = open(kernel)
  await failed(page, '/ws')
  page.window.dispatchEvent({ type: 'pagehide' })
  const [url, { keepalive, headers }] = page.asked.at(-1)
  assert.deepEqual([url.endsWith('?end'), keepalive, headers['NBWS-Line']], [true, true, 'line 1'])
})
