// Parts of a page that follow a value: `nbws.parts` places them. Each element says by its attributes which part it
// shows; a page opens one socket for all of them, says what its visitor sets, and puts in what comes, the newest only.
// A part brings this script with it, so a page may load it several times, and for several apps.
(() => {
  const { src, dataset: { app } } = document.currentScript
  const base = src.replace(/parts\.js.*$/, '')
  if (window.nbwsParts) {
    window.nbwsParts.add(app, base)
    return
  }
  const PART = '[data-nbws-part]'
  const QUIET = 20000, PATIENCE = 10000 // Milliseconds: without a word, and for an answer
  const native = () => (window.nbwsSockets || {}).Native || window.WebSocket
  const lines = new Map() // By app
  const tokenOf = element => element.getAttribute('data-nbws-part')
  const inputsOf = element => JSON.parse(element.getAttribute('data-nbws-inputs') || '{}')
  const keyOf = element => `${tokenOf(element)} ${element.getAttribute('data-nbws-inputs') || ''}`

  // What a visitor has set
  const valueOf = field => {
    if (field.type === 'checkbox') return field.checked
    if (field.multiple) return [...field.selectedOptions].map(option => option.value)
    const number = (field.type === 'range' || field.type === 'number') && field.value !== ''
    return number ? field.valueAsNumber : field.value
  }
  const valuesFor = inputs => {
    const found = {}
    for (const [name, id] of Object.entries(inputs)) {
      const field = document.getElementById(id)
      if (field) found[name] = valueOf(field)
    }
    return found
  }

  // What an element shows
  const idiomorph = () => window.Idiomorph || loading || (loading = load(base + 'idiomorph-ext.min.js'))
  let loading = null
  const load = url => new Promise(done => {
    const script = document.createElement('script')
    Object.assign(script, { src: url, onload: done, onerror: done })
    document.head.append(script)
  })
  const isDirty = e => e.value !== undefined && (e.localName === 'textarea' || e.localName === 'input')
    && (e.value !== e.defaultValue || e.checked !== e.defaultChecked)
  // Idiomorph's `ignoreActiveValue` leaves the children of a button as they are, too, when it has the focus
  const isTyping = () => !!document.activeElement?.matches('input, select, textarea, [contenteditable]')
  const callbacks = {
    beforeNodeMorphed(old, fresh) {
      if (old.nodeType !== Node.ELEMENT_NODE) return true
      if (isDirty(old) || old.matches(PART)) return false // A part within a part is its own
      if (old.localName !== 'svg' || fresh.localName !== 'svg') return true
      for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name)
      for (const { name, value } of fresh.attributes) old.setAttribute(name, value)
      old.innerHTML = fresh.innerHTML // Ids of figures repeat: what has the same one need not be the same
      return false
    },
    // Where `display.js` has drawn: it draws over it what has changed
    beforeNodeRemoved: old => !(old.nodeType === Node.ELEMENT_NODE && old.matches('[data-nbws-drawn]')),
  }
  const runScripts = async element => { // They do not run by being put in
    for (const old of element.querySelectorAll('script')) {
      if (old.type && !/javascript|module/.test(old.type)) continue
      const script = document.createElement('script')
      for (const { name, value } of old.attributes) script.setAttribute(name, value)
      if (script.src && [...document.scripts].some(s => s !== old && s.src === script.src)) continue
      script.textContent = old.textContent
      const done = script.src && new Promise(ok => { script.onload = script.onerror = ok })
      script.async = false
      old.replaceWith(script)
      if (done) await done
    }
  }
  const put = async (element, html) => {
    const template = document.createElement('template')
    template.innerHTML = html
    if (window.Idiomorph)
      Idiomorph.morph(element, template.content,
        { morphStyle: 'innerHTML', ignoreActiveValue: isTyping(), callbacks })
    else element.replaceChildren(template.content)
    if (window.htmx) htmx.process(element)
    if (window.nbws && window.nbws.measure) window.nbws.measure()
    await runScripts(element)
  }

  const withNumbers = (html, numbers) => { // What has changed: see `changed_numbers`
    const each = numbers.split(',')
    let n = 0
    return html.replace(/-?[0-9]+(?:\.[0-9]+)?/g, old => each[n++] || old)
  }

  // One app's socket
  const makeLine = folder => {
    const shown = new Map() // By key: { ref, elements, inputs, number, html, digest, drawing, painted, told... }
    const byRef = new Map()
    let socket = null, tries = 0, refs = 0, heard = 0, timer = 0, opened = false
    const say = message => {
      if (!socket || socket.readyState !== 1) return false
      socket.send(JSON.stringify(message))
      return true
    }
    const show = part => {
      const [element] = part.elements
      const versions = new Set(part.elements.map(e => e.getAttribute('data-nbws-version') || ''))
      const values = valuesFor(part.inputs)
      part.waiting = 0
      part.digest = ''
      part.told = JSON.stringify(values)
      say({
        show: part.ref, part: tokenOf(element), values,
        version: versions.size === 1 ? [...versions][0] : '', // One of them may be older: all are to be the newest
      })
    }
    const paint = async part => { // One after the other: the scripts of the one before may take their time to load
      const { html, version, waiting } = part
      Object.assign(part, { waiting: 0, drawing: false, painting: true, painted: true })
      requestAnimationFrame(() => { part.painted = false })
      try {
        for (const element of part.elements) {
          await put(element, html)
          element.setAttribute('data-nbws-version', version)
        }
      } finally {
        part.painting = false
        for (let n = 0; n < waiting; n++) say({ shown: part.ref })
        if (part.drawing) next(part)
      }
    }
    const next = part => part.painted ? requestAnimationFrame(() => paint(part)) : paint(part)
    const draw = part => { // Once a frame, and only while it is seen: until then nothing more is sent
      if (part.drawing) return
      part.drawing = true
      if (!part.painting) next(part)
    }
    const receive = text => {
      heard = Date.now()
      if (text[0] === '{') {
        const told = JSON.parse(text), part = byRef.get(told.ref)
        if (told.as && part) part.number = told.as
        if (told.refresh !== undefined) refresh(told.refresh)
        return
      }
      const end = text.indexOf('\n'), body = text.slice(end + 1)
      const [number, version, digest, held] = text.slice(0, end).split(' ')
      for (const part of byRef.values()) {
        if (String(part.number) !== number) continue
        if (held && part.digest !== held && part.digest !== digest) {
          show(part) // What has changed is of no use to it
          continue
        }
        if (part.digest !== digest) part.html = held ? withNumbers(part.html, body) : body
        Object.assign(part, { digest, version: `${version} ${digest}`, waiting: part.waiting + 1 })
        draw(part)
      }
    }
    const page = () => {
      const root = new URL(folder).pathname.replace(/_nbws\/$/, '')
      return location.pathname.startsWith(root) ? location.pathname.slice(root.length - 1) : location.pathname
    }
    const open = () => {
      timer = 0
      if (socket || !shown.size) return
      const mine = socket = new (native())(`${folder.replace(/^http/, 'ws')}parts?page=${encodeURIComponent(page())}`)
      mine.onopen = () => {
        tries = 0
        opened = true
        heard = Date.now()
        for (const part of shown.values()) show(part)
      }
      mine.onmessage = e => socket === mine && receive(e.data)
      mine.onclose = () => lost(mine)
    }
    const lost = mine => {
      if (socket !== mine) return
      socket = null
      if (!opened && !window.nbwsSockets) load(base + 'sockets.js') // Which knows a way where no upgrades pass
      again()
    }
    const again = () => {
      if (timer || !shown.size) return
      timer = setTimeout(open, Math.min(5000, 100 * 2 ** tries++) * (.5 + Math.random() / 2))
    }
    const look = () => { // A line that is cut without a word is not closed by itself
      const silent = Date.now() - heard
      if (!socket || socket.readyState !== 1 || silent < QUIET) return
      if (silent > QUIET + PATIENCE) {
        const dead = socket
        dead.close()
        lost(dead)
      } else say({ ping: 1 })
    }
    setInterval(look, 5000)
    addEventListener('online', () => { tries = 0; again() })

    const scan = elements => {
      const now = new Map()
      for (const element of elements) {
        const key = keyOf(element)
        now.set(key, [...now.get(key) || [], element])
      }
      for (const [key, part] of shown)
        if (!now.has(key)) {
          shown.delete(key)
          byRef.delete(part.ref)
          say({ hide: part.ref })
        }
      for (const [key, found] of now) {
        const part = shown.get(key)
        if (part) {
          const fresh = found.some(element => !part.elements.includes(element))
          part.elements = found
          if (fresh) show(part) // It may have come with an older content
          continue
        }
        const added = {
          ref: ++refs, elements: found, inputs: inputsOf(found[0]), number: 0, html: '', digest: '', waiting: 0,
        }
        shown.set(key, added)
        byRef.set(added.ref, added)
        show(added)
      }
      if (!socket && shown.size && !timer) open()
    }
    const tell = part => { // At once, then once a frame: the last value counts
      const values = valuesFor(part.inputs), text = JSON.stringify(values)
      if (text === part.told || !say({ set: part.ref, values })) return
      part.told = text
      part.resting = true
      setTimeout(() => {
        part.resting = false
        tell(part)
      }, 16)
    }
    const moved = id => {
      for (const part of shown.values())
        if (Object.values(part.inputs).includes(id) && !part.resting) tell(part)
    }
    return { scan, moved }
  }

  // The page's elements
  let scanning = false
  const scan = () => {
    scanning = false
    const all = [...document.querySelectorAll(PART)]
    for (const [name, line] of lines) line.scan(all.filter(e => tokenOf(e).startsWith(name + '.')))
  }
  const scanSoon = () => {
    if (scanning) return
    scanning = true
    queueMicrotask(scan)
  }
  new MutationObserver(scanSoon).observe(document,
    { subtree: true, childList: true, attributes: true, attributeFilter: ['data-nbws-part'] })
  const input = ({ target }) => {
    if (!target.id) return
    const output = target.type === 'range' && target.nextElementSibling
    if (output && output.localName === 'output') output.textContent = target.value
    for (const line of lines.values()) line.moved(target.id)
  }
  for (const name of ['input', 'change']) document.addEventListener(name, input)

  // The program has said that the page, or an element of it, is another one now
  const refresh = async id => {
    if (window.nbws) return // Which hears of it, too
    const answer = await fetch(location.href, { headers: { 'NBWS-Refresh': '1' }, credentials: 'same-origin' })
    if (!answer.ok) return
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const old = id ? document.getElementById(id) : document.body
    const now = id ? fresh.getElementById(id) : fresh.body
    if (!old || !now) return
    if (!window.Idiomorph) {
      location.reload()
      return
    }
    Idiomorph.morph(old, now, { morphStyle: 'outerHTML', ignoreActiveValue: isTyping(),
      callbacks: { beforeNodeMorphed: e => !(e.nodeType === Node.ELEMENT_NODE && (isDirty(e) || e.matches(PART))) } })
    if (window.htmx) htmx.process(id ? document.getElementById(id) : document.body)
  }

  const add = (name, folder) => {
    if (!lines.has(name)) lines.set(name, makeLine(folder))
    scanSoon()
  }
  window.nbwsParts = { add }
  add(app, base)
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', idiomorph)
  else idiomorph()
})()
