// A page for the scripts of nbws/static, without a browser: what they use of one, with a clock that tests turn.
import { readFileSync } from 'node:fs'
import vm from 'node:vm'

const FOLDER = new URL('../../nbws/static/', import.meta.url)
const settle = async () => { for (let n = 0; n < 10; n++) await new Promise(setImmediate) }

// Time passes in `pass` alone. What is due runs in its order, and what follows at once runs before time goes on.
class Clock {
  now = 1_000_000
  #timers = new Map()
  #last = 0

  set(f, ms = 0, every, args = []) {
    this.#timers.set(++this.#last, { at: this.now + ms, every, f: () => f(...args) })
    return this.#last
  }
  clear(id) { this.#timers.delete(id) }
  async pass(ms) {
    const end = this.now + ms
    await settle()
    for (;;) {
      const [id, timer] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0] || []
      if (!timer || timer.at > end) break
      this.now = timer.at
      if (timer.every) timer.at += timer.every
      else this.#timers.delete(id)
      timer.f()
      await settle()
    }
    this.now = end
  }
}

class Event {
  isTrusted = false
  constructor(type, init = {}) { Object.assign(this, { type }, init) }
  stopImmediatePropagation() { this.stopped = true }
  preventDefault() { this.prevented = this.defaultPrevented = true }
}

export class Target {
  #listeners = []
  addEventListener(type, f) { this.#listeners.push([type, f]) }
  dispatchEvent(event) {
    for (const [type, f] of [...this.#listeners]) if (type === event.type && !event.stopped) f.call(this, event)
  }
  fire(type, init) { this.dispatchEvent(new Event(type, init)) }
}

// A socket whose other end is the test
class Socket extends Target {
  static CONNECTING = 0
  #state = 0
  get readyState() { return this.#state } // As in browsers: on the prototype
  protocol = ''
  sent = []
  constructor(url, protocols = []) {
    super()
    Object.assign(this, { url: String(url), protocols })
  }
  send(data) { this.sent.push(data) }
  close(code, reason) {
    this.#state = 2
    this.closedWith = [code, reason]
  }
  opens(protocol = '') {
    Object.assign(this, { protocol })
    this.#state = 1
    this.fire('open', { isTrusted: true })
  }
  dispatchEvent(event) {
    super.dispatchEvent(event)
    const handler = this['on' + event.type]
    if (handler && !event.stopped) handler.call(this, event)
  }
  receives(data) { this.fire('message', { isTrusted: true, data }) }
  ends(code, reason = '') {
    this.#state = 3
    this.fire('close', { isTrusted: true, code, reason })
  }
}

export class Element extends Target { // In a page, as far as scripts ask
  dataset = {}
  style = {}
  hidden = false
  textContent = ''
  appended = []
  append(...children) { this.appended.push(...children) }
  closest() { return null }
  remove() { this.removed = true }
  removeAttribute(name) { delete this[name] }
  setAttribute(name, value) { this[name] = value }
}

export const answer = (status, { text = '', json, headers = {}, redirected = false, url = '' } = {}) => ({
  status, ok: status >= 200 && status < 300, redirected, url,
  headers: { get: name => headers[name] ?? null, has: name => name in headers },
  text: async () => text,
  json: async () => {
    if (json === undefined) throw new SyntaxError('no JSON')
    return json
  },
})

export class Page {
  clock = new Clock()
  asked = [] // What was fetched: url and options
  sockets = [] // In the order of their making
  went = [] // Where the page went: ['replace', url]
  found = {} // What is in the page, by selector: lists of elements

  constructor(url = 'http://127.0.0.1:5001/', {
    fetch = () => { throw new TypeError('Failed to fetch') }, // url, options -> answer; what it throws is thrown
    upgrades = true, // They pass: where `sockets.js` tries one itself, it opens
    ...globals // Whatever else the page has
  } = {}) {
    const { clock, sockets, found } = this
    const { href, origin, protocol, host, hostname, port, pathname, search, hash } = new URL(url)
    this.document = Object.assign(new Target(), {
      readyState: 'loading', baseURI: href, cookie: '', hidden: false, activeElement: null, currentScript: null,
      head: new Element(), documentElement: new Element(), createElement: () => new Element(),
      querySelector: selector => (found[selector] || [])[0] || null,
      querySelectorAll: selector => found[selector] || [],
      getElementById: id => (found['#' + id] || [])[0] || null,
    })
    this.document.head.append = ({ src, textContent, onload }) => { // One of our scripts loads another
      if (textContent) {
        new vm.Script(textContent).runInContext(this.window)
        return
      }
      const [base, name] = src.split('/_nbws/')
      if (name !== 'height.js') this.run(name, base) // There is nothing to measure here: that is for browser tests
      onload()
    }
    const went = this.went
    const location = {
      href, origin, protocol, host, hostname, port, pathname, search, hash, toString: () => href,
      assign: to => went.push(['assign', to]),
      replace: to => went.push(['replace', to]),
      reload: () => went.push(['reload']),
    }
    const kept = this.storage = new Map()
    this.window = Object.assign(new Target(), {
      document: this.document, location, origin,
      WebSocket: class extends Socket {
        constructor(...args) {
          super(...args)
          if (!this.url.endsWith('/_nbws/line')) sockets.push(this)
          else if (upgrades) setImmediate(() => this.opens())
          else if (upgrades === false) setImmediate(() => this.ends(1006))
        }
      },
      fetch: async (at, options = {}) => {
        this.asked.push([String(at), options])
        return await fetch(String(at), options)
      },
      sessionStorage: {
        getItem: k => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: k => kept.delete(k),
      },
      setTimeout: (f, ms, ...args) => clock.set(f, ms, 0, args), clearTimeout: id => clock.clear(id),
      setInterval: (f, ms, ...args) => clock.set(f, ms, ms, args), clearInterval: id => clock.clear(id),
      Date: { now: () => clock.now }, performance: { now: () => clock.now }, AbortSignal: { timeout: ms => ({ ms }) },
      MutationObserver: class {
        constructor(heard) { Page.observers.push(heard) }
        observe() { /* Tests call `mutate` */ }
        takeRecords() { return [] }
        disconnect() { /* Nothing more is heard */ }
      },
      XMLHttpRequest: class { open(...args) { this.opened = args } },
      Navigator: class { sendBeacon(...args) { return args } },
      History: class { pushState(...args) { return args } replaceState(...args) { return args } },
      Event, MessageEvent: Event, CloseEvent: Event, CustomEvent: Event, EventTarget: Target,
      URL, URLSearchParams, TextDecoder, TextEncoder, AbortController, DOMException, Blob,
      queueMicrotask, CSS: { escape: text => text },
      Node: { ELEMENT_NODE: 1, TEXT_NODE: 3 },
      open: (...args) => went.push(['open', ...args]), console,
    }, globals)
    this.window.window = this.window.self = this.window
    this.window.parent ??= this.window
    for (const name of ['addEventListener', 'dispatchEvent']) this.window[name] = this.window[name].bind(this.window)
    Page.observers = this.observers = []
    vm.createContext(this.window)
  }

  // Run one of our scripts: one that was loaded from below `base`, with these `data-` attributes
  run(name, base = this.window.location.origin, dataset = {}) {
    this.document.currentScript = { src: `${base}/_nbws/${name}`, dataset }
    new vm.Script(readFileSync(new URL(name, FOLDER), 'utf-8'), { filename: name }).runInContext(this.window)
    this.document.currentScript = null
  }
  pass(ms) { return this.clock.pass(ms) }
  mutate(...records) { for (const heard of this.observers) heard(records) }
}
