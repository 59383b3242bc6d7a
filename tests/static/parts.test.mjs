// What a page puts into the elements that show parts, and when
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Page } from './page.mjs'

const SCRIPT = /<script src="([^"]+)"><\/script>/

// A page with elements that show the same part, as far as `parts.js` looks at them. Frames and loads come when asked.
const showing = (...versions) => {
  const frames = [], loads = [], scripts = []
  const page = new Page('http://127.0.0.1:5001/', { requestAnimationFrame: f => frames.push(f), Idiomorph: undefined })
  const elements = versions.map(version => ({
    attributes: { 'data-nbws-part': 'a.x', 'data-nbws-version': version }, html: '',
    getAttribute(name) { return this.attributes[name] ?? null },
    setAttribute(name, value) { this.attributes[name] = value },
    replaceChildren(content) { this.html = content },
    querySelectorAll(selector) {
      const src = selector === 'script' && SCRIPT.exec(this.html)
      return src ? [{ type: '', src: src[1], attributes: [{ name: 'src', value: src[1] }], textContent: '',
        replaceWith: script => { loads.push(script) } }] : []
    },
  }))
  const made = {
    script: () => ({ setAttribute(name, value) { this[name] = value } }),
    template: () => ({ set innerHTML(html) { this.content = html } }),
  }
  Object.assign(page.document, { scripts, createElement: name => made[name](), readyState: 'loading' })
  page.found['[data-nbws-part]'] = elements
  page.run('parts.js', undefined, { app: 'a' })
  const frame = async () => {
    for (const f of frames.splice(0)) f()
    await page.pass(0)
  }
  return { page, elements, loads, frame }
}

const begin = async shown => {
  await shown.page.pass(0)
  const [socket] = shown.page.sockets
  socket.opens()
  socket.receives('{"ref": 1, "as": 7}')
  return socket
}
const said = socket => socket.sent.map(text => JSON.parse(text))

test('what came later stays, however long a script of what came before takes to load', async () => {
  const shown = showing('v.1 a', 'v.1 a'), { elements, loads, frame, page } = shown
  const socket = await begin(shown)
  socket.receives('7 v.2 b\n<p>1</p><script src="/x.js"></script>')
  await page.pass(0)
  assert.equal(loads.length, 1)
  socket.receives('7 v.3 c\n<p>2</p>')
  await frame()
  while (loads.length) {
    loads.shift().onload()
    await frame()
  }
  await frame()
  assert.deepEqual(elements.map(e => [e.html, e.attributes['data-nbws-version']]), [['<p>2</p>', 'v.3 c'],
    ['<p>2</p>', 'v.3 c']])
  assert.equal(said(socket).filter(m => m.shown === 1).length, 2)
})

test('only numbers come: in what was sent before', async () => {
  const shown = showing('v.1 a'), { elements, frame } = shown
  const socket = await begin(shown)
  socket.receives('7 v.2 b\n<p id="n1">-1.5 &#39; 007 1e-7</p>')
  await frame()
  socket.receives('7 v.3 c b\n,2,,,-3,')
  await frame()
  assert.equal(elements[0].html, '<p id="n1">2 &#39; 007 -3e-7</p>')
  socket.receives('7 v.5 e d\n9') // Of what it has not
  assert.deepEqual(said(socket).at(-1), { show: 1, part: 'a.x', values: {}, version: 'v.3 c' })
})

test('where one of several elements has an older content, all ask for the newest', async () => {
  for (const [versions, version] of [[['v.1 a', 'v.1 a'], 'v.1 a'], [['v.2 b', 'v.1 a'], '']]) {
    const socket = await begin(showing(...versions))
    assert.equal(said(socket)[0].version, version)
  }
})
