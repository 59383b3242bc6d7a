// A page of a kernel behind a Jupyter server. Kernels come and go, and the name of their notebook stays: a page whose
// kernel has gone learns by it where the notebook's app is served now, and goes there.
// `nbws.js` loads this where its own address is below that of a kernel.
(() => {
  const { nbws } = window
  const here = new URL(nbws.kernelUrl).pathname
  const sandboxed = self.origin === 'null'
  const outside = window.nbwsOutside || { fetch: (...args) => fetch(...args), leave: url => location.replace(url) }

  let notebook = '' // Its path, as Jupyter has told it last
  const ask = async () => {
    const path = notebook ? '?path=' + encodeURIComponent(notebook) : ''
    const answer = await outside.fetch(nbws.kernelUrl + '/~notebook' + path, { signal: AbortSignal.timeout(3000) })
    if (answer.status === 403 || (answer.redirected && answer.url.includes('login'))) return { out: true }
    if (!answer.ok || answer.redirected) return {}
    const known = await answer.json()
    notebook = known.notebook
    try { sessionStorage.setItem('nbws ' + here, notebook) } catch { /* It is for `waiting.js`; a sandbox has none */ }
    return known
  }
  const learn = () => { if (!sandboxed && !document.hidden) ask().catch(() => {}) }

  // A page that leaves takes along what htmx has put into it: the next kernel does not know it.
  const within = (root, id) => root.querySelector('#' + CSS.escape(id))
  const moveTo = there => {
    const { sent, swapped, keepFor, remember } = nbws
    keepFor(there)
    const parts = [...swapped].map(id => [id, ...[sent, document.body].map(body => (within(body, id) || {}).outerHTML)])
    remember('swapped', there, { from: here, parts: parts.filter(([, was, now]) => was && now) })
    outside.leave(there)
  }
  const takeOver = async kept => {
    const fresh = document.implementation.createHTMLDocument()
    fresh.body.replaceWith(nbws.sent.cloneNode(true))
    await nbws.merging()
    for (const [id, ...texts] of kept.parts) {
      const [was, now] = texts.map(text => {
        const template = document.createElement('template')
        template.innerHTML = text.replaceAll(kept.from, here)
        return template.content.firstChild
      })
      const place = within(fresh.body, id)
      if (!place) continue
      nbws.swapped.add(id)
      nbws.merge(was, now, place)
    }
    nbws.become(fresh, nbws.sent)
  }
  const arrive = () => {
    const kept = nbws.recall('swapped')
    if (kept && window.htmx) takeOver(kept)
  }

  // The login page belongs into a tab: this one, or a new one from which this frame sees that it may come in again
  const logIn = () => {
    if (nbws.framed) open(location.href)
    else location.reload()
  }
  const tell = known => {
    if (known.out) nbws.say('you are logged out of Jupyter', 'Log in again', logIn)
    else if (known.kernel === false) nbws.say('the kernel has ended: run the notebook again')
    else nbws.say(known.kernel && !known.path ? 'reconnecting: run the cell with serve()' : 'reconnecting')
  }
  const canConnect = async () => {
    if (sandboxed) { // Its ticket has ended with the kernel or with Jupyter, and there is no other without a login
      const { status } = await fetch(nbws.base + '/_nbws/nbws.js', { method: 'HEAD' })
      if (![403, 404].includes(status)) return 'now'
      nbws.say('this page has expired: run its cell again')
      return 'later'
    }
    const known = await ask()
    if (known.path && known.path !== here) {
      moveTo(known.path + location.href.slice((location.origin + here).length))
      return 'later' // Sooner the next try would begin the navigation anew
    }
    tell(known)
    if (known.out) return 'later'
    return known.path ? 'now' : 'soon'
  }

  Object.assign(nbws, { canConnect, opened: learn })
  document.addEventListener('visibilitychange', learn) // The notebook may have been renamed in another tab
  if (nbws.sent) arrive()
  else document.addEventListener('DOMContentLoaded', arrive)
})()
