// What a page behind a prefix asks for, and event streams that come over sockets
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Page, Target } from './page.mjs'

const PREFIX = '/user/a/nbws/7f3c'
const behind = (globals = {}, dataset = { events: '' }) => { // `events`: the server is Jupyter
  class EventSource extends Target {
    constructor(at) {
      super()
      this.url = at
    }
  }
  const page = new Page(`https://hub.example${PREFIX}/page?x=1`, { fetch: () => ({}), EventSource, ...globals })
  page.run('prefix.js', `https://hub.example${PREFIX}`, { host: 'localhost:5001', ...dataset })
  return page
}

const FETCHED = [
  ['/x', PREFIX + '/x'],
  ['/x?a=/b#c', PREFIX + '/x?a=/b#c'],
  [PREFIX + '/x', PREFIX + '/x'], // There already
  [PREFIX, PREFIX],
  [PREFIX + 'more', PREFIX + PREFIX + 'more'], // Begins like the prefix, and is not below it
  ['x', 'x'], // Relative
  ['../x', '../x'],
  ['//elsewhere.example/x', '//elsewhere.example/x'],
  ['https://elsewhere.example/x', 'https://elsewhere.example/x'],
  ['https://hub.example/x', `https://hub.example${PREFIX}/x`],
  ['http://hub.example/x', `https://hub.example${PREFIX}/x`], // The page came by https
  ['http://localhost:5001/x', `https://hub.example${PREFIX}/x`], // What the server thinks it is called
  ['data:text/plain,/x', 'data:text/plain,/x'],
  ['', ''],
  ['https://[', 'https://['], // No URL: the browser is to say so
]
for (const [given, asked] of FETCHED)
  test(`fetch ${given || 'nothing'}`, async () => {
    const page = behind()
    await page.window.fetch(given)
    assert.equal(page.asked[0][0], asked)
  })

test('a URL object and a request object', async () => {
  const page = behind()
  await page.window.fetch(new URL('https://hub.example/x'))
  assert.equal(page.asked[0][0], `https://hub.example${PREFIX}/x`)
})

test('sockets, XMLHttpRequest, beacons and the history', () => {
  const { window, sockets } = behind()
  new window.WebSocket('ws://localhost:5001/ws?a=1', 'chat')
  assert.equal(sockets[0].url, `wss://hub.example${PREFIX}/ws?a=1`)
  assert.equal(sockets[0].protocols, 'chat')
  const xhr = new window.XMLHttpRequest()
  xhr.open('GET', '/x', true)
  assert.deepEqual([...xhr.opened], ['GET', PREFIX + '/x', true])
  assert.deepEqual([...new window.Navigator().sendBeacon('/x', 'data')], [PREFIX + '/x', 'data'])
  assert.deepEqual([...new window.History().pushState({}, '', '/x')].slice(1), ['', PREFIX + '/x'])
  assert.deepEqual([...new window.History().replaceState(null, '')], [null, ''])
})

test('a script that comes into the page later asks at the right place at once', () => {
  class Script {
    set src(url) { this.set = url }
    get src() { return this.set }
    setAttribute(name, value) { this.given = [name, value] }
  }
  behind({ HTMLScriptElement: Script })
  const script = new Script()
  script.src = '/x.js'
  assert.equal(script.src, PREFIX + '/x.js')
  script.setAttribute('SRC', '/y.js')
  assert.deepEqual(script.given, ['SRC', PREFIX + '/y.js'])
  script.setAttribute('type', '/module')
  assert.deepEqual(script.given, ['type', '/module'])
  script.src = new URL('https://hub.example/u.js')
  assert.equal(script.src, `https://hub.example${PREFIX}/u.js`)
  const trusted = { toString: () => '/z.js' } // A TrustedScriptURL stays what it is
  script.src = trusted
  assert.equal(script.src, trusted)
})

test('a picture, a frame or a sound asks at the right place at once, in the page or not', () => {
  const made = names => {
    class Made {
      given = {}
      setAttribute(name, value) { this.given[name] = value }
    }
    for (const name of names) Object.defineProperty(Made.prototype, name, {
      configurable: true, get() { return this.given[name] }, set(value) { this.given[name] = value } })
    return Made
  }
  const Picture = made(['src', 'srcset']), Frame = made(['src', 'srcdoc']), Link = made(['href'])
  class Audio { constructor(url) { this.url = url } }
  const { window } = behind({ HTMLImageElement: Picture, HTMLIFrameElement: Frame, HTMLLinkElement: Link, Audio })
  const picture = new Picture(), frame = new Frame(), link = new Link()
  picture.src = '/a.png'
  picture.srcset = '/a.png, /b,c.png 2x,\n/d.png 3x, data:image/jpeg;base64,/9j/4A 4x, e.png'
  assert.deepEqual(picture.given, { src: PREFIX + '/a.png', srcset: `${PREFIX}/a.png, ${PREFIX}/b,c.png 2x,
${PREFIX}/d.png 3x, data:image/jpeg;base64,/9j/4A 4x, e.png` })
  picture.setAttribute('srcset', '/a.png 1x')
  picture.setAttribute('alt', '/a')
  assert.deepEqual([picture.given.srcset, picture.given.alt], [PREFIX + '/a.png 1x', '/a'])
  frame.src = '/page'
  frame.srcdoc = '/text'
  assert.deepEqual(frame.given, { src: PREFIX + '/page', srcdoc: '/text' })
  link.href = '/x.css'
  assert.equal(link.href, PREFIX + '/x.css')
  assert.equal(new window.Audio('/a.mp3').url, PREFIX + '/a.mp3')
})

test('a script in a fragment, and a link that is clicked outside the page', () => {
  const node = (localName, attributes, below = []) => ({
    localName, attributes, namespaceURI: 'http://www.w3.org/1999/xhtml', getAttribute: a => attributes[a] ?? null,
    setAttribute: (a, value) => { attributes[a] = value }, querySelectorAll: s => s.includes('[src]') ? below : [],
  })
  class Range { createContextualFragment(text) { return node('', {}, [node('script', { src: text })]) } }
  class HTMLElement { click() { this.clicked = this.attributes.href } }
  const { window } = behind({ Range, HTMLElement })
  const fragment = new window.Range().createContextualFragment('/x.js')
  assert.equal(fragment.querySelectorAll('[src]')[0].attributes.src, PREFIX + '/x.js')
  const link = Object.assign(new HTMLElement(), node('a', { href: '/scores.csv' }))
  link.click()
  assert.equal(link.clicked, PREFIX + '/scores.csv')
})

test('what is parsed before it comes into the page, in a template, too', () => {
  const node = (attributes, below = []) => ({
    attributes, namespaceURI: 'http://www.w3.org/1999/xhtml', getAttribute: a => attributes[a] ?? null,
    setAttribute: (a, value) => { attributes[a] = value },
    querySelectorAll: s => below.filter(x => (s === 'template') === Boolean(x.content) && !s.includes('style')),
  })
  const parsed = text => node({}, [node({ src: text }), { content: node({}, [node({ href: text })]) }])
  class DOMParser { parseFromString(text) { return parsed(text) } }
  class Document { static parseHTMLUnsafe(text) { return parsed(text) } }
  class Element { set innerHTML(text) { this.content = parsed(text) } }
  class HTMLTemplateElement extends Element {}
  const { window } = behind({ DOMParser, Document, Element, HTMLTemplateElement })
  const template = new window.HTMLTemplateElement()
  template.innerHTML = '/x'
  for (const made of [new window.DOMParser().parseFromString('/x', 'text/html'), window.Document.parseHTMLUnsafe('/x'),
    template.content]) {
    const [element] = made.querySelectorAll('[src]'), [inner] = made.querySelectorAll('template')
    assert.equal(element.attributes.src, PREFIX + '/x')
    assert.equal(inner.content.querySelectorAll('[href]')[0].attributes.href, PREFIX + '/x')
  }
  const feed = new window.DOMParser().parseFromString('/x', 'text/xml') // Not for the page
  assert.equal(feed.querySelectorAll('[src]')[0].attributes.src, '/x')
})

test('what comes into the page later', () => {
  const page = behind()
  const element = (name, attributes, text = '') => ({
    nodeType: 1, localName: name, namespaceURI: 'http://www.w3.org/1999/xhtml', textContent: text, attributes,
    getAttribute: a => attributes[a] ?? null, setAttribute: (a, value) => { attributes[a] = value },
    querySelectorAll: () => [],
  })
  const link = element('a', { href: '/x', style: 'background: url("/y.png")' })
  const style = element('style', {}, '@import "/z.css"; a { b: url(/c) } /* my-url(/d) */')
  const image = element('img', { srcset: '/x 1x, /y 2x' })
  const drawing = Object.assign(element('a', { href: '/x' }), { namespaceURI: 'http://www.w3.org/2000/svg' })
  page.mutate({ type: 'childList', addedNodes: [link, style, image, drawing, { nodeType: 3 }] })
  assert.deepEqual(link.attributes, { href: PREFIX + '/x', style: `background: url("${PREFIX}/y.png")` })
  assert.equal(style.textContent, `@import "${PREFIX}/z.css"; a { b: url(${PREFIX}/c) } /* my-url(/d) */`)
  assert.equal(image.attributes.srcset, `${PREFIX}/x 1x, ${PREFIX}/y 2x`)
  assert.equal(drawing.attributes.href, '/x')
  link.attributes.href = '/n'
  page.mutate({ type: 'attributes', target: link })
  assert.equal(link.attributes.href, PREFIX + '/n')
})

test('navigation', () => {
  const navigation = new Target()
  const page = behind({ navigation })
  const go = (url, more = {}) => navigation.fire('navigate', { cancelable: true, formData: null, downloadRequest: null,
    navigationType: 'push', destination: { url }, ...more })
  go('https://hub.example/x')
  go('https://hub.example/x', { navigationType: 'replace' })
  go(`https://hub.example${PREFIX}/x`)
  go('https://hub.example/x', { navigationType: 'traverse' })
  go('https://hub.example/x', { formData: {} })
  go('https://hub.example/x', { cancelable: false })
  const to = `https://hub.example${PREFIX}/x`
  assert.deepEqual(page.went, [['assign', to], ['replace', to]])
})

const stream = (at = '/events?n=1') => {
  const page = behind(), source = new page.window.EventSource(at), heard = []
  for (const type of ['open', 'message', 'error', 'tick'])
    source.addEventListener(type, e => heard.push(e.data === undefined ? type : [type, e.data, e.lastEventId]))
  return { page, source, heard, socket: page.sockets[0] }
}
const bytes = text => new TextEncoder().encode(text)

test('an event stream of our own server comes over a socket', () => {
  const { source, socket, heard } = stream()
  assert.equal(socket.url, `wss://hub.example${PREFIX}/_nbws/events?url=${encodeURIComponent('/events?n=1')}`)
  assert.equal(source.url, `https://hub.example${PREFIX}/events?n=1`)
  assert.equal(source.readyState, 0)
  socket.receives('200')
  assert.equal(source.readyState, 1)
  socket.receives(bytes('data: one\n\n'))
  socket.receives(bytes(': a comment\nid: 7\nevent: tick\ndata:two\ndata: lines\n\n'))
  socket.receives(bytes('event: tick\n\ndata\n\n')) // No data, no event; and a field without a value
  assert.deepEqual(heard, ['open', ['message', 'one', ''], ['tick', 'two\nlines', '7'], ['message', '', '7']])
})

test('its pieces end anywhere, its lines by any line break', () => {
  const { socket, heard } = stream()
  socket.receives('200')
  for (const byte of bytes('data: käse\r\ndata: b\r\n\r\ndata: c\n\n')) socket.receives(Uint8Array.of(byte))
  socket.receives(bytes('data: d\rdata: e\r\r'))
  socket.receives(bytes('data: f\n\n'))
  assert.deepEqual(heard, ['open', ['message', 'käse\nb', ''], ['message', 'c', ''], ['message', 'd\ne', ''],
    ['message', 'f', '']])
})

test('it comes back after the time that the stream has named, from where it was', async () => {
  const { page, source, socket, heard } = stream()
  socket.receives('200')
  socket.receives(bytes('retry: 3000\nretry: soon\nid: a/1\nid: b\0\ndata: x\n\n')) // Two that do not count
  socket.ends(1006)
  assert.equal(source.readyState, 0)
  assert.equal(heard.at(-1), 'error')
  await page.pass(2900)
  assert.equal(page.sockets.length, 1)
  await page.pass(200)
  assert.match(page.sockets[1].url, /&last=a%2F1$/)
})

test('4204 and close() are the end', async () => {
  for (const code of [4204, 1005]) {
    const made = stream()
    if (code === 1005) made.source.close()
    made.socket.ends(code)
    await made.page.pass(60_000)
    assert.equal(made.source.readyState, 2)
    assert.equal(made.page.sockets.length, 1)
  }
})

test('onmessage keeps its place when it is replaced', () => {
  const { source, socket } = stream(), heard = []
  source.onmessage = () => heard.push('first')
  source.addEventListener('message', () => heard.push('listener'))
  source.onmessage = e => heard.push('second ' + e.data)
  socket.receives(bytes('data: x\n\n'))
  source.onmessage = null
  socket.receives(bytes('data: y\n\n'))
  assert.deepEqual(heard, ['second x', 'listener', 'listener'])
})

test('streams of others are the browser\'s own, and so are all where no Jupyter server is', () => {
  const page = behind(), alone = behind({}, {})
  assert.equal(new page.window.EventSource('https://elsewhere.example/events').url, 'https://elsewhere.example/events')
  assert.equal(new alone.window.EventSource('/events').url, PREFIX + '/events')
  assert.deepEqual([page.sockets.length, alone.sockets.length], [0, 0])
})

test('it is loaded once', () => {
  const page = behind()
  const { fetch } = page.window
  page.run('prefix.js', 'https://hub.example/other')
  assert.equal(page.window.fetch, fetch)
  assert.equal(page.window.nbwsPrefix, PREFIX)
})
