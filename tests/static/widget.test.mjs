// The widget that shows an output where nothing but widget messages reaches the kernel
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const source = readFileSync(new URL('../../nbws/static/widget.js', import.meta.url), 'utf-8')
const { default: { render } } = await import('data:text/javascript,' + encodeURIComponent(source))

// The model as anywidget's front end gives it
class Model {
  sent = []
  heard = []
  get(name) { return { html: '<p>' }[name] }
  on(event, f) { this.heard.push([event, f]) }
  off(event, f) { this.heard = this.heard.filter(([name, g]) => name !== event || g !== f) }
  send(content, callbacks, buffers) { this.sent.push([content, buffers.map(b => [...new Uint8Array(b)])]) }
  says(content, buffers) { for (const [, f] of [...this.heard]) f(content, buffers) }
}
const settle = () => new Promise(setImmediate)
const prepared = () => { // What a view is rendered into, and what its script finds
  globalThis.window = {}
  globalThis.document = { createElement: name => ({ name }) }
  globalThis.location = { protocol: 'http:' }
  const found = []
  const replaceWith = ({ textContent }) => found.push(textContent, globalThis.window.nbwsWidget)
  const script = { textContent: 'run', replaceWith }
  const before = { style: {}, querySelector: selector => before.has === selector }
  const el = {
    isConnected: true,
    closest: () => ({ previousElementSibling: before }),
    querySelectorAll: selector => selector === 'script:not([type])' ? [script] : [],
  }
  return { el, found, before }
}
const shown = model => { // The way that the output's script finds, which is gone once it has run
  const { el, found } = prepared()
  const leave = render({ model, el })
  const [ran, { root, last: [way] }] = found
  assert.deepEqual([el.innerHTML, ran, root, globalThis.window.nbwsWidget], ['<p>', 'run', el, undefined])
  leave()
  assert.equal(el.textContent, '')
  return way
}
// What channel.js gets to open pages by, once the kernel has sent that
const opener = async model => {
  const way = shown(model), ran = []
  let begin
  const run = script => {
    ran.push(script)
    globalThis.window.nbwsChannel = { show: (...how) => { begin = how[4] } }
  }
  const taken = way({ run, say: assert.fail, facts: { version: 2, token: 't0' }, frame: {}, path: '/', base: '' })
  const [[{ page, open: data }]] = model.sent.splice(0)
  assert.deepEqual(data, { version: 2, token: 't0' })
  model.says({ page, script: 'channel.js' }, [])
  model.says({ page, ended: '' }, [])
  assert.deepEqual([await taken, ran], [['widget'], ['channel.js']])
  assert.deepEqual(model.heard, [])
  return begin
}

test('the script runs once the view is in the page, and not after it has gone', t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const [late, gone] = [prepared(), prepared()]
  for (const { el } of [late, gone]) el.isConnected = false
  render({ model: new Model(), el: late.el })
  render({ model: new Model(), el: gone.el })()
  t.mock.timers.tick(100)
  assert.deepEqual([late.found, gone.found], [[], []])
  for (const { el } of [late, gone]) el.isConnected = true
  t.mock.timers.tick(100)
  assert.equal(late.found[1].root, late.el)
  assert.deepEqual(gone.found, [])
})

test('a line that is for notebooks without their widgets goes, and no other output', () => {
  for (const [has, display] of [['[data-nbws-again]', 'none'], ['p', undefined]]) {
    const { el, before } = prepared()
    Object.assign(before, { has })
    render({ model: new Model(), el })
    assert.equal(before.style.display, display)
  }
})

test('a kernel that answers late: the word that it gave, after 3 s', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const model = new Model(), way = shown(model), said = []
  globalThis.window.nbwsChannel = { show() {} }
  const facts = { waits: 'Waiting for the kernel' }
  const taken = way({ run() {}, say: text => said.push(text), facts, frame: {}, path: '/', base: '' })
  t.mock.timers.tick(2900)
  assert.deepEqual(said, [])
  t.mock.timers.tick(200)
  assert.deepEqual(said, ['Waiting for the kernel'])
  model.says({ page: model.sent[0][0].page, script: 'channel.js' }, [])
  assert.deepEqual(await taken, ['widget'])
})

test('a page opens, sends and hears what is for it', async () => {
  const model = new Model(), open = await opener(model), heard = [], ended = []
  const way = await open({ version: 1 }, (...told) => heard.push(told), reason => ended.push(reason))
  const [[{ page, open: data }]] = model.sent
  assert.deepEqual(data, { version: 1 })
  way.send({ frames: [['x']] }, [new Uint8Array([9, 1, 2, 9]).subarray(1, 3)]) // A part goes, not what it is a part of
  assert.deepEqual(model.sent[1], [{ page, frames: [['x']] }, [[1, 2]]])
  model.says({ page, frames: [['y']] }, [new DataView(new Uint8Array([0, 3, 4]).buffer, 1)])
  model.says({ page: 'another', frames: [['z']] }, [])
  model.says({ page, frames: [] }, [[5, 6], new Uint8Array([7]).buffer])
  assert.deepEqual(heard.map(([{ frames }, buffers]) => [frames, buffers.map(b => [...b])]),
    [[[['y']], [[3, 4]]], [[], [[5, 6], [7]]]])
  assert.equal(way.piece <= 2 ** 15, true)
  way.close()
  assert.deepEqual([model.sent[2][0], model.heard.length, ended], [{ page, close: true }, 0, []])
})

test('a kernel that has started again: nothing can be sent, so a page has ended', async () => {
  const model = new Model(), open = await opener(model), ended = []
  const way = await open({}, assert.fail, reason => ended.push(reason)), heard = model.heard.length
  model.send = () => { throw new Error('Cannot send') }
  way.send({ frames: [] })
  assert.deepEqual([ended, heard, model.heard.length], [[''], 1, 0])
  way.close()
  await assert.rejects(open({}, assert.fail, assert.fail))
  assert.equal(model.heard.length, 0)
})

test('two pages of one widget; one of them is ended', async () => {
  const model = new Model(), open = await opener(model), told = []
  const names = []
  for (const n of [0, 1]) {
    await open({}, () => told.push([n, 'heard']), reason => told.push([n, reason]))
    names.push(model.sent.at(-1)[0].page)
  }
  assert.notEqual(names[0], names[1])
  model.says({ page: names[0], ended: 'there are too many pages' })
  model.says({ page: names[0], frames: [] })
  model.says({ page: names[1], frames: [] })
  assert.deepEqual(told, [[0, 'there are too many pages'], [1, 'heard']])
})

test('why the kernel refuses is told; a sandboxed page has no way here', async () => {
  const model = new Model(), way = shown(model), page = { say() {}, facts: { version: 1 }, path: '/' }
  const refused = way(page)
  model.says({ page: model.sent[0][0].page, ended: 'its app is not being served now' }, [])
  await assert.rejects(refused, /^Error: its app is not being served now$/)
  assert.equal(await way({ ...page, facts: { sandbox: true } }), null)
})

test('VS Code: what may be fetched there says nothing, a page that tells its height does', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const way = shown(new Model()), heard = []
  Object.assign(globalThis, { addEventListener: (type, f) => heard.push(f), location: { protocol: 'vscode-webview:' } })
  const facts = { port: 5001, around: ['', '?a=b'], sandbox: true }, frame = { contentWindow: {}, removeAttribute() {} }
  const direct = way({ facts, frame, path: '/x' })
  assert.equal(frame.src, 'http://127.0.0.1:5001/x?a=b')
  heard[0]({ source: {}, data: { nbws: 'height' } }) // Somebody else's
  await settle()
  heard[0]({ source: frame.contentWindow, data: { nbws: 'height' } })
  assert.deepEqual(await direct, ['direct', frame.src])
  const silent = way({ facts, frame, path: '/x' })
  t.mock.timers.tick(5000)
  assert.equal(await silent, null)
  assert.equal(await way({ facts, frame, path: '/x' }), null) // It is not tried again
})
