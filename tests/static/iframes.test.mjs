// Which address the iframes of an output get, wherever it is shown, and what a person is told where there is none
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { answer, Element, Page } from './page.mjs'

const FACTS = { version: 2, ways: [], otherwise: 'nothing answers', path: '/a?b=1' }
const LAB = 'https://hub.example/user/a/lab'
const JUPYTER = { ways: ['jupyter'], segment: '7f3c' }
const PORT = { ways: ['port'], port: 5001, around: ['', ''] }
const STATIC = new URL('../../nbws/static/', import.meta.url)
const SCRIPTS = ['proxied.js', 'copies.js']

// An output, as the page finds it
const output = facts => {
  const fresh = () => Object.assign(new Element(), { contentWindow: { postMessage() {} } })
  const frame = Object.assign(fresh(), { cloneNode: fresh, after: (...copies) => frames.push(...copies) })
  const frames = [frame], line = Object.assign(new Element(), { textContent: 'Run this cell to see the page.' })
  const found = { script: { textContent: JSON.stringify({ ...FACTS, ...facts }) }, iframe: frame }
  const place = { dataset: { nbws: '' }, querySelector: what => found[what] || line }
  return { place, frames, line, frame }
}
// As nbws/notebook/iframes.py puts it together
const run = (page, ways) => {
  const files = ['ways.js', ...ways.map(way => `way-${way}.js`), 'iframes.js']
  const text = files.map(file => readFileSync(new URL(file, STATIC), 'utf-8')).join('\n')
  page.document.head.append({ textContent: `{ ${text} }` })
}
// An output in a page; `jupyter`: the base URL that it names
const shown = async ({
  url = LAB, jupyter = '', facts = {}, cookie = '', time = 5000, last, fetch = () => answer(404),
  ...globals
}) => {
  const script = at => {
    const name = SCRIPTS.find(each => at.endsWith('/_nbws/' + each))
    return name && answer(200, { text: readFileSync(new URL(name, STATIC), 'utf-8') })
  }
  const page = new Page(url, { fetch: (at, how) => script(at) || fetch(at, how), ...globals })
  page.document.cookie = cookie
  const made = output(facts)
  const config = Object.assign(new Element(), { textContent: JSON.stringify({ baseUrl: jupyter }) })
  Object.assign(page.found, { '[data-nbws]': [made.place], '#jupyter-config-data': jupyter ? [config] : [] })
  if (last) page.window.nbwsWidget = { root: page.document, last }
  run(page, facts.ways || [])
  await page.pass(time)
  return { page, ...made }
}
const is = (frame, way, src) => assert.deepEqual([frame.dataset.way, frame.src], [way, src])
const refused = ({ frame, line }, text) => {
  assert.match(line.textContent, text)
  assert.equal(line.hidden, false)
  assert.equal(frame.src, undefined)
  assert.equal(frame.style.display, 'none')
}
const nothing = () => { throw new TypeError('Failed to fetch') }

test('through the Jupyter server', async () => {
  const { frame, line } = await shown({ jupyter: '/user/a/', facts: JUPYTER })
  is(frame, 'proxied', '/user/a/nbws/7f3c/a?b=1')
  assert.equal(line.hidden, true)
})

test('frames side by side are visitors of their own', async () => {
  const { frames } = await shown({ jupyter: '/', facts: { ...JUPYTER, path: '/a', n: 3 } })
  assert.deepEqual(frames.map(f => f.src), ['', '/_nbws/as/2', '/_nbws/as/3'].map(as => `/nbws/7f3c${as}/a`))
})

test('a sandboxed page gets a ticket', async () => {
  const fetch = (url, { method, headers } = {}) => {
    assert.deepEqual([url, method, { ...headers }], ['/nbws/7f3c/~ticket', 'POST', { 'X-XSRFToken': '2|abc' }])
    return answer(200, { json: { path: '~secret/' } })
  }
  const facts = { ...JUPYTER, sandbox: true }
  const { frame } = await shown({ jupyter: '/', facts, fetch, cookie: 'a=b; _xsrf=2|abc; c=d' })
  is(frame, 'proxied', '/nbws/7f3c/~secret/a?b=1')
})

test('no ticket', async () => {
  refused(await shown({ jupyter: '/', facts: { ...JUPYTER, sandbox: true }, fetch: () => answer(403) }),
    /Jupyter issued no ticket \(403\)/)
})

test('jupyter-server-proxy, where it answers', async () => {
  const theirs = { jupyter: '/lab-of/a/', facts: { ...PORT, around: ['', '&nbws_token=s3'] } }
  const { frame } = await shown({ ...theirs, fetch: () => answer(403, { headers: { 'x-nbws': '1' } }) })
  is(frame, 'jupyter-server-proxy', '/lab-of/a/proxy/5001/a?b=1&nbws_token=s3')
  const fetch = url => answer(url.startsWith('http://127.0.0.1:5001/') ? 0 : 404)
  const direct = await shown({ ...theirs, fetch })
  is(direct.frame, 'direct', 'http://127.0.0.1:5001/a?b=1&nbws_token=s3')
})

test('Colab', async () => {
  const proxyPort = async (port, { cache }) => `https://${port}-${cache}.colab.example/`
  const google = accessAllowed => ({ colab: { kernel: { accessAllowed, proxyPort } } })
  const colab = { url: 'https://output.example/', facts: { ...PORT, ways: ['colab'] } }
  const { frame } = await shown({ ...colab, google: google(true) })
  is(frame, 'colab', 'https://5001-false.colab.example/a?b=1')
  refused(await shown({ ...colab, google: google(false) }), /^Run this cell to see the page\.$/)
})

test('directly', async () => {
  const ok = () => answer(0)
  const { frame, page } = await shown({ fetch: ok, facts: { ...PORT, around: ['', '&nbws_token=s3'] } })
  is(frame, 'direct', 'http://127.0.0.1:5001/a?b=1&nbws_token=s3')
  assert.equal(page.asked[0][0], 'http://127.0.0.1:5001/_nbws/nbws.js')
  const local = await shown({ fetch: ok, url: 'http://localhost:8888/lab', facts: PORT })
  is(local.frame, 'direct', 'http://localhost:5001/a?b=1')
  const sandboxed = await shown({ fetch: ok, facts: { ...PORT, around: ['/~s3', ''], sandbox: true } })
  is(sandboxed.frame, 'direct', 'http://127.0.0.1:5001/~s3/a?b=1')
})

// A page that asks the kernel, whose messages the test answers
const asking = async (facts = {}) => {
  const kernel = { ...PORT, ways: ['port', 'kernel'], token: 't0', kernel: 'k1', ...facts }
  const parts = await shown({ jupyter: '/', facts: kernel, crypto: globalThis.crypto, time: 0, fetch: nothing })
  const socket = parts.page.sockets[0], told = () => JSON.parse(socket.sent.at(-1))
  const says = async (channel, msg_type, content) => {
    socket.receives(JSON.stringify({ channel, msg_type, content }))
    await parts.page.pass(0)
  }
  return { ...parts, socket, told, says }
}

test('the kernel: by its own subshell, and a word where it refuses', async () => {
  const { line, socket, told, says } = await asking({ subshell: 's1' })
  assert.match(socket.url, /^wss:\/\/hub.example\/api\/kernels\/k1\/channels\?session_id=/)
  socket.opens()
  assert.deepEqual([told().header.msg_type, told().channel], ['list_subshell_request', 'control'])
  await says('control', 'list_subshell_reply', { subshell_id: ['s0', 's1'] })
  const { header, content, channel } = told()
  assert.deepEqual([channel, header.msg_type, header.subshell_id], ['shell', 'comm_open', 's1'])
  const { version, token } = content.data
  assert.deepEqual([content.target_name, version, token], ['nbws.http', 2, 't0'])
  socket.receives(new Blob(['somebody else is sent bytes']))
  await says('iopub', 'comm_msg', { comm_id: 'of somebody else', data: { script: '' } })
  const reason = 'this output was made by another version of nbws'
  await says('iopub', 'comm_close', { comm_id: content.comm_id, data: { reason } })
  assert.equal(line.textContent, `Run this cell to see the page: ${reason}.`)
  assert.notEqual(socket.closedWith, undefined)
})

test('a subshell of a kernel that has started again is not asked', async () => {
  const { socket, told, says } = await asking({ subshell: 's1' })
  socket.opens()
  await says('control', 'list_subshell_reply', { subshell_id: ['s2'] })
  assert.deepEqual([told().header.msg_type, told().header.subshell_id], ['comm_open', undefined])
})

test('a kernel that answers between cells only: a word after 3 s, until the page comes', async () => {
  const waits = 'Waiting for the kernel'
  const { frame, line, page, socket, told, says } = await asking({ waits })
  socket.opens()
  assert.deepEqual([told().header.msg_type, told().header.subshell_id], ['comm_open', undefined])
  await page.pass(2900)
  assert.match(line.textContent, /^Run this cell/)
  await page.pass(200)
  assert.equal(line.textContent, waits)
  const script = 'window.nbwsChannel = { show: (...how) => { window.how = how } }'
  await says('iopub', 'comm_msg', { comm_id: told().content.comm_id, data: { script } })
  assert.deepEqual([line.textContent, line.hidden, frame.dataset.way], ['', true, 'kernel'])
  const [where, facts, path, base] = page.window.how
  assert.deepEqual([where, facts.kernel, path, base], [frame, 'k1', '/a?b=1', '/'])
})

test('a kernel that is no more', async () => {
  const parts = await asking()
  parts.socket.ends(1006)
  await parts.page.pass(0)
  refused(parts, /nothing answers/)
})

test('a widget has a way of its own, the last one', async () => {
  const asked = [], last = [async ({ facts, path }) => asked.push(path, facts.port) && ['widget']]
  const { frame } = await shown({ fetch: nothing, last, facts: PORT })
  assert.deepEqual([frame.dataset.way, frame.src, asked], ['widget', undefined, ['/a?b=1', 5001]])
})

test('nothing answers, or there is no port', async () => {
  refused(await shown({ fetch: nothing, facts: PORT }), /nothing answers/)
  refused(await shown({ facts: JUPYTER }), /nothing answers/)
})

test('the copy of a notebook does not show the app of the original', async () => {
  const facts = JUPYTER, jupyter = '/'
  const json = [
    { path: 'b.ipynb', type: 'notebook', kernel: { id: '7f3d' } }, { path: 'c', type: 'console', kernel: null },
    { path: 'RTC:a/chat.ipynb', type: 'notebook', kernel: { id: '7f3c' } },
    { path: 'a/shares it.ipynb', type: 'notebook', kernel: { id: '7f3c' } }]
  const fetch = url => url === '/api/sessions' ? answer(200, { json }) : answer(404)
  const copy = { url: 'http://localhost:8888/notebooks/a/chat-Copy1.ipynb', jupyter, facts, fetch }
  refused(await shown(copy), /^Run this .* page: the app that was saved here is that of RTC:a\/chat.ipynb\.$/)
  for (const own of ['chat', 'shares%20it']) {
    const { frame } = await shown({ ...copy, url: `http://localhost:8888/doc/tree/a/${own}.ipynb` })
    is(frame, 'proxied', '/nbws/7f3c/a?b=1')
  }
  for (const unknown of [() => answer(404), nothing, () => answer(200, { json: [] }), () => answer(200)])
    is((await shown({ ...copy, fetch: unknown })).frame, 'proxied', '/nbws/7f3c/a?b=1')
})

test('Jupyter tells in the frame why it has no app', async () => {
  const page = new Page(LAB, { fetch: () => answer(503) })
  const config = { textContent: '{"baseUrl": "/"}' }
  const usual = output(JUPYTER), sandboxed = output({ ...JUPYTER, sandbox: true })
  Object.assign(page.found, { '[data-nbws]': [usual.place, sandboxed.place], '#jupyter-config-data': [config] })
  run(page, ['jupyter'])
  await page.pass(0)
  is(usual.frame, 'proxied', '/nbws/7f3c/a?b=1')
  refused(sandboxed, /Run this cell/)
})

test('an output that stands in the page twice, and one with other ways: each run takes its own', async () => {
  const { page, frame } = await shown({ jupyter: '/', facts: JUPYTER })
  frame.src = 'kept'
  const again = output(JUPYTER), other = output(PORT)
  page.found['[data-nbws]'] = [again.place, other.place]
  run(page, ['jupyter'])
  await page.pass(0)
  assert.deepEqual([frame.src, again.frame.src, other.frame.src], ['kept', '/nbws/7f3c/a?b=1', undefined])
  assert.deepEqual(['nbws' in again.place.dataset, 'nbws' in other.place.dataset], [false, true])
})

test('the height that a page asks for; the most is in the style', async () => {
  const { page, frames } = await shown({ jupyter: '/', facts: { ...JUPYTER, n: 2, fit: 1 } })
  const asks = (frame, data) => page.window.fire('message', { source: frame.contentWindow, data })
  asks(frames[0], { nbws: 'height', height: 300 })
  asks(frames[1], { nbws: 'height', height: 9000 })
  asks({ contentWindow: {} }, { nbws: 'height', height: 5 })
  asks(frames[0], 'something else')
  asks(frames[0], null)
  assert.deepEqual(frames.map(f => f.style.height), ['300px', '9000px'])
  const posted = []
  frames[0].contentWindow.postMessage = (data, origin) => posted.push([data.nbws, origin])
  frames[0].onload()
  assert.deepEqual(posted, [['measure', '*']])
})

test('a fixed height stays', async () => {
  const { page, frame } = await shown({ jupyter: '/', facts: JUPYTER })
  page.window.fire('message', { source: frame.contentWindow, data: { nbws: 'height', height: 300 } })
  assert.equal(frame.style.height, undefined)
})
