// What ties a page to the notebook or program that serves it: its height, its state, errors, and changes of the code.
// Only pages that are served in a notebook, or by `nbws run --reload`, load this.
(() => {
  if (window.nbws) return
  const base = document.currentScript.src.replace(/\/_nbws\/nbws\.js.*$/, '')
  const page = location.pathname.slice(new URL(base + '/').pathname.length - 1) || '/'
  const { boot, made = 0, at = Infinity } = document.currentScript.dataset
  const nbws = window.nbws = { base, page, boot, made, since: at, peer: 'kernel', lost: [] }

  // What nbws itself says stands outside the body, in a shadow root: the page's styles and swaps do not touch it.
  const host = document.createElement('nbws-status')
  const root = host.attachShadow({ mode: 'open' })
  root.innerHTML = `<style>
    :host { position: fixed }
    [role=status] { position: fixed; right: 8px; bottom: 8px; padding: 2px 10px; border-radius: 10px; z-index: 2147483646;
      font: 12px system-ui, sans-serif; background: #555; color: #fff }
    [role=alertdialog] { position: fixed; inset: auto 8px 8px 8px; max-height: calc(100vh - 16px); box-sizing: border-box; overflow: auto; z-index: 2147483647; padding: 10px 14px;
      border: 1px solid #c33; border-radius: 6px; background: #fff5f5; color: #400; font: 13px system-ui, sans-serif }
    pre { margin: 8px 0 0; font: 12px ui-monospace, monospace; white-space: pre-wrap }
    button { cursor: pointer } [role=alertdialog] button { float: right } [role=status] button { font: inherit; padding: 0 6px } [hidden] { display: none }
  </style><div role="status" hidden></div><div role="alertdialog" aria-label="error" hidden><button>Dismiss</button><b></b><pre></pre></div>`
  document.documentElement.append(host)
  const [status, dialog] = root.querySelectorAll('[role]')
  const say = (text, label, act) => { // A button, where there is something to do
    if (status.dataset.text === text) return // Else it might be replaced under somebody's finger
    status.dataset.text = text
    status.textContent = text
    status.hidden = !text
    if (label) status.append(' ', Object.assign(document.createElement('button'), { textContent: label, onclick: act }))
  }
  const dismiss = () => { dialog.hidden = true; measure() }
  dialog.querySelector('button').onclick = () => dismiss()
  const error = m => {
    if (m.at) nbws.since = m.at
    dialog.querySelector('b').textContent = m.where
    dialog.querySelector('pre').textContent = m.text
    dialog.hidden = false
    measure()
  }

  // Height: the notebook's iframe follows the content, and never itself. A box that grows as the frame does (`100vh`, or the
  // body of a page in quirks mode) says nothing of the content: in its place its parts count.
  const framed = window.parent !== window
  const follows = new WeakSet(), heights = new Map() // Those boxes; and the heights of tall ones when a height was asked for
  let frame = 0, width = 0, content = 0, room = 0, excess = 0, asked = 0
  const note = element => {
    const { height } = element.getBoundingClientRect()
    const scrolls = element.parentElement && element !== document.body && getComputedStyle(element).overflowY !== 'visible'
    if (height < innerHeight / 2 || scrolls) return // What scrolls is as high as it wants to be
    heights.set(element, height)
    for (const child of element.children) note(child)
  }
  const learn = moved => {
    let news = false
    for (const [element, height] of heights) {
      if (follows.has(element) || Math.abs(element.getBoundingClientRect().height - height - moved) > 1) continue
      follows.add(element)
      news = true
    }
    return news
  }
  const px = text => parseFloat(text) || 0
  const ending = (element, style = getComputedStyle(element)) => { // Where its content ends, and the margin behind that
    const box = element.getBoundingClientRect(), margin = px(style.marginBottom)
    if (!follows.has(element)) return [box.bottom, margin]
    let edge = box.top + px(style.borderTopWidth) + px(style.paddingTop), behind = 0
    const reach = (bottom, gap) => { if (bottom + gap > edge + behind) [edge, behind] = [bottom, gap] }
    for (const child of element.childNodes) {
      if (child.nodeType === 3 && child.data.trim()) {
        const range = document.createRange()
        range.selectNodeContents(child)
        reach(range.getBoundingClientRect().bottom, 0)
      } else if (child.nodeType === 1) {
        const its = getComputedStyle(child)
        if (its.display !== 'none' && !['fixed', 'absolute'].includes(its.position)) reach(...ending(child, its))
      }
    }
    const below = px(style.borderBottomWidth) + px(style.paddingBottom)
    if (element === document.documentElement || below || style.display !== 'block') return [edge + behind + below, margin]
    return [edge, Math.max(behind, margin)] // Margins collapse
  }
  const measure = again => {
    if (!framed || !document.body) return
    const html = document.documentElement, before = { frame, content, room }
    const natural = () => follows.has(html) ? ending(html)[0] + scrollY : html.offsetHeight
    content = natural()
    room = dialog.hidden ? 0 : Math.min(dialog.scrollHeight + 24, 600) // A small page makes room for its error
    const moved = width === innerWidth ? innerHeight - before.frame : 0, by = content - before.content
    frame = innerHeight
    width = innerWidth
    if (before.frame && moved && Math.abs(by) >= 1) { // The content has moved with the frame
      const learned = learn(moved), rests = by / moved > 0 && by / moved < .75
      if (learned) content = natural()
      const wanted = content < frame ? learned || (rests && follows.has(html)) : rests || by > moved + 1
      excess = wanted ? 0 : Math.max(0, content + 2 - frame)
      if (!wanted) return
    } else if (again !== true && Math.abs(by) < 1 && room === before.room) return
    const height = Math.ceil(Math.max(content - excess, room)) + 2
    if (height === asked && again !== true) return
    asked = height
    heights.clear()
    note(html)
    parent.postMessage({ nbws: 'height', height }, '*')
  }
  let waits = false
  const soon = () => {
    if (!waits) requestAnimationFrame(() => { waits = false; measure() })
    waits = true
  }
  if (framed) {
    addEventListener('message', e => { if (e.source === parent && e.data && e.data.nbws === 'measure') measure(true) })
    addEventListener('load', measure)
    addEventListener('load', soon, true) // Of an image, say
    addEventListener('resize', soon)
    new ResizeObserver(() => measure()).observe(document.documentElement)
    new MutationObserver(soon).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
  }

  // The page's own sockets are watched, to know when they need help to come back.
  const Native = window.WebSocket // Which `sockets.js` watches
  const { htmxs } = nbwsSockets // Those come back by themselves
  const watched = new Set()
  window.WebSocket = new Proxy(Native, { construct(target, args, self) {
    const socket = Reflect.construct(target, args, self)
    watched.add(socket)
    let opened = false
    socket.addEventListener('open', () => { opened = true })
    socket.addEventListener('close', e => {
      watched.delete(socket)
      if (e.isTrusted && ![1000, 1001, 1005, 1012].includes(e.code))
        notice('socket', { path: local(socket.url), opened, code: e.code, reason: e.reason })
      if (e.code !== 1000 && e.code !== 1005 && !htmxs.has(socket)) nbws.lost.push(socket)
    })
    return socket
  } })

  // What only the page can know is told to whoever writes it, once: in the cell, and here.
  const noticed = new Set(), unsaid = []
  const notice = (what, facts) => {
    const text = JSON.stringify({ type: 'noticed', what, ...facts })
    if (noticed.has(text) || (tries && what === 'socket')) return // While the server is away sockets fail, of course
    noticed.add(text)
    if (wire && wire.readyState === 1) wire.send(text); else unsaid.push(text)
  }
  const local = url => {
    const { pathname } = new URL(url, location.href), prefix = new URL(base + '/').pathname
    return pathname.startsWith(prefix) ? pathname.slice(prefix.length - 1) : pathname
  }
  const heardOfHtmx = {
    oobErrorNoTarget: d => ['oob', { id: d.content.id, element: d.content.outerHTML.slice(0, 200) }],
    responseError: d => ['response', { verb: verb(d), path: address(d), status: d.xhr.status }],
    sendError: d => ['send', { verb: verb(d), path: address(d), reason: 'the connection broke' }],
    timeout: d => ['send', { verb: verb(d), path: address(d), reason: 'timeout' }],
    targetError: d => ['htmx', { name: 'htmx:targetError: the page has no', detail: String(d.target) }],
    swapError: d => ['htmx', { name: 'htmx:swapError', detail: String(d.error || '') }],
    onLoadError: d => ['htmx', { name: 'htmx:onLoadError', detail: String(d.error || '') }],
    'syntax:error': d => ['htmx', { name: 'htmx:syntax:error', detail: String(d.token || d.error || '') }],
  }
  const verb = d => ((d.requestConfig || {}).verb || 'get').toUpperCase()
  const address = d => local((d.pathInfo || {}).requestPath || (d.requestConfig || {}).path || '')
  for (const [name, facts] of Object.entries(heardOfHtmx)) document.addEventListener('htmx:' + name, e => notice(...facts(e.detail)))
  const unconnected = () => { // Attributes that nothing has taken up
    const tell = (e, attribute, reason) => notice('connect', { attribute, reason, path: e.getAttribute(attribute) || '' })
    const all = name => [...document.querySelectorAll(`[${name}],[data-${name}]`)]
    for (const [name, kept, made] of [['ws-connect', 'webSocket', 'createWebSocket'], ['sse-connect', 'sseEventSource', 'createEventSource']])
      for (const e of all(name)) {
        if ((e['htmx-internal-data'] || {})[kept]) continue
        tell(e, name, !window.htmx ? 'htmx' : htmx[made] ? 'attribute' : 'extension')
      }
    for (const e of all('ws-send')) if (!e.closest('[ws-connect],[data-ws-connect]')) tell(e, 'ws-send', 'outside')
  }
  addEventListener('load', () => {
    unconnected()
    document.addEventListener('htmx:load', () => setTimeout(unconnected))
  })

  // Some changes take effect only where a page is loaded again, perhaps at another address. What was typed into it stays.
  const dirty = e => (e.localName === 'textarea' || e.localName === 'input') && (e.value !== e.defaultValue || e.checked !== e.defaultChecked)
  const boxes = () => [...document.querySelectorAll('textarea, input:not([type=file], [type=password])')]
  const memory = (what, address = location) => `nbws ${what} ${new URL(address, location).pathname}`
  const remember = (what, address, value) => {
    try { sessionStorage.setItem(memory(what, address), JSON.stringify(value)) } catch (e) {} // A sandbox has no memory, others a limit
  }
  const recall = what => {
    try {
      const value = JSON.parse(sessionStorage.getItem(memory(what)))
      sessionStorage.removeItem(memory(what))
      return value
    } catch (e) { return null }
  }
  const keepFor = address => {
    const typed = boxes().map((e, i) => dirty(e) && [i, e.name, e.value, e.checked]).filter(Boolean)
    const focus = boxes().indexOf(document.activeElement)
    remember('typed', address, { typed, focus })
  }
  const startAnew = () => {
    keepFor(location)
    location.reload()
  }
  document.addEventListener('DOMContentLoaded', () => {
    const kept = recall('typed')
    if (!kept) return
    const now = boxes()
    for (const [i, name, value, checked] of kept.typed) if (now[i] && now[i].name === name) Object.assign(now[i], { value, checked })
    if (now[kept.focus]) now[kept.focus].focus({ preventScroll: true })
  })

  // After the server was away: a page that has opened a socket itself, and not again, starts anew.
  const revive = () => {
    const lost = nbws.lost.splice(0)
    if (!lost.length) return
    const again = old => [...watched].some(s => s.url === old.url && s.readyState < 2)
    if (lost.some(old => !again(old))) startAnew()
  }

  // Changes: fetch the page again and morph it, so that typed text, scroll position and open sockets stay.
  const load = src => new Promise((ok, no) => {
    const s = document.createElement('script')
    Object.assign(s, { src, onload: ok, onerror: no })
    document.head.append(s)
  })
  const restyle = names => {
    for (const old of document.querySelectorAll('link[rel~=stylesheet]')) {
      const url = new URL(old.href)
      if (url.origin !== location.origin || !names.some(name => url.pathname.endsWith('/' + name))) continue
      url.searchParams.set('nbws', Date.now())
      const fresh = Object.assign(old.cloneNode(), { href: url.href, onload: () => { old.remove(); measure() } })
      old.after(fresh)
    }
  }

  // The page may have changed since it came: by sockets, by scripts. What the server says as before stays as it is now, and
  // what came between other elements stays between them, unless the server tells it now itself.
  let sent // The body as the server has sent it
  document.addEventListener('DOMContentLoaded', () => { sent = document.body.cloneNode(true) })
  const pairs = (items, others) => { // With the same id, else the same in all, else the next of its kind
    const found = new Map(), free = new Set(others)
    for (const same of [(a, b) => a.id && a.id === b.id, (a, b) => a.isEqualNode(b), (a, b) => !a.id && !b.id && a.nodeName === b.nodeName])
      for (const item of items) {
        if (found.has(item)) continue
        for (const other of free) if (same(item, other)) { found.set(item, other); free.delete(other); break }
      }
    return found
  }
  const words = node => node.textContent.trim()
  const merge = (before, now, fresh) => { // Makes `fresh` what the page is to become
    if (before.isEqualNode(fresh)) return fresh.replaceWith(now.cloneNode(true))
    if (fresh.nodeType !== 1) return
    for (const { name } of [...before.attributes, ...now.attributes]) {
      if (before.getAttribute(name) !== fresh.getAttribute(name)) continue
      if (now.hasAttribute(name)) fresh.setAttribute(name, now.getAttribute(name)); else fresh.removeAttribute(name)
    }
    const stays = pairs(before.childNodes, now.childNodes), comes = pairs(before.childNodes, fresh.childNodes)
    const was = new Map([...stays].map(([old, child]) => [child, old])), known = new Set(comes.values())
    const put = [...now.childNodes].filter(child => !was.has(child))
    const added = [...fresh.childNodes].filter(child => !known.has(child)), told = added.map(words).join('\n')
    if (!put.some(child => (child.id && added.some(a => a.id === child.id)) || (words(child) && told.includes(words(child))))) {
      const place = child => comes.get(was.get(child))
      let last = null // What the next one comes behind
      const first = [...now.childNodes].map(place).find(Boolean) // Else what it comes before
      for (const child of now.childNodes) {
        if (was.has(child)) { last = place(child) || last; continue }
        const kept = child.cloneNode(true)
        if (last) last.after(kept); else if (first) first.before(kept); else fresh.append(kept)
        if (last || !first) last = kept
      }
    }
    for (const [old, next] of comes) {
      if (stays.has(old)) merge(old, stays.get(old), next)
      else if (old.isEqualNode(next)) next.remove() // It was taken out of the page
    }
  }
  const refresh = async ({ files } = {}) => {
    noticed.clear()
    if (files && files.every(name => name.endsWith('.css'))) return restyle(files)
    dismiss()
    if (!window.htmx || files && files.some(name => name.endsWith('.js'))) return startAnew()
    const answer = await fetch(location.href, { headers: { 'NBWS-Refresh': '1' }, credentials: 'same-origin' })
    if (!answer.ok) return
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const { made = 0, at = nbws.since } = (fresh.querySelector('script[data-boot]') || { dataset: {} }).dataset
    Object.assign(nbws, { made, since: at })
    document.title = fresh.title
    await become(fresh, fresh.body.cloneNode(true))
  }
  const become = async (fresh, told) => { // A document, and its body as the server has sent it
    if (!window.Idiomorph) await load(base + '/_nbws/idiomorph-ext.min.js')
    merge(sent, document.body, fresh.body)
    sent = told
    Idiomorph.morph(document.body, fresh.body, { morphStyle: 'outerHTML', ignoreActiveValue: true,
      callbacks: { beforeNodeMorphed: old => !(old.nodeType === 1 && dirty(old)) } })
    htmx.process(document.body)
    measure()
  }

  // A page that goes to its notebook's next kernel takes along what htmx has put into it: that kernel knows nothing of it.
  const swapped = new Set() // The ids of where that was
  for (const name of ['oobBeforeSwap', 'beforeSwap'])
    document.addEventListener('htmx:' + name, ({ detail: { target } }) => target && target.id && swapped.add(target.id))
  const within = (root, id) => root.querySelector('#' + CSS.escape(id))
  const moveTo = there => {
    keepFor(there)
    const parts = [...swapped].map(id => [id, ...[sent, document.body].map(body => (within(body, id) || {}).outerHTML)])
    remember('swapped', there, { from: here, parts: parts.filter(([, was, now]) => was && now) })
    outside.leave(there)
  }
  document.addEventListener('DOMContentLoaded', () => {
    const kept = recall('swapped')
    if (!kept || !window.htmx) return
    const fresh = document.implementation.createHTMLDocument()
    fresh.body.replaceWith(sent.cloneNode(true))
    for (const [id, ...texts] of kept.parts) {
      const [was, now] = texts.map(text => {
        const template = document.createElement('template')
        template.innerHTML = text.replaceAll(kept.from, here)
        return template.content.firstChild
      })
      const place = within(fresh.body, id)
      if (!place) continue
      swapped.add(id)
      merge(was, now, place)
    }
    become(fresh, sent)
  })

  // Behind a Jupyter server: which notebook is this page of? A kernel's id ends with its Jupyter server, a notebook's name does not.
  const door = (base.match(/^.*\/nbws\/[\w-]+(~\w+)?(\/~[\w-]+)?/) || [])[0]
  const here = door && new URL(door).pathname
  const sandboxed = self.origin === 'null'
  const outside = window.nbwsOutside || { fetch: (...args) => fetch(...args), leave: url => location.replace(url) }
  const ask = async () => {
    const path = nbws.notebook.serve ? '?path=' + encodeURIComponent(nbws.notebook.serve) : ''
    const answer = await outside.fetch(door + '/~notebook' + path, { signal: AbortSignal.timeout(3000) })
    if (answer.status === 403 || (answer.redirected && answer.url.includes('login'))) return { out: true }
    if (!answer.ok || answer.redirected) return {}
    const known = await answer.json()
    nbws.notebook.serve = known.notebook
    try { sessionStorage.setItem('nbws ' + here, known.notebook) } catch (e) {} // For Jupyter's page at this address
    return known
  }
  const learnNotebook = () => { if (door && !sandboxed && !document.hidden) ask().catch(() => {}) }
  document.addEventListener('visibilitychange', learnNotebook) // It may have been renamed in another tab

  // Is there anything to connect to? Goes where the app is served now, or says what a person can do.
  const passable = async () => {
    slow = false
    if (!door) return await nbwsSockets.reachable()
    if (sandboxed) { // Its ticket has ended with the kernel or with Jupyter, and there is no other without a login
      slow = [403, 404].includes((await fetch(base + '/_nbws/nbws.js', { method: 'HEAD' })).status)
      if (slow) say('this page has expired: run its cell again')
      return !slow
    }
    const known = await ask()
    if (known.path && known.path !== here) {
      const there = known.path + location.href.slice((location.origin + here).length)
      moveTo(there)
      return false
    }
    slow = Boolean(known.out)
    if (known.out) say('you are logged out of Jupyter', 'Log in again', logIn)
    else if (known.kernel === false) say('the kernel has ended: run the notebook again')
    else say(known.kernel && !known.path ? 'reconnecting: run the cell with serve()' : 'reconnecting')
    return Boolean(known.path)
  }
  // The login page belongs into a tab: this one, or a new one from which this frame sees that it may come in again
  const logIn = () => { if (framed) open(location.href); else location.reload() }

  // The line to the process. It answers at once unless a C call holds the interpreter; then the page says so.
  let tries = 0, waiting = 0, slow = false, wire = null
  const heard = {
    hello(m) {
      say('')
      const restarted = nbws.boot && nbws.boot !== m.boot
      Object.assign(nbws, { boot: m.boot, peer: m.peer })
      if (restarted) refresh().then(revive); else revive()
    },
    pong() { clearTimeout(waiting); waiting = 0; say('') },
    refresh, error,
  }
  const again = () => setTimeout(connect, slow ? 5000 : Math.min(500, 100 * 1.5 ** tries++))
  const connect = async () => {
    if (tries) {
      let open = false
      try { open = await passable() } catch (e) { say('reconnecting') }
      if (!open) return again()
    }
    const line = wire = new Native(base.replace(/^http/, 'ws') + '/_nbws/live?made=' + nbws.made + '&since=' + nbws.since + '&page=' + encodeURIComponent(page))
    const ping = setInterval(() => {
      if (line.readyState !== 1 || waiting) return
      waiting = setTimeout(() => {
        say('the ' + nbws.peer + ' is busy')
        nbwsSockets.doubt(line) // Unless nobody is there any more at its other end: then it closes, and another is tried
      }, 1000)
      line.send('{"type": "ping"}')
    }, 2000)
    line.onopen = () => {
      tries = 0
      learnNotebook()
      for (const text of unsaid.splice(0)) line.send(text)
    }
    line.onmessage = e => { const m = JSON.parse(e.data); heard[m.type] && heard[m.type](m) }
    line.onclose = () => {
      clearInterval(ping)
      clearTimeout(waiting)
      waiting = 0
      say('reconnecting')
      again()
    }
  }
  addEventListener('load', connect)
})()
