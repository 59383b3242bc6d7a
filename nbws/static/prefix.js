// Pages are written as if they stood at `/`. Behind a prefix (a hub, a Jupyter server) they work as if they did: what a
// page asks its own server for, by `/x` or by the server's full address, is asked for at `prefix/x`.
// Loaded first, and only behind a prefix.
(() => {
  if (window.nbwsPrefix !== undefined) return
  const me = document.currentScript
  const prefix = window.nbwsPrefix = new URL(me.src).pathname.replace(/\/_nbws\/prefix\.js$/, '')
  const hosts = new Set([location.host, me.dataset.host || location.host]) // What the server thinks it is called, too
  const scheme = location.protocol // Over a widget's messages it may be the front end's own
  const web = { 'http:': 'http:', 'https:': 'https:', 'ws:': 'http:', 'wss:': 'https:', [scheme]: scheme }

  // The URL under the prefix; what is somebody else's, relative or there already stays as it is.
  const fix = url => {
    if (url === null || url === undefined || url === '') return url
    const text = String(url)
    if (!/^(\/(?!\/)|https?:|wss?:)/i.test(text)) return url
    let u
    try { u = new URL(text, location.href) } catch { return url }
    if (!web[u.protocol] || !hosts.has(u.host)) return url
    if (u.pathname !== prefix && !u.pathname.startsWith(prefix + '/')) u.pathname = prefix + u.pathname
    if (text[0] === '/') return u.pathname + u.search + u.hash
    Object.assign(u, { hostname: location.hostname, port: location.port }) // A `host` without a port would keep its own
    if (u.protocol.startsWith('ws')) u.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
    else if (u.protocol === 'http:' && location.protocol === 'https:') u.protocol = 'https:'
    return u.href
  }

  // The same for each image of a `srcset`: an address, which may hold commas, and after white space its size
  const fixSet = text => text.replace(/([^\s,](?:\S*[^\s,])?)(\s[^,]*)?/g, (_, url, size = '') => fix(url) + size)

  // The way out, for `nbws.js`: what stands beside the prefix on the same Jupyter server
  let leaving = false
  window.nbwsOutside = { fetch: window.fetch.bind(window), leave(url) { leaving = true; location.replace(url) } }

  // A browser keeps six connections to a server, and each event stream holds one; behind a Jupyter
  // server they are shared with it. So there (`data-events`) our streams come over sockets: nbws/layers/events.py.
  const NativeEvents = window.EventSource
  class Events extends EventTarget {
    #at; #socket; #timer; #last = ''; #retry = 500; #handlers = {}
    constructor(at, url, withCredentials) {
      super()
      this.#at = at
      Object.assign(this, { url, withCredentials, readyState: 0 })
      this.#connect()
    }
    #connect() {
      const decoder = new TextDecoder()
      let rest = '', type = '', data = ''
      const line = text => {
        if (!text) {
          const init = { data: data.slice(0, -1), lastEventId: this.#last, origin: location.origin }
          if (data) this.#tell(new MessageEvent(type || 'message', init))
          type = data = ''
          return
        }
        const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(text)
        if (field === 'data') data += value + '\n'
        else if (field === 'event') type = value
        else if (field === 'id' && !value.includes('\0')) this.#last = value
        else if (field === 'retry' && /^\d+$/.test(value)) this.#retry = Number(value)
      }
      const Socket = (window.nbwsSockets || {}).Socket || NativeSocket
      const query = '?url=' + encodeURIComponent(this.#at) + (this.#last && '&last=' + encodeURIComponent(this.#last))
      const url = location.origin.replace(/^http/, 'ws') + prefix + '/_nbws/events' + query
      const socket = this.#socket = new Socket(url)
      socket.binaryType = 'arraybuffer'
      socket.onmessage = e => {
        if (typeof e.data === 'string') { // It begins: the app has answered, and it is a stream
          this.readyState = 1
          this.#tell(new Event('open'))
          return
        }
        const lines = (rest + decoder.decode(e.data, { stream: true })).split(/\r\n|\n|\r(?=.)/s)
        rest = lines.pop()
        for (const text of lines) line(text)
      }
      socket.onclose = e => {
        if (this.readyState === 2) return
        this.readyState = e.code === 4204 ? 2 : 0
        if (!this.readyState) this.#again()
        this.#tell(new Event('error'))
      }
    }
    #again() {
      this.#timer = setTimeout(async () => {
        const there = !window.nbwsSockets || await nbwsSockets.reachable()
        if (this.readyState !== 2) there ? this.#connect() : this.#again()
      }, this.#retry)
    }
    #tell(event) { this.dispatchEvent(event) }
    close() {
      this.readyState = 2
      clearTimeout(this.#timer)
      this.#socket.close()
    }
    static { // onopen, onmessage, onerror: a listener that keeps its place when it is replaced
      for (const type of ['open', 'message', 'error']) Object.defineProperty(this.prototype, 'on' + type, {
        get() { return this.#handlers[type] || null },
        set(handler) {
          if (!(type in this.#handlers)) this.addEventListener(type, e => {
            if (typeof this.#handlers[type] === 'function') this.#handlers[type].call(this, e)
          })
          this.#handlers[type] = handler
        } })
      Object.assign(this.prototype, { CONNECTING: 0, OPEN: 1, CLOSED: 2 })
      for (const name of ['url', 'withCredentials', 'readyState']) // The native ones cannot be set
        Object.defineProperty(this.prototype, name, { value: undefined, writable: true })
      if (NativeEvents) Object.setPrototypeOf(this.prototype, NativeEvents.prototype) // For `instanceof`
    }
  }
  const NativeSocket = window.WebSocket
  if (NativeEvents) window.EventSource = new Proxy(NativeEvents, { construct(target, [url, options = {}], self) {
    const fixed = fix(String(url)), { origin, pathname, search } = new URL(fixed, document.baseURI)
    if (me.dataset.events === undefined || origin !== location.origin || !pathname.startsWith(prefix + '/'))
      return Reflect.construct(target, [fixed, options], self)
    const { href } = new URL(fixed, document.baseURI)
    return new Events(pathname.slice(prefix.length) + search, href, Boolean(options.withCredentials))
  } })

  // What scripts ask for
  for (const name of ['WebSocket', 'Worker', 'SharedWorker', 'Request', 'Audio']) {
    if (window[name]) window[name] = new Proxy(window[name], {
      construct: (target, [url, ...rest], self) =>
        Reflect.construct(target, [typeof url === 'string' || url instanceof URL ? fix(url) : url, ...rest], self) })
  }
  const wrap = (owner, name, at) => {
    const original = owner && owner[name]
    if (original) owner[name] = function (...args) {
      if (typeof args[at] === 'string' || args[at] instanceof URL) args[at] = fix(args[at])
      return original.apply(this, args)
    }
  }
  wrap(window, 'fetch', 0)
  wrap(window, 'open', 0)
  wrap(XMLHttpRequest.prototype, 'open', 1)
  wrap(Navigator.prototype, 'sendBeacon', 0)
  wrap(History.prototype, 'pushState', 2)
  wrap(History.prototype, 'replaceState', 2)

  // What stands in the page: the server has mended its answers, so this is for what comes by sockets and scripts
  const attributes = ['href', 'src', 'action', 'formaction', 'poster', 'data', 'srcset']
  const ADDRESSED = attributes.map(name => `[${name}]`).join()
  const ADDRESS = /((?:^|[^\w-])url\(\s*["']?|@import\s*["'])([^"')\s]+)/gi // In CSS
  const styled = text => text.replace(ADDRESS, (_, begin, url) => begin + fix(url))
  const mendStyles = element => {
    const own = element.getAttribute('style')
    if (own && own.includes('url(') && styled(own) !== own) element.setAttribute('style', styled(own))
    const sheet = element.localName === 'style' && element.textContent
    if (sheet && styled(sheet) !== sheet) element.textContent = styled(sheet)
  }
  const mend = element => {
    if (element.namespaceURI !== 'http://www.w3.org/1999/xhtml') return
    for (const name of attributes) {
      const value = element.getAttribute(name)
      if (!value) continue
      const fixed = name === 'srcset' ? fixSet(value) : fix(value)
      if (fixed !== value) element.setAttribute(name, fixed)
    }
  }
  const mendBelow = node => {
    for (const child of node.querySelectorAll(ADDRESSED)) mend(child)
    for (const child of node.querySelectorAll('style,[style*="url("]')) mendStyles(child)
  }
  new MutationObserver(records => {
    for (const r of records) {
      if (r.type === 'attributes') mend(r.target)
      else for (const node of r.addedNodes) if (node.nodeType === 1) {
        mend(node)
        mendStyles(node)
        mendBelow(node)
      }
    }
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: attributes })

  // What asks as soon as it has an address, in the page or not, and a script only once: it is mended as it is set
  const ASKS = { Script: ['src'], Image: ['src', 'srcset'], Source: ['src', 'srcset'], Media: ['src'],
    Video: ['poster'], Track: ['src'], IFrame: ['src'], Embed: ['src'], Object: ['data'], Link: ['href'] }
  const prototypeOf = name => (window[name] || Object).prototype
  const mended = (name, url) => // A TrustedScriptURL stays what it is
    typeof url === 'string' || url instanceof URL ? (name === 'srcset' ? fixSet(String(url)) : fix(url)) : url
  for (const [kind, names] of Object.entries(ASKS)) {
    const prototype = prototypeOf(`HTML${kind}Element`), { setAttribute } = prototype
    if (!setAttribute) continue
    for (const name of names) {
      const own = Object.getOwnPropertyDescriptor(prototype, name)
      if (own) Object.defineProperty(prototype, name, { ...own, set(url) { own.set.call(this, mended(name, url)) } })
    }
    prototype.setAttribute = function (name, value) {
      const lower = String(name).toLowerCase()
      setAttribute.call(this, name, names.includes(lower) ? mended(lower, value) : value)
    }
  }
  const { createContextualFragment } = prototypeOf('Range') // Scripts in it will run
  if (createContextualFragment) Range.prototype.createContextualFragment = function (text) {
    const fragment = createContextualFragment.call(this, text)
    mendBelow(fragment)
    return fragment
  }
  // What htmx and morphing make of a message before it comes into the page; templates hold it meanwhile
  const mendParsed = made => {
    mendBelow(made)
    for (const template of made.querySelectorAll('template')) mendParsed(template.content)
    return made
  }
  const mendParsers = () => {
    const { parseFromString } = prototypeOf('DOMParser'), { parseHTMLUnsafe } = window.Document || {}
    if (parseFromString) DOMParser.prototype.parseFromString = function (text, type) {
      const made = parseFromString.call(this, text, type)
      return type === 'text/html' ? mendParsed(made) : made
    }
    if (parseHTMLUnsafe) Document.parseHTMLUnsafe = (...given) => mendParsed(parseHTMLUnsafe.apply(Document, given))
    const markup = Object.getOwnPropertyDescriptor(prototypeOf('Element'), 'innerHTML')
    if (markup && window.HTMLTemplateElement) Object.defineProperty(HTMLTemplateElement.prototype, 'innerHTML', {
      ...markup, configurable: true,
      set(text) {
        markup.set.call(this, text)
        mendParsed(this.content)
      } })
  }
  mendParsers()
  const { click } = prototypeOf('HTMLElement') // Of a link that need not be in the page: a download
  if (click) HTMLElement.prototype.click = function () {
    if (this.localName === 'a') mend(this)
    click.call(this)
  }

  // What cannot be wrapped: `location = '/x'`. Browsers that have the Navigation API let us send it to the right place.
  if (window.navigation) navigation.addEventListener('navigate', e => {
    if (leaving || !e.cancelable || e.formData || e.downloadRequest !== null || e.navigationType === 'traverse') return
    const url = fix(e.destination.url)
    if (url === e.destination.url) return
    e.preventDefault()
    location[e.navigationType === 'replace' ? 'replace' : 'assign'](url)
  })
})()
