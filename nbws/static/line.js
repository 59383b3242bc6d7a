// Carries a page's sockets by requests, where a proxy passes requests on and no upgrades: Colab's, or one that lacks
// the two lines for upgrades. `sockets.js` loads it when an upgrade has failed; the page's code does not notice.
// nbws/lines/frames.py describes the protocol, nbws/lines/http.py the requests.
(() => {
  if (window.nbwsLine) return
  const base = document.currentScript.src.replace(/\/_nbws\/line\.js.*$/, '')
  const prefix = new URL(base + '/').pathname.slice(0, -1)
  const [NOTHING, TEXT, BINARY, PIECE, OPENED, CLOSE, PAUSE] = [0, 1, 2, 3, 4, 5, 6]
  const HEAD = 9 // Bytes of a frame before its data
  const LONGEST = 2 ** 18 // Bytes of a frame
  const MOST = 2 ** 20 // Bytes of a request's body: the other end, and many a proxy, takes no more
  const FAST = 1000 // Milliseconds in which a body is answered where the way takes longer ones
  const MANY = 10000 // Frames of a request's body
  const UNCONFIRMED = 2 ** 15 // Bytes that a stream has brought after which the other end is told
  const PROMPT = 1000 // Milliseconds in which the first byte of a stream arrives, unless a proxy buffers
  const LATE = 40000 // Milliseconds after which an answer does not come any more
  const PATIENCE = 20000 // Of requests that fail, until the line is given up
  const pause = ms => new Promise(done => setTimeout(done, ms))
  const encoder = new TextEncoder(), decoder = new TextDecoder()

  const kindOf = data => Object.prototype.toString.call(data).slice(8, -1) // Another frame's objects are no instances
  const isBlob = data => ['Blob', 'File'].includes(kindOf(data))
  const joined = pieces => {
    if (pieces.length === 1) return pieces[0]
    const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0))
    let at = 0
    for (const piece of pieces) {
      whole.set(piece, at)
      at += piece.length
    }
    return whole
  }
  const frame = (kind, number, data) => {
    const bytes = new Uint8Array(HEAD + data.length), view = new DataView(bytes.buffer)
    view.setUint8(0, kind)
    view.setUint32(1, number)
    view.setUint32(5, data.length)
    bytes.set(data, HEAD)
    return bytes
  }
  const framesOf = (kind, number, data) => { // Of one message
    const found = [], most = LONGEST - HEAD
    let at = 0
    for (; data.length - at > most; at += most) found.push(frame(PIECE, number, data.subarray(at, at + most)))
    found.push(frame(kind, number, data.subarray(at)))
    return found
  }

  // What comes down, in whatever pieces
  class Frames {
    #pieces = []
    #size = 0
    #needed = HEAD
    #heard
    constructor(heard) { this.#heard = heard }
    take(bytes) {
      this.#pieces.push(bytes)
      this.#size += bytes.length
      if (this.#size < this.#needed) return
      const data = joined(this.#pieces)
      let at = 0
      for (;;) {
        this.#needed = HEAD
        if (data.length - at < HEAD) break
        const view = new DataView(data.buffer, data.byteOffset + at)
        this.#needed += view.getUint32(5)
        if (data.length - at < this.#needed) break
        const end = at + this.#needed
        this.#heard(view.getUint8(0), view.getUint32(1), data.subarray(at + HEAD, end))
        at = end
      }
      this.#pieces = [data.subarray(at)]
      this.#size = data.length - at
    }
  }

  // Whether streams arrive as they are written is found out once in ten minutes
  const remembered = 'nbws line ' + prefix
  const recall = () => {
    try {
      const [how, when] = sessionStorage.getItem(remembered).split(' ')
      return Date.now() - when < 600000 ? how === 'stream' : null
    } catch { return null }
  }
  const remember = streams => {
    try {
      sessionStorage.setItem(remembered, (streams ? 'stream ' : 'poll ') + Date.now())
    } catch { /* A sandbox has no memory */ }
  }

  class Lost extends Error {} // The other end does not know the line any more

  class Line {
    sockets = new Map() // By number
    #last = 0 // The last number
    #name = '' // As the other end calls it
    #got = 0 // The place up to which bytes have come down
    #told = 0 // The place up to which the other end knows that
    #sent = 0 // The place up to which bytes have gone up
    #lost = false
    #failing = 0 // Since when requests fail
    #wait = 20 // Seconds that a poll may take: a proxy may wait for less
    #listening = false
    #sending = false
    #confirming = false
    #most = LONGEST // Bytes after which a body takes no more frames
    streams = recall() // Whether what comes arrives as it is written; null: not known
    #frames = new Frames((...heard) => this.#heard(...heard))

    async begin() {
      const answer = await this.#post('')
      if (!answer.ok) throw new Error('no line: ' + answer.status)
      this.#name = (await answer.json()).line
    }
    async #post(query, body, signal = AbortSignal.timeout(LATE), keepalive = false) {
      const headers = this.#name ? { 'NBWS-Line': this.#name } : {}
      const how = { method: 'POST', cache: 'no-store', headers, body, signal, keepalive }
      const answer = await fetch(base + '/_nbws/line?' + query, how)
      if (answer.redirected) this.#lose() // To a login page
      return answer
    }
    // Again and again: the other end knows what it has had already
    // `query` is asked each time: what has come down meanwhile is confirmed even where nothing more goes up
    async #persist(query, body) {
      for (let wait = 50; ; wait = Math.min(wait * 2, 1000)) {
        let status = 0
        try {
          const answer = await this.#post(query(), body)
          if (answer.ok) {
            this.#failing = 0
            return await answer.arrayBuffer()
          }
          status = answer.status
        } catch { /* The network, or nobody is there */ }
        this.#hope(status)
        await pause(wait)
      }
    }
    #hope(status) { // Throws where there is none
      this.#failing ||= Date.now()
      if ((status >= 400 && status < 500) || Date.now() - this.#failing > PATIENCE) this.#lose()
      if (this.#lost) throw new Lost()
    }
    #lose() {
      if (this.#lost) return
      this.#lost = true
      if (line === this) line = null // The next socket begins another one
      const lost = [...this.sockets.values()]
      this.sockets.clear()
      for (const socket of lost) socket.ended(1006, '')
    }
    leave() { // The page does
      if (this.#name && !this.#lost) this.#post('end', undefined, undefined, true).catch(() => {})
    }

    // Sockets
    async open(socket) {
      const number = socket.number = ++this.#last
      this.sockets.set(number, socket)
      this.#listen()
      const query = new URLSearchParams({ open: number, url: socket.path, protocols: socket.protocols.join(',') })
      try {
        const { status } = JSON.parse(decoder.decode(await this.#persist(() => query)))
        if (status !== 101) {
          this.sockets.delete(number)
          socket.ended(1006, '')
        }
      } catch { this.#lose() }
    }
    send(socket, kind, data) { // A promise of bytes keeps its place
      socket.outgoing.push({ kind, data })
      this.#send()
    }
    #heard(kind, number, data) {
      const socket = this.sockets.get(number)
      if (kind === NOTHING || !socket) return
      if (kind === OPENED) socket.opened(decoder.decode(data))
      else if (kind === TEXT) socket.received(decoder.decode(data))
      else if (kind === BINARY) socket.received(data)
      else if (kind === CLOSE) {
        this.sockets.delete(number)
        const code = data.length ? new DataView(data.buffer, data.byteOffset).getUint16(0) : 1005
        socket.ended(code, decoder.decode(data.subarray(2)), true)
      } else {
        socket.paused = kind === PAUSE
        this.#send()
      }
    }

    // Up: one body after the other
    async #send() {
      if (this.#sending) return
      this.#sending = true
      await null // What is sent in one turn goes together
      try {
        for (;;) {
          const body = await this.#nextBody(), began = Date.now()
          if (this.#lost || !body.length) break
          await this.#say(body)
          this.#sent += body.length
          if (Date.now() - began > FAST) this.#most = LONGEST
          else if (body.length >= this.#most) this.#most = Math.min(2 * this.#most, MOST - LONGEST + 1)
        }
      } catch { this.#lose() }
      this.#sending = false
    }
    async #say(body) { // Where nothing goes up, too: what has come down
      let got = 0
      await this.#persist(() => `up=${this.#sent}&down=${got = this.#got}`, body)
      this.#told = Math.max(this.#told, got)
    }
    async #confirm() { // Beside what goes up, which need not wait for it
      if (this.#confirming) return
      this.#confirming = true
      try {
        while (!this.#lost && this.#got - this.#told > UNCONFIRMED) await this.#say()
      } catch { this.#lose() }
      this.#confirming = false
    }
    async #nextBody() {
      const pieces = []
      let size = 0
      for (const socket of this.sockets.values()) {
        while (size < this.#most && pieces.length < MANY && !socket.paused) {
          const piece = await socket.nextFrame()
          if (!piece) break
          pieces.push(piece)
          size += piece.length
        }
      }
      return pieces.length ? joined(pieces) : new Uint8Array()
    }

    // Down: one answer after the other
    async #listen() {
      if (this.#listening) return
      this.#listening = true
      for (let wait = 50; this.sockets.size && !this.#lost;) {
        const place = this.#got, began = Date.now()
        try {
          await this.#hear()
          wait = 50
          if (this.#got === place) await pause(wait)
        } catch (e) {
          const seconds = (Date.now() - began) / 1000
          if (seconds > 3) this.#wait = Math.max(2, Math.floor(seconds / 2)) // A proxy has waited for so long
          else try { this.#hope(e.status || 0) } catch { break }
          await pause(wait)
          wait = Math.min(wait * 2, 1000)
        }
      }
      this.#listening = false
    }
    async #hear() {
      const stream = this.streams !== false, leaving = new AbortController()
      const late = setTimeout(() => leaving.abort(), LATE)
      let buffered = false
      const early = stream && setTimeout(() => {
        buffered = true
        leaving.abort()
      }, this.streams ? 5 * PROMPT : PROMPT)
      const place = this.#got
      try {
        const query = `down=${place}&` + (stream ? 'stream=1' : 'wait=' + this.#wait)
        const answer = await this.#post(query, undefined, leaving.signal)
        if (!answer.ok) throw Object.assign(new Error(), { status: answer.status })
        this.#failing = 0
        this.#told = Math.max(this.#told, place)
        const reader = answer.body.getReader()
        for (;;) {
          const { done, value } = await reader.read()
          if (done) break
          if (stream) {
            clearTimeout(early)
            if (this.streams === null) remember(this.streams = true)
          }
          this.#got += value.length
          this.#frames.take(value)
          if (stream) this.#confirm()
        }
      } catch (e) {
        if (!buffered) throw e
        remember(this.streams = false)
      } finally {
        clearTimeout(late)
        clearTimeout(early)
      }
    }
  }

  let line = null
  const lineNow = () => {
    if (!line) {
      const fresh = line = new Line()
      fresh.ready = fresh.begin().catch(e => {
        if (line === fresh) line = null
        throw e
      })
    }
    return line
  }

  // A socket of the page: the same object, whose upgrade has failed
  class Carried {
    path = ''
    protocols = []
    number = 0
    state = 0 // As `readyState`
    protocol = ''
    paused = false
    leaving = false // The page has closed it before it was open
    outgoing = [] // Messages that have not been made frames
    #frames = [] // Of the first of them
    #unsent = 0 // Bytes
    #line = null
    #socket
    constructor(socket, url, protocols = []) {
      const { pathname, search, href } = new URL(url, location.href)
      this.path = (pathname.startsWith(prefix + '/') ? pathname.slice(prefix.length) : pathname) + search
      this.protocols = [protocols].flat().filter(p => p !== 'nbws.alive') // The line knows who is alive
      this.#socket = socket
      const told = {
        readyState: () => this.state, protocol: () => this.protocol, extensions: () => '',
        bufferedAmount: () => this.#unsent, url: () => href.replace(/^http/, 'ws'),
      }
      if (Object.hasOwn(socket, 'url')) delete told.url
      for (const [name, get] of Object.entries(told)) Object.defineProperty(socket, name, { get, configurable: true })
      this.#open()
    }
    async #open() {
      try {
        this.#line = lineNow()
        await this.#line.ready
        if (this.state === 0) await this.#line.open(this)
      } catch { this.ended(1006, '') }
    }
    #tell(event) { this.#socket.dispatchEvent(event) }

    // For the page
    send(data) {
      if (this.state === 0) throw new DOMException('the socket is not open yet', 'InvalidStateError')
      const isBuffer = ArrayBuffer.isView(data) || kindOf(data) === 'ArrayBuffer', text = !isBuffer && !isBlob(data)
      const bytes = text ? encoder.encode(data) : isBlob(data) ? data
        : new Uint8Array(data.buffer || data, data.byteOffset || 0, data.byteLength).slice()
      this.#unsent += bytes.length ?? bytes.size
      if (this.state === 1) this.#line.send(this, text ? TEXT : BINARY, bytes)
    }
    close(code, reason = '') {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code < 5000))
        throw new DOMException('close takes 1000, and codes from 3000 to 4999', 'InvalidAccessError')
      const data = encoder.encode('  ' + reason)
      if (data.length > 125) throw new DOMException('the reason is too long', 'SyntaxError')
      if (this.state > 1) return
      if (this.state === 0) {
        this.state = 2
        this.leaving = true
        setTimeout(() => this.ended(1006, ''))
        return
      }
      this.state = 2
      new DataView(data.buffer, data.byteOffset).setUint16(0, code ?? 0)
      this.#line.send(this, CLOSE, code === undefined ? new Uint8Array() : data)
    }

    // For the line
    async nextFrame() {
      if (!this.#frames.length && this.outgoing.length) {
        const { kind, data } = this.outgoing.shift()
        this.#frames = framesOf(kind, this.number, isBlob(data) ? new Uint8Array(await data.arrayBuffer()) : data)
      }
      const next = this.#frames.shift()
      if (next) this.#unsent = Math.max(0, this.#unsent - (next.length - HEAD))
      return next
    }
    opened(protocol) {
      if (this.leaving) this.#line.send(this, CLOSE, new Uint8Array())
      if (this.state) return
      this.state = 1
      this.protocol = protocol
      this.#tell(new Event('open'))
    }
    received(data) {
      if (this.state !== 1) return
      const message = typeof data === 'string' ? data
        : this.#socket.binaryType === 'arraybuffer' ? data.slice().buffer : new Blob([data])
      this.#tell(new MessageEvent('message', { data: message, origin: new URL(base.replace(/^http/, 'ws')).origin }))
    }
    ended(code, reason, wasClean = false) {
      if (this.state === 3) return
      this.state = 3
      if (!wasClean) this.#tell(new Event('error'))
      this.#tell(new CloseEvent('close', { code, reason, wasClean }))
    }
  }

  addEventListener('pagehide', () => line && line.leave())
  window.nbwsLine = {
    carry: (...how) => new Carried(...how),
    get streams() { return Boolean(line && line.streams) }, // Whether what comes arrives as it is written
  }
})()
