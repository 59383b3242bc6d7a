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

  // Height: the notebook's iframe follows the content.
  const framed = window.parent !== window
  const measure = () => {
    if (!framed || !document.body) return
    const needed = dialog.hidden ? 0 : Math.min(dialog.scrollHeight + 24, 600) // A small page makes room for its error
    parent.postMessage({ nbws: 'height', height: Math.ceil(Math.max(document.documentElement.offsetHeight, needed)) + 2 }, '*')
  }
  addEventListener('message', e => { if (e.source === parent && e.data && e.data.nbws === 'measure') measure() })
  addEventListener('load', measure)
  new ResizeObserver(measure).observe(document.documentElement)

  // The page's own sockets are watched, to know when they need help to come back.
  const Native = window.WebSocket // Which `sockets.js` watches
  const { htmxs } = nbwsSockets // Those come back by themselves
  const watched = new Set()
  window.WebSocket = new Proxy(Native, { construct(target, args) {
    const socket = new target(...args)
    watched.add(socket)
    socket.addEventListener('close', e => {
      watched.delete(socket)
      if (e.code !== 1000 && e.code !== 1005 && !htmxs.has(socket)) nbws.lost.push(socket)
    })
    return socket
  } })

  // Some changes take effect only where a page is loaded again, perhaps at another address. What was typed into it stays.
  const dirty = e => (e.localName === 'textarea' || e.localName === 'input') && (e.value !== e.defaultValue || e.checked !== e.defaultChecked)
  const boxes = () => [...document.querySelectorAll('textarea, input:not([type=file], [type=password])')]
  const memory = address => 'nbws typed ' + new URL(address, location).pathname
  const keepFor = address => {
    const typed = boxes().map((e, i) => dirty(e) && [i, e.name, e.value, e.checked]).filter(Boolean)
    const focus = boxes().indexOf(document.activeElement)
    try { sessionStorage.setItem(memory(address), JSON.stringify({ typed, focus })) } catch (e) {} // A sandbox has no memory
  }
  const startAnew = () => {
    keepFor(location)
    location.reload()
  }
  document.addEventListener('DOMContentLoaded', () => {
    let kept
    try {
      kept = JSON.parse(sessionStorage.getItem(memory(location)))
      sessionStorage.removeItem(memory(location))
    } catch (e) {}
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
  const refresh = async ({ files } = {}) => {
    if (files && files.every(name => name.endsWith('.css'))) return restyle(files)
    dismiss()
    if (!window.htmx || files && files.some(name => name.endsWith('.js'))) return startAnew()
    const answer = await fetch(location.href, { headers: { 'NBWS-Refresh': '1' }, credentials: 'same-origin' })
    if (!answer.ok) return
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html')
    if (!window.Idiomorph) await load(base + '/_nbws/idiomorph-ext.min.js')
    const { made = 0, at = nbws.since } = (fresh.querySelector('script[data-boot]') || { dataset: {} }).dataset
    Object.assign(nbws, { made, since: at })
    document.title = fresh.title
    Idiomorph.morph(document.body, fresh.body, { morphStyle: 'outerHTML', ignoreActiveValue: true,
      callbacks: { beforeNodeMorphed: old => !(old.nodeType === 1 && dirty(old)) } })
    htmx.process(document.body)
    measure()
  }

  // Behind a Jupyter server: which notebook is this page of? A kernel's id ends with its Jupyter server, a notebook's name does not.
  const door = (base.match(/^.*\/nbws\/[\w-]+(~\w+)?(\/~[\w-]+)?/) || [])[0]
  const here = door && new URL(door).pathname
  const sandboxed = self.origin === 'null'
  const outside = window.nbwsOutside || { fetch: (...args) => fetch(...args), leave: url => location.replace(url) }
  const ask = async () => {
    const path = nbws.notebook ? '?path=' + encodeURIComponent(nbws.notebook) : ''
    const answer = await outside.fetch(door + '/~notebook' + path, { signal: AbortSignal.timeout(3000) })
    if (answer.status === 403 || (answer.redirected && answer.url.includes('login'))) return { out: true }
    if (!answer.ok || answer.redirected) return {}
    const known = await answer.json()
    nbws.notebook = known.notebook
    try { sessionStorage.setItem('nbws ' + here, known.notebook) } catch (e) {} // For Jupyter's page at this address
    return known
  }
  const learn = () => { if (door && !sandboxed && !document.hidden) ask().catch(() => {}) }
  document.addEventListener('visibilitychange', learn) // It may have been renamed in another tab

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
      keepFor(there)
      outside.leave(there)
      return false
    }
    slow = Boolean(known.out || known.kernel === false)
    if (known.out) say('you are logged out of Jupyter', 'Log in again', logIn)
    else if (known.kernel === false) say('the kernel has ended: run the notebook again')
    else say(known.kernel && !known.path ? 'reconnecting: run the cell with serve()' : 'reconnecting')
    return Boolean(known.path)
  }
  // The login page belongs into a tab: this one, or a new one from which this frame sees that it may come in again
  const logIn = () => { if (framed) open(location.href); else location.reload() }

  // The line to the process. It answers at once unless a C call holds the interpreter; then the page says so.
  let tries = 0, waiting = 0, slow = false
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
    const line = new Native(base.replace(/^http/, 'ws') + '/_nbws/live?made=' + nbws.made + '&since=' + nbws.since + '&page=' + encodeURIComponent(page))
    const ping = setInterval(() => {
      if (line.readyState !== 1 || waiting) return
      waiting = setTimeout(() => {
        say('the ' + nbws.peer + ' is busy')
        nbwsSockets.doubt(line) // Unless nobody is there any more at its other end: then it closes, and another is tried
      }, 1000)
      line.send('{"type": "ping"}')
    }, 2000)
    line.onopen = () => { tries = 0; learn() }
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
