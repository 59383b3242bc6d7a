// Shows a page in an iframe of the notebook by requests over the kernel's own messages, where nothing else reaches
// the kernel: nbws/notebook/channel.py describes them. The first message of a comm brings this script; way-kernel.js
// and widget.js run it in the notebook's page. The iframe's document is written from here, and what it asks its own
// server for is asked here.
(() => {
  const PIECE = 2 ** 18 // Bytes of a request's body in one message, where a front end takes so many
  const UNREAD = 2 ** 20 // Bytes of a request's body that the app has not read; the rest waits
  const TAKEN = 2 ** 17 // Bytes of an answer after which the kernel is told
  const AT_ONCE = 60 // Requests; others wait until one of them has ended. The kernel refuses more than 100
  const NULL_BODY = [101, 204, 205, 304]
  const FETCHED = [['accept', '*/*'], ['sec-fetch-dest', 'empty'], ['sec-fetch-site', 'same-origin']]
  const IMPORTED = /(\b(?:from|import)\s*\(?\s*)(["'])([^"'\n]+)\2/g // What a module names

  // Requests over one comm, which is opened again when it has ended
  class Requests {
    #connect
    #comm = null // A promise of it
    #last = 0
    #waiting = new Map() // By number
    #queue = [] // Those that wait until others have ended
    constructor(connect) { this.#connect = connect }
    async close() {
      const comm = await this.#comm
      if (comm) comm.close()
    }
    #open() {
      this.#comm ||= this.#connect((message, buffers) => this.#heard(message, buffers), () => {
        this.#comm = null
        const left = [...this.#waiting.values()]
        this.#waiting.clear()
        for (const exchange of left) exchange.fail(new TypeError('the kernel is away'))
        for (const go of this.#queue.splice(0)) go()
      }).catch(e => {
        this.#comm = null
        throw e
      })
      return this.#comm
    }
    #heard({ frames = [] }, buffers) {
      let next = 0
      for (const [kind, number, ...rest] of frames) {
        const exchange = this.#waiting.get(number), buffer = kind === 'data' ? buffers[next++] : null
        if (!exchange) continue
        if (kind === 'head') exchange.head(...rest)
        else if (kind === 'data') exchange.data(buffer)
        else if (kind === 'took') exchange.took(...rest)
        else if (kind === 'end') {
          this.#leave(number)
          exchange.end(...rest)
        }
      }
    }
    #leave(number) {
      const left = this.#waiting.delete(number)
      if (left && this.#queue.length) this.#queue.shift()()
      return left
    }
    // Resolves with the status, the fields and a stream of the body
    async ask(method, target, fields, body = new Uint8Array(), signal = null) {
      let comm = await this.#open()
      while (this.#waiting.size >= AT_ONCE) {
        await new Promise(go => this.#queue.push(go))
        comm = await this.#open()
      }
      const number = ++this.#last
      const say = (frames, buffers = []) => comm.send({ frames }, buffers)
      let unread = 0, goOn = () => {} // Bytes of its body
      const answer = new Promise((ok, no) => {
        let stream = null, taken = 0
        const tell = () => { // Once the page reads it
          if (taken < TAKEN || stream.desiredSize <= 0) return
          say([['got', number, taken]])
          taken = 0
        }
        const cancel = () => {
          if (this.#leave(number)) say([['cancel', number]])
        }
        const start = controller => { stream = controller }
        const waits = new ByteLengthQueuingStrategy({ highWaterMark: TAKEN })
        const source = new ReadableStream({ start, pull: tell, cancel }, waits)
        const fail = error => {
          goOn()
          no(error)
          try { stream.error(error) } catch { /* It has ended */ }
        }
        this.#waiting.set(number, {
          fail,
          head: (status, list) => ok({ status, fields: list, body: source }),
          data: buffer => {
            stream.enqueue(buffer.slice())
            taken += buffer.length
            tell()
          },
          took: size => {
            unread -= size
            goOn()
          },
          end: broken => {
            if (broken) {
              fail(new TypeError('the answer broke off'))
              return
            }
            goOn()
            stream.close()
          },
        })
        const abort = () => {
          cancel()
          fail(new DOMException('aborted', 'AbortError'))
        }
        if (signal && signal.aborted) abort() // While it has waited
        else if (signal) signal.addEventListener('abort', abort)
      })
      const most = comm.piece || PIECE, sendBody = async () => {
        for (let at = 0; at === 0 || at < body.length; at += most) {
          while (unread >= UNREAD && this.#waiting.has(number)) await new Promise(ok => { goOn = ok })
          if (!this.#waiting.has(number)) return // It has been answered without the rest
          const piece = body.subarray(at, at + most), more = at + most < body.length
          unread += piece.length
          say([at ? ['body', number, more] : ['request', number, method, target, fields, more]], [piece])
        }
      }
      sendBody()
      return answer
    }
  }

  // One iframe
  class Shown {
    #frame
    #prefix
    #requests
    #blobs = []
    #url = ''
    #written = null // The document that has the page
    #base = '' // The address of its relative links, where it cannot have its own
    constructor(frame, prefix, requests) {
      this.#frame = frame
      this.#prefix = prefix
      this.#requests = requests
      frame.addEventListener('load', e => { if (e.isTrusted && this.#url) this.#restore() })
      const gone = setInterval(() => { // Its cell has run again, or its notebook is closed
        if (frame.isConnected) return
        clearInterval(gone)
        requests.close()
      }, 5000)
      addEventListener('pagehide', () => requests.close())
    }
    get #window() { return this.#frame.contentWindow }
    #restore() { // Back, forward, or the notebook has moved the frame: the browser has loaded it anew
      let at = null
      try {
        if (this.#window.document === this.#written) return
        at = new URL(this.#window.location.href)
      } catch { /* A page of the browser's own: nothing answers there */ }
      this.go(at && this.#isOurs(at) ? at.href : this.#url, { again: true })
    }
    #isOurs(url) {
      const { origin, pathname } = url
      return origin === location.origin && (pathname === this.#prefix || pathname.startsWith(this.#prefix + '/'))
    }
    #absolute(url) { return new URL(url, this.#window.document.baseURI) }

    async fetch(request) { // Follows redirects, as `fetch` does
      const { Response, Headers } = this.#window
      let { method } = request, url = new URL(request.url), redirected = false
      let body = ['GET', 'HEAD'].includes(method) ? undefined : new Uint8Array(await request.arrayBuffer())
      const fields = [...request.headers, ['host', location.host]]
      for (let hops = 0; hops < 20; hops++) {
        const target = url.pathname.slice(this.#prefix.length) + url.search
        const { status, fields: told, body: stream } =
          await this.#requests.ask(method, target || '/', fields, body, request.signal)
        const to = [301, 302, 303, 307, 308].includes(status) && (told.find(([name]) => name === 'location') || [])[1]
        if (!to || request.redirect === 'manual') {
          const headers = new Headers(told), empty = NULL_BODY.includes(status) || method === 'HEAD'
          const response = new Response(empty ? null : stream, { status, headers })
          Object.defineProperty(response, 'url', { value: url.href })
          Object.defineProperty(response, 'redirected', { value: redirected })
          return response
        }
        url = new URL(to, url)
        if (!this.#isOurs(url)) return this.#window.Response.error()
        redirected = true
        if (status === 303 || (status < 303 && method === 'POST')) [method, body] = ['GET', undefined]
      }
      throw new TypeError('too many redirects')
    }

    // A page
    async go(url, init = {}) {
      this.#url = ''
      const headers = { accept: 'text/html', 'sec-fetch-dest': 'iframe', ...init.headers }
      const answer = await this.fetch({
        method: init.method || 'GET', url, headers: Object.entries(headers), arrayBuffer: async () => init.body,
      })
      const kind = answer.headers.get('content-type') || ''
      if (/attachment/.test(answer.headers.get('content-disposition') || '')) {
        this.#save(await answer.blob(), answer.url)
        return
      }
      const text = /html/.test(kind) ? await answer.text() : null
      const blob = text === null && new Blob([await answer.arrayBuffer()], { type: kind })
      const html = text ?? `<!DOCTYPE html><iframe src="${this.#keep(blob)}" style="width:100%;height:95vh;border:0">`
      await this.#clear(init.again)
      const whole = await this.#prepare(html, answer.url)
      this.#install()
      const document = this.#written = this.#window.document
      document.open()
      this.#base = ''
      try {
        this.#window.history.replaceState(null, '', answer.url)
      } catch { this.#base = answer.url } // As in VS Code, where the notebook's own address is not of the web
      this.#watch()
      document.write(this.#base ? whole.replace(/<head[^>]*>/, tag => `${tag}<base href="${this.#base}">`) : whole)
      document.close()
      this.#url = answer.url
      this.#frame.dispatchEvent(new Event('load'))
    }
    #save(blob, url) {
      const name = decodeURIComponent(new URL(url).pathname.split('/').pop()) || 'download'
      Object.assign(document.createElement('a'), { href: this.#keep(blob), download: name }).click()
    }
    #keep(blob) {
      const url = URL.createObjectURL(blob)
      this.#blobs.push(url)
      return url
    }
    // Another window for each page: scripts may declare their names once. `again`: in the same place of its history
    #clear(again) {
      for (const url of this.#blobs.splice(0)) URL.revokeObjectURL(url)
      return new Promise(done => {
        this.#frame.addEventListener('load', done, { once: true })
        if (again) this.#window.location.replace('about:blank')
        else this.#frame.src = 'about:blank'
      })
    }
    async #blobOf(url) {
      const answer = await this.fetch({ method: 'GET', url: url.href, headers: FETCHED })
      if (!answer.ok) throw new TypeError(url.pathname + ': ' + answer.status)
      return this.#keep(await answer.blob())
    }
    // A page's modules, and what they import: each from a blob, and found there under its address by the import map.
    // What is imported by a name that is made while it runs is not known here.
    async #modules(page, at) {
      const scripts = [...page.querySelectorAll('script[type=module]')]
      const loaded = new Map() // Promises of blobs' addresses, by the modules' own
      if (!scripts.length) return
      const element = page.querySelector('script[type=importmap]') || page.createElement('script')
      const map = { imports: {}, ...JSON.parse(element.textContent || '{}') }
      const resolve = (name, from) => {
        if (name in map.imports) return new URL(map.imports[name], at)
        if (/^\/(?!\/)/.test(name) && !name.startsWith(this.#prefix + '/')) return new URL(this.#prefix + name, at)
        return /^(\.|\/|https?:)/.test(name) ? new URL(name, from) : null
      }
      const named = (text, from) => text.replace(IMPORTED, (whole, before, quote, name) => {
        const url = resolve(name, from)
        return url && this.#isOurs(url) ? before + quote + load(url) + quote : whole
      })
      const module = async url => {
        const answer = await this.fetch({ method: 'GET', url: url.href, headers: FETCHED })
        return this.#keep(new Blob([answer.ok ? named(await answer.text(), url) : ''], { type: 'text/javascript' }))
      }
      const load = url => {
        if (!loaded.has(url.href)) loaded.set(url.href, module(url))
        return url.href
      }
      for (const script of scripts) {
        const src = script.getAttribute('src'), url = src && resolve(src.replace(/^(?![./]|\w+:)/, './'), at)
        if (!src) script.textContent = named(script.textContent, at)
        else if (this.#isOurs(url)) {
          script.removeAttribute('src')
          script.textContent = `import '${load(url)}'`
        }
      }
      for (const [url, blob] of loaded) map.imports[url] = await blob // And those that it has added
      Object.assign(element, { type: 'importmap', textContent: JSON.stringify(map) })
      if (!element.isConnected) page.head.prepend(element)
    }
    async #prepare(html, at) { // What it loads is loaded first
      const page = new DOMParser().parseFromString(html, 'text/html')
      const carrier = Object.assign(page.createElement('script'), { src: this.#prefix + '/_nbws/line.js' })
      await this.#modules(page, at)
      page.head.prepend(carrier)
      const loading = page.querySelectorAll('script[src], link[rel~=stylesheet][href], img[src], link[rel~=icon][href]')
      await Promise.all([...loading].map(async element => {
        const name = element.localName === 'link' ? 'href' : 'src', url = new URL(element.getAttribute(name), at)
        if (!this.#isOurs(url)) return
        element.dataset.nbwsSrc = url.href
        try { element.setAttribute(name, await this.#blobOf(url)) } catch { element.removeAttribute(name) }
      }))
      return '<!DOCTYPE html>' + page.documentElement.outerHTML
    }

    // What its scripts use
    #install() {
      const window = this.#window, native = window.fetch
      window.fetch = async (input, init) => {
        const request = new window.Request(input, init)
        return this.#isOurs(new URL(request.url)) ? this.fetch(request) : native.call(window, request)
      }
      window.XMLHttpRequest = requestClass(window)
      const { get } = Object.getOwnPropertyDescriptor(window.Document.prototype, 'currentScript')
      Object.defineProperty(window.document, 'currentScript', { configurable: true, get() {
        const script = get.call(this), from = script && script.dataset.nbwsSrc
        if (from && !Object.hasOwn(script, 'src')) Object.defineProperty(script, 'src', { value: from })
        return script
      } })
      for (const [kind, name] of [['Script', 'src'], ['Image', 'src'], ['Link', 'href']])
        this.#mend(window[`HTML${kind}Element`].prototype, name, window)
    }
    #mend(prototype, name, window) { // What is given an address of ours gets that of a blob, a little later
      const { get, set } = Object.getOwnPropertyDescriptor(prototype, name)
      const give = (element, value, otherwise) => {
        const url = this.#absolute(value)
        if (!this.#isOurs(url)) {
          otherwise()
          return
        }
        element.dataset.nbwsSrc = url.href
        this.#blobOf(url).then(at => set.call(element, at), () => element.dispatchEvent(new window.Event('error')))
      }
      Object.defineProperty(prototype, name, { configurable: true, enumerable: true, get() {
        return this.dataset.nbwsSrc || get.call(this)
      }, set(value) { give(this, value, () => set.call(this, value)) } })
      const { setAttribute } = window.Element.prototype
      prototype.setAttribute = function (key, value) {
        if (key === name) give(this, value, () => setAttribute.call(this, key, value))
        else setAttribute.call(this, key, value)
      }
    }
    #watch() { // Links, forms, and what goes elsewhere by script
      const window = this.#window
      window.addEventListener('click', e => {
        const link = e.target.closest && e.target.closest('a[href]')
        const plain = !e.defaultPrevented && e.button === 0 && !(e.ctrlKey || e.metaKey || e.shiftKey)
        if (!link || !plain || !this.#isOurs(new URL(link.href))) return
        const [, fragment] = link.getAttribute('href').split('#')
        if (fragment !== undefined && !this.#base) return
        e.preventDefault()
        if (fragment !== undefined && link.href.split('#')[0] === this.#url.split('#')[0]) {
          const target = window.document.getElementById(fragment)
          if (target) target.scrollIntoView()
          return
        }
        this.go(link.href)
      })
      window.addEventListener('submit', e => {
        const form = e.target, told = name => e.submitter && e.submitter.getAttribute('form' + name)
        const url = this.#absolute(told('action') || form.getAttribute('action') || window.location.href)
        if (e.defaultPrevented || !this.#isOurs(url)) return
        e.preventDefault()
        const method = (told('method') || form.getAttribute('method') || 'get').toLowerCase()
        this.#submit(form, e.submitter, url, method)
      })
      if (window.navigation) window.navigation.addEventListener('navigate', e => {
        const url = new URL(e.destination.url)
        if (!e.cancelable || e.hashChange || e.formData || !this.#isOurs(url)) return
        if (e.navigationType !== 'reload' && e.destination.sameDocument) return
        e.preventDefault()
        this.go(url.href)
      })
    }
    async #submit(form, submitter, url, method) {
      const { FormData, Request, URLSearchParams } = this.#window, data = new FormData(form, submitter)
      if (method !== 'post') {
        url.search = new URLSearchParams(data)
        await this.go(url.href)
        return
      }
      const body = form.enctype === 'multipart/form-data' ? data : new URLSearchParams(data)
      const request = new Request(url, { method: 'POST', body })
      const headers = { 'content-type': request.headers.get('content-type'), 'sec-fetch-site': 'same-origin' }
      await this.go(url.href, { method: 'POST', headers, body: new Uint8Array(await request.arrayBuffer()) })
    }
  }

  // `XMLHttpRequest` over the page's `fetch`; htmx uses it
  const requestClass = window => class XMLHttpRequest extends window.EventTarget {
    static UNSENT = 0
    static DONE = 4
    readyState = 0
    status = 0
    statusText = ''
    response = ''
    responseText = ''
    responseType = ''
    responseURL = ''
    timeout = 0
    withCredentials = false
    upload = new window.EventTarget()
    #headers = []
    #answer = null
    #leaving = new window.AbortController()
    open(method, url) {
      Object.assign(this, { method, url: String(url) })
      this.#move(1)
    }
    setRequestHeader(name, value) { this.#headers.push([name, String(value)]) }
    overrideMimeType() { /* Text is UTF-8 here */ }
    getResponseHeader(name) { return this.#answer ? this.#answer.headers.get(name) : null }
    getAllResponseHeaders() {
      return this.#answer ? [...this.#answer.headers].map(([name, value]) => `${name}: ${value}\r\n`).join('') : ''
    }
    abort() { this.#leaving.abort() }
    #move(state) {
      this.readyState = state
      this.#tell('readystatechange')
    }
    #tell(type) {
      const event = new window.ProgressEvent(type)
      this.dispatchEvent(event)
      if (typeof this['on' + type] === 'function') this['on' + type](event)
    }
    async send(body = null) {
      const { signal } = this.#leaving, late = this.timeout && setTimeout(() => this.#end('timeout'), this.timeout)
      this.#tell('loadstart')
      try {
        const bodied = !['GET', 'HEAD'].includes(this.method.toUpperCase())
        const how = { method: this.method, headers: this.#headers, body: bodied ? body : undefined, signal }
        const answer = this.#answer = await window.fetch(this.url, how)
        Object.assign(this, { status: answer.status, responseURL: answer.url })
        this.#move(2)
        const bytes = await answer.arrayBuffer()
        const text = ['', 'text', 'json', 'document'].includes(this.responseType) ? new TextDecoder().decode(bytes) : ''
        this.responseText = this.responseType === '' || this.responseType === 'text' ? text : ''
        this.response = this.#content(bytes, text)
        this.#end('load')
      } catch { this.#end(signal.aborted ? 'abort' : 'error') }
      clearTimeout(late)
    }
    #content(bytes, text) {
      if (this.responseType === 'arraybuffer') return bytes
      const kind = this.getResponseHeader('content-type') || ''
      if (this.responseType === 'blob') return new window.Blob([bytes], { type: kind })
      if (this.responseType === 'json') return JSON.parse(text)
      return this.responseType === 'document' ? new window.DOMParser().parseFromString(text, 'text/html') : text
    }
    #end(how) {
      if (this.readyState === 4) return
      if (how !== 'load') this.status = 0
      this.#move(4)
      this.#tell(how)
      this.#tell('loadend')
    }
  }

  // A connection to the kernel like JupyterLab's own, and a comm on it; widget.js has another way for `connect`
  const packed = (message, buffers) => { // As jupyter_server reads messages with buffers
    if (!buffers.length) return JSON.stringify(message)
    const parts = [new TextEncoder().encode(JSON.stringify(message)), ...buffers]
    let at = 4 * (parts.length + 1)
    const size = parts.reduce((sum, part) => sum + part.length, at)
    const bytes = new Uint8Array(size), view = new DataView(bytes.buffer)
    view.setUint32(0, parts.length)
    for (const [i, part] of parts.entries()) {
      view.setUint32(4 * (i + 1), at)
      bytes.set(part, at)
      at += part.length
    }
    return bytes
  }
  const unpacked = data => { // The same in the other direction
    if (typeof data === 'string') return [JSON.parse(data), []]
    const view = new DataView(data), count = view.getUint32(0)
    const starts = Array.from({ length: count }, (_, i) => view.getUint32(4 * (i + 1)))
    const parts = starts.map((start, i) => new Uint8Array(data, start, (starts[i + 1] ?? data.byteLength) - start))
    return [JSON.parse(new TextDecoder().decode(parts[0])), parts.slice(1)]
  }
  const unique = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(16)), n => n.toString(16).padStart(2, '0')).join('')
  // Resolves with `send(data, buffers)` and `close()`
  const openComm = (base, facts) => (data, heard, ended) => new Promise((ok, no) => {
    const session = unique(), comm = unique()
    const url = new URL(base + 'api/kernels/' + facts.kernel + '/channels?session_id=' + session, location.href)
    const socket = new WebSocket(url.href.replace(/^http/, 'ws'))
    let subshell // The kernel's own, as long as this is the kernel that has it
    let owed = false // Jupyter writes no more before TCP's acknowledgement (Nagle): a message brings that at once
    const send = (channel, type, content, buffers = []) => {
      const header = { msg_id: unique(), msg_type: type, session, username: '', version: '5.4',
                       date: new Date().toISOString(), subshell_id: subshell }
      socket.send(packed({ header, parent_header: {}, metadata: {}, content, channel, buffers: [] }, buffers))
    }
    const begin = () => {
      send('shell', 'comm_open', { comm_id: comm, target_name: 'nbws.http', data })
      ok({
        send(message, buffers) {
          send('shell', 'comm_msg', { comm_id: comm, data: message }, buffers)
          owed = true
        },
        close() {
          send('shell', 'comm_close', { comm_id: comm, data: {} })
          socket.close()
        },
      })
    }
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => facts.subshell ? send('control', 'list_subshell_request', {}) : begin()
    socket.onmessage = e => {
      const [{ header: { msg_type: type }, content }, buffers] = unpacked(e.data)
      if (type === 'list_subshell_reply') {
        if (content.subshell_id.includes(facts.subshell)) subshell = facts.subshell
        begin()
      }
      if (type === 'status' && /starting/.test(content.execution_state)) socket.close() // Another kernel
      if (content.comm_id !== comm) return
      if (type === 'comm_close') ended(content.data.reason)
      if (type !== 'comm_msg') return
      if (owed) send('shell', 'comm_msg', { comm_id: comm, data: {} })
      owed = false
      heard(content.data, buffers)
    }
    socket.onclose = () => {
      no(new Error('the kernel has ended'))
      ended('')
    }
  })

  window.nbwsChannel = {
    Requests, openComm, // For tests
    async show(frame, facts, path, base, begin) { // Below a prefix that nobody else has here
      if (!begin) await window.nbwsRefuseCopies(frame, base, facts.kernel)
      const prefix = (base || '/') + 'nbws-kernel/' + (facts.kernel || 'page')
      const jar = sessionStorage['nbws jar'] ||= unique(), { version, token } = facts
      const data = { version, token, prefix, jar }
      const open = begin || openComm(base, facts)
      const requests = new Requests((heard, ended) => open(data, heard, ended))
      await new Shown(frame, prefix, requests).go(new URL(prefix + path, location.href).href)
    },
  }
})()
