// What ties a page to the notebook or program that serves it: its state, errors, and changes of the code.
// Only pages that are served in a notebook, or by `nbws run --reload`, load this, before any script of their own. It
// loads height.js where the page stands in a frame, notebook.js where a Jupyter server forwards to it, and merge.js
// when the page's code has changed.
(() => {
  if (window.nbws) return
  const { src, dataset } = document.currentScript
  const base = src.replace(/\/_nbws\/nbws\.js.*$/, '')
  const prefix = new URL(base + '/').pathname // With the slash at its end
  const page = location.pathname.slice(prefix.length - 1) || '/'
  const { boot, made = 0, at = Infinity } = dataset // Who made this page, by which handler, and when
  const nbws = window.nbws = { base, page, boot, made, since: at, peer: 'kernel', lost: [] }
  const framed = window.parent !== window
  const kernelUrl = (base.match(/^.*\/nbws\/[\w-]+(~\w+)?(\/~[\w-]+)?/) || [])[0] // On a Jupyter server

  const load = name => new Promise((ok, no) => { // A file of nbws's own
    const element = document.createElement('script')
    Object.assign(element, { src: base + '/_nbws/' + name, onload: ok, onerror: no })
    document.head.append(element)
  })

  // What nbws itself says stands outside the body, in a shadow root: the page's styles and swaps do not touch it.
  const host = document.createElement('nbws-status')
  const shadow = host.attachShadow({ mode: 'open' })
  shadow.innerHTML = `<style>
    :host { position: fixed; z-index: 2147483647 }
    [role=status] {
      position: fixed; right: 8px; bottom: 8px; padding: 2px 10px; border-radius: 10px; z-index: 2147483646;
      font: 12px system-ui, sans-serif; background: #555; color: #fff
    }
    [role=alertdialog] {
      position: fixed; inset: auto 8px 8px 8px; max-height: calc(100vh - 16px); box-sizing: border-box; overflow: auto;
      z-index: 2147483647; padding: 10px 14px; border: 1px solid #c33; border-radius: 6px;
      font: 13px system-ui, sans-serif; background: #fff5f5; color: #400
    }
    pre { margin: 8px 0 0; font: 12px ui-monospace, monospace; white-space: pre-wrap }
    button { cursor: pointer }
    [role=alertdialog] button { float: right }
    [role=status] button { font: inherit; padding: 0 6px }
    [hidden] { display: none }
  </style>
  <div role="status" hidden></div>
  <div role="alertdialog" aria-label="error" hidden><button>Dismiss</button><b></b><pre></pre></div>`
  document.documentElement.append(host)
  const [status, dialog] = shadow.querySelectorAll('[role]')
  const say = (text, label, act) => { // A button, where there is something to do
    if (status.dataset.text === text) return // Else it might be replaced under somebody's finger
    status.dataset.text = text
    status.textContent = text
    status.hidden = !text
    if (label) status.append(' ', Object.assign(document.createElement('button'), { textContent: label, onclick: act }))
  }
  const measure = () => nbws.measure && nbws.measure()
  const dismiss = () => {
    dialog.hidden = true
    measure()
  }
  dialog.querySelector('button').onclick = dismiss
  const error = m => {
    if (m.at) nbws.since = m.at
    dialog.querySelector('b').textContent = m.where
    dialog.querySelector('pre').textContent = m.text
    dialog.hidden = false
    measure()
  }
  nbws.room = () => dialog.hidden ? 0 : Math.min(dialog.scrollHeight + 24, 600) // Pixels that an error needs

  // The page's own sockets are watched, to know when they need help to come back.
  const Native = window.WebSocket // Which `sockets.js` watches
  const { htmxs } = nbwsSockets // Those come back by themselves
  const watched = new Set()
  const isOrdinary = (code, opened) => // An end, or a loss of the line, that nobody's code is to blame for
    [1000, 1001, 1005, 1012].includes(code) || (opened && [1006, 1013, 1014].includes(code))
  const PATIENCE = 2000 // The cell that answers a socket may be the next that runs
  const isOpen = path => [...watched].some(socket => socket.readyState === 1 && local(socket.url) === path)
  window.WebSocket = new Proxy(Native, { construct(target, args, self) {
    const socket = Reflect.construct(target, args, self)
    watched.add(socket)
    let opened = false
    socket.addEventListener('open', () => { opened = true })
    socket.addEventListener('close', e => {
      watched.delete(socket)
      if (!nbwsSockets.givenUp.has(e) && !isOrdinary(e.code, opened)) {
        const facts = { path: local(socket.url), opened, code: e.code, reason: e.reason }
        if (opened) notice('socket', facts)
        else if (!isAway()) setTimeout(() => isOpen(facts.path) || notice('socket', facts), PATIENCE)
      }
      if (nbwsSockets.LOSSES.includes(e.code) && !htmxs.has(socket)) nbws.lost.push(socket)
    })
    return socket
  } })

  // What only the page can know is told to whoever writes it, once: in the cell, and here.
  const noticed = new Set(), unsaid = []
  const notice = (what, facts) => {
    const text = JSON.stringify({ type: 'noticed', what, ...facts })
    if (noticed.has(text) || (isAway() && what === 'socket')) return // While the server is away sockets fail, of course
    noticed.add(text)
    if (wire && wire.readyState === 1) wire.send(text)
    else unsaid.push(text)
  }
  const isAway = () => tries || (wire && wire.readyState > 1)
  const local = url => {
    const { pathname } = new URL(url, location.href)
    return pathname.startsWith(prefix) ? pathname.slice(prefix.length - 1) : pathname
  }
  const verb = d => ((d.requestConfig || {}).verb || 'get').toUpperCase()
  const address = d => local((d.pathInfo || {}).requestPath || (d.requestConfig || {}).path || '')
  const asked = d => ({ verb: verb(d), path: address(d) })
  const heardOfHtmx = {
    oobErrorNoTarget: d => ['oob', { id: d.content.id, element: d.content.outerHTML.slice(0, 200) }],
    responseError: d => ['response', { ...asked(d), status: d.xhr.status }],
    sendError: d => ['send', { ...asked(d), reason: 'the connection broke' }],
    timeout: d => ['send', { ...asked(d), reason: 'timeout' }],
    targetError: d => ['htmx', { name: 'htmx:targetError: the page has no', detail: String(d.target) }],
    swapError: d => ['htmx', { name: 'htmx:swapError', detail: String(d.error || '') }],
    onLoadError: d => ['htmx', { name: 'htmx:onLoadError', detail: String(d.error || '') }],
    'syntax:error': d => ['htmx', { name: 'htmx:syntax:error', detail: String(d.token || d.error || '') }],
  }
  for (const [name, facts] of Object.entries(heardOfHtmx))
    document.addEventListener('htmx:' + name, e => notice(...facts(e.detail)))

  const CONNECTING = [ // Attributes, where htmx keeps what they have made, and what their extension adds to htmx
    { attribute: 'ws-connect', kept: 'webSocket', maker: 'createWebSocket' },
    { attribute: 'sse-connect', kept: 'sseEventSource', maker: 'createEventSource' },
  ]
  const unconnected = () => { // Attributes that nothing has taken up
    const tell = (e, attribute, reason) => {
      notice('connect', { attribute, reason, path: e.getAttribute(attribute) || '' })
    }
    const all = name => [...document.querySelectorAll(`[${name}],[data-${name}]`)]
    for (const { attribute, kept, maker } of CONNECTING)
      for (const e of all(attribute)) {
        if ((e['htmx-internal-data'] || {})[kept]) continue
        tell(e, attribute, !window.htmx ? 'htmx' : htmx[maker] ? 'attribute' : 'extension')
      }
    for (const e of all('ws-send')) if (!e.closest('[ws-connect],[data-ws-connect]')) tell(e, 'ws-send', 'outside')
  }
  // What scripts and styles count on: names, their file, and one that it puts on the window. See `nbws.web.pages`.
  const BROUGHT = [
    { file: 'surreal.js', sign: 'me',
      names: 'me any createElement create_element rAF rIC tick sleep addOnload add_onload onloadAdd onload_add' },
    { file: 'fasthtml.js', sign: 'proc_htmx', names: 'proc_htmx _$ _$$ $H $E domReadyExecute hx_multipart' },
  ]
  const whenLoaded = act => document.readyState === 'complete' ? act() : addEventListener('load', act)
  const undefinedName = thrown => { // Each browser has its own words
    const [, a, b] = String(thrown && thrown.message).match(/([\w$]+) is not defined|variable: ([\w$]+)/) || []
    return a || b
  }
  const unloaded = thrown => {
    const name = undefinedName(thrown)
    const from = BROUGHT.find(({ names }) => names.split(' ').includes(name))
    if (from) whenLoaded(() => from.sign in window || notice('file', { name: name + '()', file: from.file }))
  }
  addEventListener('error', e => unloaded(e.error))
  addEventListener('unhandledrejection', e => unloaded(e.reason))
  const SCOPED = /(^|[\s>+~,(])(me|this|self)(?![\w-])/ // As elements, which HTML has not
  const rules = sheet => [...(sheet || {}).cssRules || []].flatMap(rule => [rule, ...rules(rule)])
  const unscoped = () => { // Styles of one element, which nothing has made into such
    if (window.cssScope) return
    for (const { sheet } of document.body.querySelectorAll('style')) {
      const [, , name] = rules(sheet).map(rule => SCOPED.exec(rule.selectorText)).find(Boolean) || []
      if (name) notice('file', { name: name + ' {}', file: 'css-scope-inline.js' })
    }
  }
  const lookOver = () => {
    unconnected()
    unscoped()
  }
  addEventListener('load', () => {
    lookOver()
    document.addEventListener('htmx:load', () => setTimeout(lookOver))
  })

  // Some changes take effect only where a page is loaded again, perhaps at another address. What was typed stays.
  const preset = select => { // The options that the page itself has chosen
    const marked = [...select.options].filter(o => o.defaultSelected)
    if (select.multiple) return marked
    if (marked.length) return marked.slice(-1)
    return select.size > 1 ? [] : [...select.options].filter(o => !o.disabled).slice(0, 1)
  }
  const isDirty = e => {
    if (e.localName === 'select') {
      const own = preset(e)
      return [...e.options].some(o => o.selected !== own.includes(o))
    }
    return (e.localName === 'textarea' || e.localName === 'input')
      && (e.value !== e.defaultValue || e.checked !== e.defaultChecked)
  }
  const boxes = () => [...document.querySelectorAll('textarea, input:not([type=file], [type=password])')]
  const memory = (what, url = location) => `nbws ${what} ${new URL(url, location).pathname}`
  const remember = (what, url, value) => {
    try {
      sessionStorage.setItem(memory(what, url), JSON.stringify(value))
    } catch { /* A sandbox has no memory, others a limit */ }
  }
  const recall = what => {
    try {
      const value = JSON.parse(sessionStorage.getItem(memory(what)))
      sessionStorage.removeItem(memory(what))
      return value
    } catch { return null }
  }
  const keepFor = url => {
    const typed = boxes().map((e, i) => isDirty(e) && [i, e.name, e.value, e.checked]).filter(Boolean)
    const focus = boxes().indexOf(document.activeElement)
    remember('typed', url, { typed, focus })
  }
  const startAnew = () => {
    keepFor(location)
    location.reload()
  }
  document.addEventListener('DOMContentLoaded', () => {
    const kept = recall('typed')
    if (!kept) return
    const now = boxes()
    for (const [i, name, value, checked] of kept.typed)
      if (now[i] && now[i].name === name) Object.assign(now[i], { value, checked })
    if (now[kept.focus]) now[kept.focus].focus({ preventScroll: true })
  })

  // After the server was away: a page that has opened a socket itself, and not again, starts anew.
  const revive = () => {
    const lost = nbws.lost.splice(0)
    const isOpenAgain = old => [...watched].some(s => s.url === old.url && s.readyState < 2)
    if (!lost.every(isOpenAgain)) startAnew()
  }

  // Changes: fetch the page again and morph it, so that typed text, scroll position and open sockets stay.
  const restyle = names => {
    for (const old of document.querySelectorAll('link[rel~=stylesheet]')) {
      const url = new URL(old.href)
      if (url.origin !== location.origin || !names.some(name => url.pathname.endsWith('/' + name))) continue
      url.searchParams.set('nbws', Date.now())
      const onload = () => {
        old.remove()
        measure()
      }
      old.after(Object.assign(old.cloneNode(), { href: url.href, onload }))
    }
  }
  nbws.sent = null // The body as the server has sent it
  const originals = new Map() // By element: attributes, and a style's text, that scripts changed while the page loaded
  const keepOriginals = records => {
    for (const { type, target, attributeName, attributeNamespace, oldValue, removedNodes } of records) {
      if (type === 'childList' && target.localName !== 'style') continue
      if (!originals.has(target)) originals.set(target, { attributes: {} })
      const original = originals.get(target), { attributes } = original
      if (type === 'attributes') {
        if (!attributeNamespace && !(attributeName in attributes)) attributes[attributeName] = oldValue
      } else if (removedNodes.length && original.text === undefined)
        original.text = [...removedNodes].map(node => node.textContent).join('')
    }
  }
  const loading = new MutationObserver(keepOriginals)
  loading.observe(document, { subtree: true, childList: true, attributes: true, attributeOldValue: true })
  const asSent = body => {
    const copy = body.cloneNode(true)
    const elements = [body, ...body.querySelectorAll('*')], copies = [copy, ...copy.querySelectorAll('*')]
    elements.forEach((element, i) => {
      const { attributes = {}, text } = originals.get(element) || {}
      for (const [name, value] of Object.entries(attributes))
        if (value === null) copies[i].removeAttribute(name); else copies[i].setAttribute(name, value)
      if (text !== undefined) copies[i].textContent = text
    })
    return copy
  }
  document.addEventListener('DOMContentLoaded', () => {
    keepOriginals(loading.takeRecords())
    loading.disconnect()
    nbws.sent = asSent(document.body)
    originals.clear()
  })
  nbws.swapped = new Set() // The ids of elements into which htmx has put something
  for (const name of ['oobBeforeSwap', 'beforeSwap'])
    document.addEventListener('htmx:' + name, e => {
      const { target } = e.detail
      if (target && target.id) nbws.swapped.add(target.id)
    })
  const refresh = async ({ files, only } = {}) => { // `files`: what was saved, if only files were; `only`: an id
    noticed.clear()
    if (files && files.every(name => name.endsWith('.css'))) {
      restyle(files)
      return
    }
    dismiss()
    if (!window.htmx || (files && files.some(name => name.endsWith('.js')))) {
      startAnew()
      return
    }
    const answer = await fetch(location.href, { headers: { 'NBWS-Refresh': '1' }, credentials: 'same-origin' })
    if (!answer.ok) return
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const told = (fresh.querySelector('script[data-boot]') || { dataset: {} }).dataset
    Object.assign(nbws, { made: told.made || 0, since: told.at || nbws.since })
    document.title = fresh.title
    await merging()
    if (only) becomeIn(only, fresh); else become(fresh, fresh.body.cloneNode(true))
  }
  const merging = () =>
    Promise.all([nbws.merge || load('merge.js'), window.Idiomorph || load('idiomorph-ext.min.js')])
  const isSamePart = (old, fresh) => old.hasAttribute('data-nbws-part') // `parts.js` looks after its content
    && old.getAttribute('data-nbws-part') === fresh.getAttribute('data-nbws-part')
  // Idiomorph empties what is filled in, also in a page as it was: findings/idiomorph-same-html-empties-forms.sh
  const stays = (old, fresh) => old.nodeType === Node.ELEMENT_NODE && (isDirty(old) || isSamePart(old, fresh))
  // Idiomorph's `ignoreActiveValue` leaves the children of a button as they are, too, when it has the focus
  const isTyping = () => !!document.activeElement?.matches('input, select, textarea, [contenteditable]')
  const morph = (old, fresh) => { // Returns the elements that are there anew
    const enhanced = [old, ...old.querySelectorAll('[data-enhanced]')].map(e => [e, e.innerHTML])
    const added = []
    Idiomorph.morph(old, fresh, { morphStyle: 'outerHTML', ignoreActiveValue: isTyping(), callbacks: {
      beforeNodeMorphed: (node, next) => !stays(node, next),
      afterNodeAdded: node => { if (node.nodeType === Node.ELEMENT_NODE) added.push(node) },
    } })
    for (const [element, html] of enhanced)
      if (element.dataset.enhanced && element.innerHTML !== html) { // enhance.js had made something of it
        delete element.dataset.enhanced
        added.push(element)
      }
    return added
  }
  const activate = (root, added) => {
    htmx.process(root)
    for (const element of added) if (element.isConnected) htmx.trigger(element, 'htmx:load') // As for what it swaps in
  }
  const becomeIn = (id, fresh) => { // One element
    const old = document.getElementById(id), now = fresh.getElementById(id)
    if (!old || !now) return
    const sent = nbws.sent.querySelector('#' + CSS.escape(id))
    if (sent) sent.replaceWith(now.cloneNode(true))
    const added = morph(old, now)
    activate(document.getElementById(id), added)
    measure()
  }
  const displayScripts = () => // Of objects that bring HTML of their own: see `nbws.display`
    new Map([...document.querySelectorAll('nbws-display:not([data-draw]) script')].map(e => [e, e.textContent]))
  const runFresh = before => { // A script that a morph has put in, or changed, has not run
    for (const [script, text] of displayScripts()) {
      if (before.get(script) === text) continue
      const copy = document.createElement('script')
      for (const { name, value } of script.attributes) copy.setAttribute(name, value)
      copy.textContent = text
      script.replaceWith(copy)
    }
  }
  const become = (fresh, told) => { // A document, and its body as the server has sent it
    const scripts = displayScripts()
    nbws.merge(nbws.sent, document.body, fresh.body)
    nbws.sent = told
    const added = morph(document.body, fresh.body)
    if (window.cssScope) // css-scope-inline looks at styles that are put in
      for (const style of document.body.querySelectorAll('style:not([ready])')) style.replaceWith(style.cloneNode(true))
    runFresh(scripts)
    activate(document.body, added)
    measure()
  }

  // The line to the process. It answers at once unless a C call holds the interpreter; then the page says so.
  let tries = 0 // In vain since it was open
  let wire = null, unanswered = 0 // The line, and the timer of a ping
  const answered = () => {
    clearTimeout(unanswered)
    unanswered = 0
  }
  const heard = {
    hello(m) {
      say('')
      const restarted = nbws.boot && nbws.boot !== m.boot
      Object.assign(nbws, { boot: m.boot, peer: m.peer })
      if (restarted) refresh().then(revive)
      else revive()
    },
    pong() {
      answered()
      say('')
    },
    refresh, error,
  }
  const sendPing = line => {
    if (line.readyState !== 1 || unanswered) return
    unanswered = setTimeout(() => {
      say('the ' + nbws.peer + ' is busy')
      nbwsSockets.doubt(line) // Unless nobody is there any more at its other end: then it closes, and another is tried
    }, 1000)
    line.send('{"type": "ping"}')
  }
  const lineUrl = () => base.replace(/^http/, 'ws') + `/_nbws/live?made=${nbws.made}&since=${nbws.since}`
    + '&page=' + encodeURIComponent(page)
  nbws.canConnect = async () => await nbwsSockets.reachable() ? 'now' : 'soon' // Or 'later': there is no hurry
  nbws.opened = () => {}
  const again = when => setTimeout(connect, when === 'later' ? 5000 : Math.min(500, 100 * 1.5 ** tries++))
  const connect = async () => {
    if (tries) {
      let when = 'soon'
      try { when = await nbws.canConnect() } catch { say('reconnecting') }
      if (when !== 'now') {
        again(when)
        return
      }
    }
    const line = wire = new Native(lineUrl())
    const ping = setInterval(sendPing, 2000, line)
    line.onopen = () => {
      tries = 0
      nbws.opened()
      for (const text of unsaid.splice(0)) line.send(text)
    }
    line.onmessage = e => {
      const m = JSON.parse(e.data)
      if (heard[m.type]) heard[m.type](m)
    }
    line.onclose = () => {
      clearInterval(ping)
      answered()
      say('reconnecting')
      again('soon')
    }
  }
  addEventListener('load', connect)

  Object.assign(nbws, { framed, kernelUrl, say, keepFor, remember, recall, merging, become }) // For the other files
  const without = () => {} // It goes on without a file that did not come
  if (framed) load('height.js').catch(without)
  if (kernelUrl) load('notebook.js').catch(without)
})()
