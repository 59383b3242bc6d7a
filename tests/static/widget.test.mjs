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
const prepared = () => { // What a view is rendered into, and what its script finds
  globalThis.window = {}
  globalThis.document = { createElement: name => ({ name }) }
  const found = []
  const replaceWith = ({ textContent }) => found.push(textContent, globalThis.window.nbwsWidget)
  const script = { textContent: 'run', replaceWith }
  const el = { isConnected: true, querySelectorAll: selector => selector === 'script:not([type])' ? [script] : [] }
  return { el, found }
}
const shown = model => { // What the output's script finds, and what is left once it has run
  const { el, found } = prepared()
  const leave = render({ model, el })
  const [ran, { root }] = found
  assert.deepEqual([el.innerHTML, ran, root, globalThis.window.nbwsWidget], ['<p>', 'run', el, undefined])
  leave()
  assert.equal(el.textContent, '')
  return found[1].open
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

test('a page opens, sends and hears what is for it', async () => {
  const model = new Model(), open = shown(model), heard = [], ended = []
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

test('two pages of one widget; one of them is ended', async () => {
  const model = new Model(), open = shown(model), told = []
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
