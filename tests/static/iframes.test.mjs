// Which address the iframes of an output get, wherever it is shown, and what a person is told where there is none
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answer, Element, Page } from './page.mjs'

const FACTS = {
  id: 'x', visitor: '/~v', segment: '', port: 0, token: '', parameter: 'nbws_token', path: '/a?b=1', sandbox: false,
  maxHeight: 0,
}
const LAB = 'https://hub.example/user/a/lab'

// An output with so many iframes in a page; `jupyter`: the base URL that it names
const shown = async ({
  url = LAB, jupyter = '', frames: n = 1, facts = {}, cookie = '', time = 5000, open, ...globals
}) => {
  const page = new Page(url, globals)
  page.document.cookie = cookie
  const element = Object.assign(new Element(), { textContent: JSON.stringify({ ...FACTS, ...facts }) })
  const frames = Array.from({ length: n }, () => Object.assign(new Element(), { contentWindow: { postMessage() {} } }))
  const line = new Element()
  const config = Object.assign(new Element(), { textContent: JSON.stringify({ baseUrl: jupyter }) })
  Object.assign(page.found, { 'script[data-nbws-facts]': [element], 'iframe[data-nbws="x"]': frames,
    '[data-nbws-line="x"]': [line], '#jupyter-config-data': jupyter ? [config] : [] })
  if (open) page.window.nbwsWidget = { root: page.document, open }
  page.run('iframes.js')
  await page.pass(time)
  return { page, frames, line, frame: frames[0] }
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
  const { frame, line } = await shown({ jupyter: '/user/a/', facts: { segment: '7f3c', port: 5001 } })
  is(frame, 'proxied', '/user/a/nbws/7f3c/a?b=1')
  assert.equal(line.hidden, true)
})

test('frames side by side are visitors of their own', async () => {
  const { frames } = await shown({ jupyter: '/', frames: 3, facts: { segment: '7f3c' } })
  assert.deepEqual(frames.map(f => f.src), ['/nbws/7f3c/a?b=1', '/nbws/7f3c/~v2/a?b=1', '/nbws/7f3c/~v3/a?b=1'])
})

test('a sandboxed page gets a ticket', async () => {
  const fetch = (url, { method, headers }) => {
    assert.deepEqual([url, method, { ...headers }], ['/nbws/7f3c/~ticket', 'POST', { 'X-XSRFToken': '2|abc' }])
    return answer(200, { json: { path: '~secret/' } })
  }
  const facts = { segment: '7f3c', sandbox: true }
  const { frame } = await shown({ jupyter: '/', facts, fetch, cookie: 'a=b; _xsrf=2|abc; c=d' })
  is(frame, 'proxied', '/nbws/7f3c/~secret/a?b=1')
})

test('no ticket', async () => {
  refused(await shown({ jupyter: '/', facts: { segment: '7f3c', sandbox: true }, fetch: () => answer(403) }),
    /Jupyter issued no ticket \(403\)/)
})

test('jupyter-server-proxy, where it answers', async () => {
  const theirs = { jupyter: '/lab-of/a/', facts: { port: 5001, token: 's3' } }
  const { frame } = await shown({ ...theirs, fetch: () => answer(403, { headers: { 'x-nbws': '1' } }) })
  is(frame, 'jupyter-server-proxy', '/lab-of/a/proxy/5001/a?b=1&nbws_token=s3')
  const fetch = url => answer(url.startsWith('http://127.0.0.1:5001/') ? 0 : 404)
  const direct = await shown({ ...theirs, fetch })
  is(direct.frame, 'direct', 'http://127.0.0.1:5001/a?b=1&nbws_token=s3')
})

test('Colab', async () => {
  const proxyPort = async (port, { cache }) => `https://${port}-${cache}.colab.example/`
  const google = accessAllowed => ({ colab: { kernel: { accessAllowed, proxyPort } } })
  const output = { url: 'https://output.example/', facts: { port: 5001 } }
  const { frame } = await shown({ ...output, google: google(true) })
  is(frame, 'colab', 'https://5001-false.colab.example/a?b=1')
  refused(await shown({ ...output, google: google(false) }), /^Run this cell to see the page\.$/)
})

test('directly', async () => {
  const ok = () => answer(0)
  const { frame, page } = await shown({ fetch: ok, facts: { port: 5001, token: 's3', path: '/a' } })
  is(frame, 'direct', 'http://127.0.0.1:5001/a?nbws_token=s3')
  assert.equal(page.asked[0][0], 'http://127.0.0.1:5001/_nbws/nbws.js')
  const local = await shown({ fetch: ok, url: 'http://localhost:8888/lab', facts: { port: 5001 } })
  is(local.frame, 'direct', 'http://localhost:5001/a?b=1')
  const sandboxed = await shown({ fetch: ok, facts: { port: 5001, token: 's3', sandbox: true } })
  is(sandboxed.frame, 'direct', 'http://127.0.0.1:5001/~s3/a?b=1')
})

test('VS Code: what may be fetched there says nothing, a page that tells its height does', async () => {
  const vscode = { fetch: nothing, url: 'vscode-webview://abc/index.html', facts: { port: 5001 } }
  const { frame, page } = await shown({ ...vscode, time: 1000 })
  assert.equal(frame.src, 'http://127.0.0.1:5001/a?b=1')
  page.window.fire('message', { source: {}, data: { nbws: 'height', height: 5 } }) // Somebody else's
  await page.pass(1000)
  assert.equal(frame.dataset.way, undefined)
  page.window.fire('message', { source: frame.contentWindow, data: { nbws: 'height', height: 5 } })
  await page.pass(0)
  is(frame, 'direct', 'http://127.0.0.1:5001/a?b=1')
  refused(await shown({ ...vscode, time: 6000 }), /nothing answers at http:\/\/127.0.0.1:5001 now/)
})

// A page that asks the kernel, whose messages the test answers
const KERNEL = { jupyter: '/', facts: { port: 5001, token: 't0', kernel: 'k1' }, crypto: globalThis.crypto, Date }
const asking = async (features = []) => {
  const fetch = url => url === '/api/kernels/k1' ? answer(200) : nothing()
  const parts = await shown({ ...KERNEL, fetch, time: 0 }), socket = parts.page.sockets[0]
  const told = () => JSON.parse(socket.sent.at(-1))
  const says = (channel, type, content, parent = {}) => socket.receives(JSON.stringify(
    { channel, header: { msg_type: type }, parent_header: parent, content }))
  const reply = async content => {
    says('control', 'reply', content, told().header)
    await parts.page.pass(0)
  }
  socket.opens()
  await parts.page.pass(0)
  assert.equal(told().header.msg_type, 'kernel_info_request')
  await reply({ supported_features: features })
  return { ...parts, socket, told, says, reply }
}

test('the kernel: by a subshell of this tab, and a word where it refuses', async () => {
  const { frame, line, page, told, says, reply } = await asking(['kernel subshells'])
  assert.equal(frame.dataset.way, 'kernel')
  assert.equal(told().header.msg_type, 'list_subshell_request')
  await reply({ subshell_id: [] })
  assert.equal(told().header.msg_type, 'create_subshell_request')
  await reply({ subshell_id: 's1' })
  const { header, content, channel } = told()
  assert.deepEqual([channel, header.msg_type, header.subshell_id], ['shell', 'comm_open', 's1'])
  const { version, token, prefix } = content.data
  assert.deepEqual([content.target_name, version, token, prefix], ['nbws.http', 1, 't0', '/nbws-kernel/k1'])
  const reason = 'this output was made by another version of nbws'
  says('iopub', 'comm_close', { comm_id: content.comm_id, data: { reason } })
  await page.pass(0)
  assert.equal(line.textContent, `Run this cell to see the page: ${reason}.`)
})

test('a kernel that answers between cells only: a word after 3 s, until the page comes', async () => {
  const { line, page, told, says } = await asking()
  assert.deepEqual([told().header.msg_type, told().header.subshell_id], ['comm_open', undefined])
  await page.pass(2900)
  assert.equal(line.hidden, false)
  assert.equal(line.textContent, '')
  await page.pass(200)
  assert.equal(line.textContent, 'Waiting for the kernel, which answers between cells in JupyterLite and before '
    + 'ipykernel 7.')
  page.document.head.append = ({ textContent }) => {
    assert.equal(textContent, 'script')
    page.window.nbwsChannel = { show: async () => {} }
  }
  says('iopub', 'comm_msg', { comm_id: told().content.comm_id, data: { type: 'open', script: 'script' } })
  await page.pass(0)
  assert.deepEqual([line.textContent, line.hidden], ['', true])
})

test('a kernel that starts again ends what it was asked', async () => {
  const { line, page, says, socket } = await asking()
  says('iopub', 'status', { execution_state: 'starting' })
  assert.notEqual(socket.closedWith, undefined)
  socket.ends(1000)
  await page.pass(0)
  assert.equal(line.textContent, 'Run this cell to see the page.')
})

test('widget messages, where nothing else leads to the kernel', async () => {
  const opened = [], open = async (data, heard, ended) => {
    opened.push(data.prefix, data.token)
    setImmediate(ended, 'its app is not being served now')
    return { send() {}, close() {} }
  }
  const page = facts => shown({ url: 'vscode-webview://abc/i.html', fetch: nothing, open, time: 6000, facts,
    crypto: globalThis.crypto })
  const { frame, line } = await page({ port: 5001, token: 't0' })
  assert.equal(frame.dataset.way, 'widget')
  assert.deepEqual(opened, ['/nbws-kernel/page', 't0'])
  assert.match(line.textContent, /its app is not being served now/)
  refused(await page({ port: 5001, token: 't0', sandbox: true }), /nothing answers/)
  const lite = await page({ port: 0, token: 't1' }) // JupyterLite: there are no ports
  assert.deepEqual([lite.frame.dataset.way, opened.pop()], ['widget', 't1'])
})

test('nothing answers, or there is no port', async () => {
  refused(await shown({ fetch: nothing, facts: { port: 5001 } }), /nothing answers at http:\/\/127.0.0.1:5001 now/)
  refused(await shown({ facts: { segment: '7f3c' } }), /For other front ends, serve\(port=0\)/)
})

test('the copy of a notebook does not show the app of the original', async () => {
  const facts = { segment: '7f3c' }, jupyter = '/'
  const json = { notebook: 'RTC:a/chat.ipynb' }
  const fetch = url => url === '/nbws/7f3c/~notebook' ? answer(200, { json }) : answer(404)
  const copy = { url: 'http://localhost:8888/notebooks/a/chat-Copy1.ipynb', jupyter, facts, fetch }
  refused(await shown(copy), /The app that was saved here is that of RTC:a\/chat.ipynb/)
  const original = await shown({ ...copy, url: 'http://localhost:8888/doc/tree/a/chat.ipynb' })
  is(original.frame, 'proxied', '/nbws/7f3c/a?b=1')
  const unknown = await shown({ ...copy, fetch: () => answer(404) })
  is(unknown.frame, 'proxied', '/nbws/7f3c/a?b=1')
})

test('an output that stands in the page twice: each run takes its own', async () => {
  const facts = { segment: '7f3c' }
  const { page, frame } = await shown({ jupyter: '/', facts })
  frame.src = 'kept'
  const again = new Element()
  page.found['script[data-nbws-facts]'].push({ dataset: {}, textContent: JSON.stringify({ ...FACTS, ...facts }) })
  page.found['iframe[data-nbws="x"]'].push(again)
  page.run('iframes.js')
  await page.pass(0)
  assert.deepEqual([frame.src, again.src], ['kept', '/nbws/7f3c/a?b=1'])
})

test('the height that a page asks for, up to the most', async () => {
  const { page, frames } = await shown({ jupyter: '/', frames: 2, facts: { segment: '7f3c', maxHeight: 2000 } })
  const asks = (frame, data) => page.window.fire('message', { source: frame.contentWindow, data })
  asks(frames[0], { nbws: 'height', height: 300 })
  asks(frames[1], { nbws: 'height', height: 9000 })
  asks({ contentWindow: {} }, { nbws: 'height', height: 5 })
  asks(frames[0], 'something else')
  asks(frames[0], null)
  assert.deepEqual(frames.map(f => f.style.height), ['300px', '2000px'])
  const posted = []
  frames[0].contentWindow.postMessage = (data, origin) => posted.push([data.nbws, origin])
  frames[0].fire('load')
  assert.deepEqual(posted, [['measure', '*']])
})

test('a fixed height stays', async () => {
  const { page, frame } = await shown({ jupyter: '/', facts: { segment: '7f3c' } })
  page.window.fire('message', { source: frame.contentWindow, data: { nbws: 'height', height: 300 } })
  assert.equal(frame.style.height, undefined)
})
