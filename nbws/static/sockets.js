// Keeps a page's sockets alive. One that is lost comes back within a second of the network's return, if it is the htmx
// extension's, and one whose other end has gone without a word (a laptop that slept, a router that forgot it) is
// noticed.
// Every page with htmx's sockets loads this, before htmx.
(() => {
  if (window.nbwsSockets) return
  const { src, dataset } = document.currentScript
  const base = src.replace(/\/_nbws\/sockets\.js.*$/, '')
  const ALIVE = 'nbws.alive' // The subprotocol in which a page may ask; see nbws/sockets/alive.py
  const QUIET = 10000 // Milliseconds without a message after which it asks
  const PATIENCE = 2000 // That it waits for an answer, to what it sent or asked
  const NEVER = 2 ** 31 - 1
  const LOSSES = [1001, 1006, 1011, 1012, 1013, 1014] // Codes with which nobody means a page to stay away
  const Raw = window.WebSocket
  const states = new Map() // Of the sockets that are opening or open
  const htmxs = new WeakSet() // Those of the htmx extension on our own server
  const plain = new Set() // Addresses where somebody else answers, who does not know the subprotocol
  const pause = ms => new Promise(done => setTimeout(done, ms))

  let asking = null // Whoever asks within a moment gets the same answer
  const reachable = () => {
    if (!asking) asking = knock().finally(() => setTimeout(() => { asking = null }, 200))
    return asking
  }
  const knock = async () => {
    try {
      const signal = AbortSignal.timeout(PATIENCE)
      const answer = await fetch(base + '/_nbws/sockets.js', { method: 'HEAD', cache: 'no-store', signal })
      return answer.ok && !answer.redirected
    } catch { return false }
  }

  const isOurs = url => {
    try { return new URL(url, location.href).host === new URL(base).host } catch { return false }
  }

  // Some proxies pass requests on and no upgrades. When a socket cannot be opened and none has been yet, the page asks
  // whether upgrades pass at all. If not, its sockets go by requests (line.js), and its code does not notice.
  let upgrades = window.nbwsLine ? false : null // Whether they pass; null: nobody knows
  const carried = new WeakSet() // Sockets that go by requests
  const load = name => new Promise((ok, no) => {
    document.head.append(Object.assign(document.createElement('script'), {
      src: base + '/_nbws/' + name, onload: ok, onerror: no,
    }))
  })
  const tryUpgrade = () => new Promise(done => {
    const socket = new Raw(base.replace(/^http/, 'ws') + '/_nbws/line'), late = setTimeout(done, PATIENCE, false)
    const end = passes => {
      clearTimeout(late)
      done(passes)
    }
    socket.addEventListener('open', () => end(true))
    socket.addEventListener('close', () => end(false))
  })
  const findOut = async () => {
    if (upgrades !== null || !await reachable()) return
    if (await tryUpgrade()) upgrades = true
    else if (upgrades === null && await reachable()) { // It is not the server that has gone meanwhile
      await load('line.js')
      if (upgrades === null) upgrades = false // No other socket has been opened
    }
  }
  let finding = null
  const upgradesPass = async () => {
    finding ||= findOut().catch(() => {}).finally(() => { finding = null })
    await finding
    return upgrades !== false
  }
  class Unconnected extends EventTarget { // In place of a `WebSocket` where no upgrade passes
    binaryType = 'blob'
    #handlers = {}
    static {
      for (const type of ['open', 'message', 'error', 'close']) Object.defineProperty(this.prototype, 'on' + type, {
        get() { return this.#handlers[type] || null },
        set(handler) {
          if (!(type in this.#handlers)) this.addEventListener(type, e => {
            if (typeof this.#handlers[type] === 'function') this.#handlers[type].call(this, e)
          })
          this.#handlers[type] = handler
        } })
      Object.setPrototypeOf(this.prototype, Raw.prototype)
    }
  }
  const attempt = (socket, args) => {
    let carrier = null, left = false // The page has closed it
    const carry = () => {
      carried.add(socket)
      carrier = window.nbwsLine.carry(socket, ...args)
    }
    const failed = async ({ code, reason, wasClean }) => {
      Object.defineProperty(socket, 'readyState', { value: 0, configurable: true }) // Still connecting
      if (!await upgradesPass() && !left) {
        carry()
        return
      }
      delete socket.readyState
      socket.dispatchEvent(new Event('error'))
      socket.dispatchEvent(new CloseEvent('close', { code, reason, wasClean }))
    }
    socket.send = data => carrier ? carrier.send(data) : Raw.prototype.send.call(socket, data)
    socket.close = (...how) => {
      if (carrier) {
        carrier.close(...how)
        return
      }
      left = true
      Raw.prototype.close.apply(socket, how)
    }
    const hold = e => {
      if (!e.isTrusted || (!carrier && (left || upgrades))) return
      e.stopImmediatePropagation()
      if (!carrier && e.type === 'close') failed(e)
    }
    socket.addEventListener('open', e => { if (e.isTrusted) upgrades = true })
    socket.addEventListener('error', hold)
    socket.addEventListener('close', hold)
    if (upgrades === false) carry()
    return socket
  }
  const Native = new Proxy(Raw, { construct(target, args, self) {
    if (upgrades || !isOurs(args[0])) return Reflect.construct(target, args, self)
    return attempt(upgrades === false ? new Unconnected() : Reflect.construct(target, args, self), args)
  } })
  let making = false // The htmx extension is making one
  window.WebSocket = new Proxy(Native, { construct(target, args, self) {
    const [url, protocols] = args
    const bare = protocols === undefined || (Array.isArray(protocols) && !protocols.length)
    const offers = bare && (making || 'all' in dataset) && isOurs(url) && !plain.has(String(url))
    const how = offers ? [url, ALIVE] : args
    const socket = 'rooms' in dataset && isOurs(url) ? resume(how, to => Reflect.construct(target, to, self))
      : Reflect.construct(target, how, self)
    if (making && isOurs(url)) htmxs.add(socket)
    watch(socket, String(url), offers)
    return socket
  } })

  // A room with a history tells the position of each message to the sockets that ask for it (nbws/sockets/rooms.py). A
  // socket that opens again says what this page has seen, unless the page itself has closed it: then it begins anew.
  const seen = [] // Of each socket: its address, the socket, and the last position by epoch
  const resume = ([url, ...rest], open) => {
    const { search, hash } = new URL(url, location.href)
    if (hash) return open([url, ...rest])
    const before = seen.findIndex(s => s.url === String(url) && s.socket.readyState > 1)
    const last = before < 0 ? new Map() : seen.splice(before, 1)[0].last
    const positions = [...last].slice(-20).map(position => position.join(':')).join('.')
    const socket = open([url + (search ? '&' : '?') + 'nbws-since=' + positions, ...rest])
    const entry = { url: String(url), socket, last }
    seen.push(entry)
    if (seen.length > 100) seen.shift()
    Object.defineProperty(socket, 'url', { value: socket.url.replace(/[?&]nbws-since=.*/, '') })
    const close = socket.close.bind(socket)
    socket.close = (...how) => {
      if (seen.includes(entry)) seen.splice(seen.indexOf(entry), 1)
      close(...how)
    }
    socket.addEventListener('close', () => reach(socket, String(url), true))
    socket.addEventListener('message', e => {
      if (e.data === '\x1egap') {
        e.stopImmediatePropagation()
        miss(String(url))
        return
      }
      if (e.data === '\x1eaway' || e.data === '\x1eback') {
        e.stopImmediatePropagation()
        reach(socket, String(url), e.data === '\x1eback')
        return
      }
      const found = typeof e.data === 'string' && /\x1e([0-9a-f]{8}):(\d+)$/.exec(e.data.slice(-40))
      if (!found) return
      last.delete(found[1])
      last.set(found[1], found[2])
      const text = e.data.slice(0, -found[0].length)
      if (text) Object.defineProperty(e, 'data', { value: text })
      else e.stopImmediatePropagation()
    })
    return socket
  }

  // What this page has missed is not kept any more: it needs to be loaded anew, but nobody loses what he is typing.
  const isTyped = () => [...document.querySelectorAll('input:not([type=hidden]), textarea')]
    .some(e => e.value !== e.defaultValue)
  let missing = false
  const miss = url => {
    const gap = new CustomEvent('nbws:gap', { detail: { url }, cancelable: true })
    document.dispatchEvent(gap)
    if (missing || gap.defaultPrevented) return
    missing = true
    const look = () => isTyped() ? setTimeout(look, 1000) : location.reload()
    look()
  }

  // What is said in a room may not reach the pages of other processes for a while: it waits, and its senders may think
  // that nobody answers. The page says so after a second, unless a listener says it in its own words.
  const cut = new Set() // Sockets in such rooms
  let word = null, worded = 0 // The element that says it, and a timer
  const reach = (socket, url, others) => {
    const before = cut.size
    if (others) cut.delete(socket); else cut.add(socket)
    if (Boolean(cut.size) === Boolean(before)) return
    clearTimeout(worded)
    if (word) word.remove()
    word = null
    const name = cut.size ? 'nbws:away' : 'nbws:back'
    const event = new CustomEvent(name, { detail: { url }, cancelable: true })
    document.dispatchEvent(event)
    if (cut.size && !event.defaultPrevented) worded = setTimeout(sayAway, 1000)
  }
  const sayAway = () => { // Outside the body, which pages style and swap
    word = document.createElement('nbws-away')
    word.setAttribute('role', 'status')
    word.textContent = 'others are not reached now: what is sent waits '
    word.style.cssText = 'all: initial; position: fixed; left: 8px; bottom: 8px; z-index: 2147483646; '
      + 'padding: 2px 10px; border-radius: 10px; font: 12px system-ui, sans-serif; background: #555; color: #fff'
    const onclick = ({ target }) => target.parentNode.remove()
    const button = Object.assign(document.createElement('button'), { textContent: 'Dismiss', onclick })
    button.style.cssText = 'all: revert; font: inherit; cursor: pointer'
    word.append(button)
    document.documentElement.append(word)
  }

  const watch = (socket, url, offers) => {
    const state = {
      url, offers, // Whether it asked for the subprotocol
      alive: false, // The other end knows it
      opened: 0, heard: Date.now(), sent: 0, asked: 0, // When; `sent` and `asked` since something was heard
      paused: false, // The other end has said that it will be silent
      said: null, // With what code and reason the other end closes
      over: false, // The page has been told that it is closed
    }
    states.set(socket, state)
    const send = socket.send.bind(socket)
    socket.send = data => {
      if (!state.sent) state.sent = Date.now()
      send(data)
    }
    const hear = () => Object.assign(state, { heard: Date.now(), sent: 0, asked: 0 })
    socket.addEventListener('open', () => {
      hear()
      state.opened = state.heard
      state.alive = socket.protocol === ALIVE
    })
    socket.addEventListener('message', e => {
      hear()
      const told = state.alive && typeof e.data === 'string'
        && /^nbws (pong|pause|resume|close) ?(\d*) ?(.*)$/s.exec(e.data)
      if (!told) return
      e.stopImmediatePropagation()
      if (told[1] === 'close') state.said = { code: Number(told[2]), reason: told[3] }
      else if (told[1] !== 'pong') state.paused = told[1] === 'pause'
    })
    socket.addEventListener('close', e => {
      if (state.over && e.isTrusted) { // It was given up before
        e.stopImmediatePropagation()
        return
      }
      if (e.isTrusted && state.alive && e.code === 1005) { // A proxy has dropped the code
        e.stopImmediatePropagation()
        state.over = true
        const how = state.said || { code: 1006 } // Without a farewell it is a loss
        socket.dispatchEvent(new CloseEvent('close', { wasClean: Boolean(state.said), ...how }))
        return
      }
      states.delete(socket)
      ending = socket
      if (htmxs.has(socket) && LOSSES.includes(e.code)) lose(socket, state)
    })
  }

  // Is it alive? Who is silent for long is asked; who does not answer is given up once the server answers elsewhere.
  const ask = (socket, patience = PATIENCE) => {
    const state = states.get(socket)
    if (!state || !state.alive || state.paused || socket.readyState !== 1 || state.asked) return
    state.asked = Date.now() - PATIENCE + patience
    Raw.prototype.send.call(socket, 'nbws ping')
  }
  const doubt = async socket => {
    const state = states.get(socket)
    if (!state || state.doubted || carried.has(socket)) return // A line has bounds of its own
    const { heard } = state
    const silent = () => state.heard === heard && !state.over && !state.paused && socket.readyState < 2
    state.doubted = true
    while (silent()) {
      if (!await reachable()) await pause(300)
      else if (await pause(300), silent()) giveUp(socket, state)
    }
    state.doubted = false
  }
  const givenUp = new WeakSet() // Close events that no other end has caused
  const giveUp = (socket, state) => {
    Raw.prototype.close.call(socket) // The browser waits for an answer to that, perhaps for a minute
    if (!state.opened && upgrades === null) return // It has failed: see `attempt`
    state.over = true
    const end = new CloseEvent('close', { code: 1006, reason: 'no answer' })
    givenUp.add(end)
    socket.dispatchEvent(end)
    for (const other of states.keys()) ask(other, 1000)
  }
  let looked = Date.now()
  const look = () => {
    const now = Date.now()
    if (now - looked > 5000) wake()
    looked = now
    for (const [socket, state] of states) {
      const isLate = socket.readyState === 0 ? now - state.heard > 2 * PATIENCE
        : state.asked && now - state.asked > PATIENCE
      if (isLate) doubt(socket)
      else if (now - state.heard > QUIET || (state.sent && now - state.sent > PATIENCE)) ask(socket)
    }
  }
  setInterval(look, 1000)

  // Back again: htmx would wait for up to a minute, and browsers let sockets wait that have failed often. So the page
  // asks by HTTP whether somebody is there, and opens the sockets then.
  const lost = new Map()
  let ending = null, failures = 0, coming = false, hurry = () => {}
  const lose = (socket, state) => {
    lost.set(socket, state)
    if (state.opened && Date.now() - state.opened > 2000) failures = 0
    comeBack()
  }
  const comeBack = async () => {
    if (coming) return
    coming = true
    for (let n = 0; lost.size; n++) {
      const wait = failures ? Math.min(5000, 100 * 2 ** failures) : n && Math.min(500, 50 * 2 ** n)
      await Promise.race([pause(wait * (.5 + Math.random() / 2)), new Promise(now => { hurry = now })])
      if (!await reachable()) { failures = 0; continue }
      failures++
      for (const [socket, state] of lost) {
        lost.delete(socket)
        if (state.offers && !state.opened) plain.add(state.url); else plain.delete(state.url)
        open(socket)
      }
    }
    coming = false
  }
  const open = socket => {
    for (const element of document.querySelectorAll('[ws-connect],[data-ws-connect],[hx-ws],[data-hx-ws]')) {
      const own = (element['htmx-internal-data'] || {}).webSocket
      if (own && own.socket === socket) own.init()
    }
  }
  const wake = () => {
    failures = 0
    hurry()
    for (const socket of states.keys()) ask(socket, 1000)
  }
  // A handler that answers with a fresh `Input`, to empty it, replaces the element that somebody types into.
  let typing = ''
  document.addEventListener('htmx:oobBeforeSwap', e => {
    const focused = document.activeElement
    typing = focused && focused.id && e.detail.target.contains(focused) ? focused.id : ''
  })
  document.addEventListener('htmx:oobAfterSwap', () => {
    const fresh = typing && document.getElementById(typing)
    if (fresh && document.activeElement !== fresh) fresh.focus({ preventScroll: true })
    typing = ''
  })

  addEventListener('online', wake)
  addEventListener('pageshow', wake)
  document.addEventListener('visibilitychange', () => document.hidden || wake())

  // htmx processes an element anew when its attributes have changed: a script has set a class, or the page's cell has
  // run again. Its extension then connects each `ws-connect` in it once more, and leaves the connection that is there
  // open: each message would come twice. The element keeps its socket instead, unless it names another address now.
  const wrappers = new Map() // What the extension has made, by element
  const connecting = new Set() // Elements for which it makes one
  const kept = new Set() // Wrappers whose socket another one has now
  let processed = null // The element that is being processed
  const settle = element => {
    const before = wrappers.get(element), now = (element['htmx-internal-data'] || {}).webSocket
    if (now) wrappers.set(element, now); else wrappers.delete(element)
    if (!before || before === now) return
    if (!kept.delete(before)) before.close()
    if (!now) return
    now.messageQueue.unshift(...before.messageQueue.splice(0))
    if (now.socket.readyState === 1) now.handleQueuedMessages()
  }
  const keptSocket = url => {
    for (const [element, wrapper] of wrappers) {
      const { socket, events } = wrapper
      const isSame = !kept.has(wrapper) && processed.contains(element) && (states.get(socket) || {}).url === url
      if (!isSame || socket.readyState > 1) continue
      for (const [name, acts] of Object.entries(events))
        for (const act of acts) socket.removeEventListener(name, act)
      kept.add(wrapper)
      return socket
    }
    return null
  }
  document.addEventListener('htmx:wsConnecting', e => connecting.add(e.target))
  document.addEventListener('htmx:beforeProcessNode', e => {
    processed = e.target
    if (!wrappers.size) return
    queueMicrotask(() => {
      processed = null
      for (const element of [...wrappers.keys()]) settle(element) // Some may have lost their `ws-connect`
    })
  })
  document.addEventListener('htmx:afterProcessNode', () => {
    processed = null
    for (const element of connecting) settle(element)
    connecting.clear()
  })

  const adopt = () => { // The htmx extension, once it is there
    if (!window.htmx || !htmx.createWebSocket) return
    const { createWebSocket, config } = htmx, theirs = config.wsReconnectDelay
    htmx.createWebSocket = url => {
      const socket = processed && keptSocket(url)
      if (socket) return socket
      making = true
      try { return createWebSocket(url) } finally { making = false }
    }
    config.wsReconnectDelay = n => htmxs.has(ending) ? NEVER
      : typeof theirs === 'function' ? theirs(n) : 1000 * 2 ** Math.min(n, 6) * Math.random()
  }
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', adopt); else adopt()

  // For `prefix.js`, whose event streams come over sockets, and for `nbws.js`
  window.nbwsSockets = {
    Native, Socket: window.WebSocket, htmxs, carried, givenUp, LOSSES, reachable, ask, doubt, wake,
  }
})()
