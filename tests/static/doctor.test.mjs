// What the doctor's page says of an answer and of a socket
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answer, Element, Page } from './page.mjs'

// The lines of a page: its server answers by `fetch`, and `socket` is what happens to its socket
const URL_OF_PAGE = 'https://app.example/_nbws/doctor'
const examine = async ({ url = URL_OF_PAGE, fetch = pong, socket = () => {}, jupyter = false }) => {
  const page = new Page(url, { fetch }), http = new Element(), ws = new Element()
  const facts = { textContent: JSON.stringify({ jupyter }) }
  Object.assign(page.found, { '#http': [http], '#socket': [ws], 'script[type="application/json"]': [facts] })
  page.run('doctor.js')
  await page.pass(0)
  socket(page.sockets[0], page)
  await page.pass(15_000)
  return { page, http: http.textContent, socket: ws.textContent }
}
const pong = () => answer(200, { text: 'pong', headers: { 'x-nbws-host': 'app.example' } })
const fails = ws => ws.fire('error')

test('both pass', async () => {
  const { page, http, socket } = await examine({ socket: ws => {
    ws.opens()
    ws.receives('ping')
  } })
  assert.equal(http, 'HTTP: answers, 0.0 ms')
  assert.equal(socket, 'WebSocket: answers, 0.0 ms')
  assert.deepEqual([page.sockets[0].sent, page.sockets[0].readyState], [['ping'], 2])
})

for (const [name, fetch, text] of [
  ['a login page', () => answer(200, { text: '<form>' }), /^HTTP: something else answers, such as a login page/],
  ['no login', () => answer(403), /^HTTP: refused \(403\). Your login has ended/],
  ['no kernel', () => answer(404), /^HTTP: the kernel does not serve this app now/],
  ['no app', () => answer(503), /^HTTP: the kernel does not serve this app now/],
  ['a fault', () => answer(500, { text: 'x'.repeat(300) }), /^HTTP: fails with 500. x{200}$/],
  ['nobody', () => { throw new TypeError('Failed to fetch') }, /^HTTP: no answer. Jupyter, or the network in between/],
])
  test('an answer: ' + name, async () => assert.match((await examine({ fetch })).http, text))

test('a socket that is held back', async () => {
  assert.match((await examine({})).socket, /^WebSocket: no answer within 15 s/)
})

test('a socket that is blocked', async () => {
  assert.match((await examine({ socket: fails })).socket, /^WebSocket: blocked. If HTTP answers, a proxy/)
  const colab = 'https://5001-x.googleusercontent.com/_nbws/doctor', fetch = () => answer(200, { text: 'pong' })
  assert.match((await examine({ url: colab, fetch, socket: fails })).socket, /^WebSocket: blocked. Colab passes no/)
})

test('a socket that goes by requests', async () => {
  const taken = async (options, streams) => {
    const { socket } = await examine({ ...options, socket(ws, { window }) {
      Object.assign(window, { nbwsSockets: { carried: new Set([ws]) }, nbwsLine: { streams } })
      ws.opens()
      ws.receives('ping')
    } })
    return socket
  }
  const colab = 'https://5001-x.googleusercontent.com/_nbws/doctor'
  const seen = host => () => answer(200, { text: 'pong', headers: { 'x-nbws-host': host } })
  assert.match(await taken({}, false), /answers, 0.0 ms, by requests \(long polls\). A proxy .*no upgrades.*nginx/)
  assert.match(await taken({ url: colab, fetch: seen('') }, true), /by requests \(a stream\). Colab passes no upgrades/)
  assert.match(await taken({ fetch: seen('10.0.0.7:5001') }, true), /changes the Host field.*sees 10.0.0.7:5001\.$/)
})

test('a proxy that changes the Host field', async () => {
  const fetch = () => answer(200, { text: 'pong', headers: { 'x-nbws-host': '10.0.0.7:5001' } })
  const own = (await examine({ fetch, socket: fails })).socket
  assert.match(own, /the app sees 10.0.0.7:5001, and this page is at app.example, so/)
  assert.match(own, /App\(allowed_origins=\['https:\/\/app.example'\]\)\.$/)
  const jupyters = (await examine({ fetch, socket: fails, jupyter: true })).socket
  assert.match(jupyters, /c.ServerApp.allow_origin = 'https:\/\/app.example' in Jupyter's configuration/)
})
