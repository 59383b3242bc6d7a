// Runs in a cell's output: gives the iframes above it the address of their page, and the height that the page asks for.
// An output is shown in many places: in Jupyter with nbws's proxy or without, in VS Code, in Colab, and as a saved page
// with nothing behind it. So Python writes this code into each output, behind an element with what it has to know, in
// JSON (nbws/notebook/iframes.py). Not every front end runs a script in its place: it looks for the element itself.
(() => {
  const sleep = ms => new Promise(done => setTimeout(done, ms))
  const take = selector => { // What another view of this output has taken stays as it is
    const found = [...document.querySelectorAll(selector)].filter(e => !('nbwsTaken' in e.dataset))
    for (const e of found) e.dataset.nbwsTaken = ''
    return found
  }

  // What Jupyter's own page tells
  const jupyterBase = () => {
    const config = document.getElementById('jupyter-config-data')
    try { return JSON.parse(config.textContent).baseUrl } catch { return undefined }
  }
  const xsrfToken = () => (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || [])[1] || ''
  const shownNotebook = async frame => { // The notebook that this output stands in, as Jupyter names it; '': unknown
    const alone = location.pathname.match(/\/(?:notebooks|doc\/tree)\/(.*\.ipynb)$/)
    if (alone) return decodeURIComponent(alone[1])
    const panel = frame && frame.closest('.jp-NotebookPanel')
    const named = text => text.match(/^[^:：]*[:：]\s*(.*\.ipynb)$/) // `Path: a/b.ipynb`
    for (let n = 0; panel && n < 30; n++) { // JupyterLab writes it on the tab a little later
      const tab = document.querySelector('.lm-TabBar-tab[data-id="' + CSS.escape(panel.id) + '"]')
      const told = tab ? tab.title.split('\n').map(named).filter(Boolean) : []
      if (told.length) return told.pop()[1]
      await sleep(50)
    }
    return ''
  }

  const isOurs = async url => {
    try { return (await fetch(url)).headers.has('x-nbws') } catch { return false }
  }
  const answers = async url => {
    try {
      await fetch(url + '/_nbws/nbws.js', { mode: 'no-cors' })
      return true
    } catch { return location.protocol === 'vscode-webview:' } // There it says nothing about what may be framed
  }
  const refuseCopies = async (at, frame) => { // The copy of a notebook shows what was saved: the app of the original
    const mine = await shownNotebook(frame), answer = mine && await fetch(at + '/~notebook').catch(() => null)
    const theirs = answer && answer.ok && (await answer.json().catch(() => ({}))).notebook || ''
    const withoutDrive = path => path.replace(/^\w+:/, '')
    if (!theirs || withoutDrive(theirs) === withoutDrive(mine)) return
    throw new Error('Run this cell to see the page. The app that was saved here is that of ' + theirs + '.')
  }

  // How the app is reached from this page, and the address for the iframe. Throws what a person is to be told.
  const throughJupyter = async (facts, base, path) => {
    const at = base + 'nbws/' + facts.segment
    if (!facts.sandbox) return ['proxied', at + path]
    const answer = await fetch(at + '/~ticket', { method: 'POST', headers: { 'X-XSRFToken': xsrfToken() } })
    if (!answer.ok) throw new Error('Jupyter issued no ticket (' + answer.status + ')')
    return ['proxied', at + '/' + (await answer.json()).path.slice(0, -1) + path]
  }
  const toPort = async (facts, base, path) => {
    const { port, token, parameter, sandbox } = facts
    if (!port) throw new Error('Run this cell in JupyterLab or Jupyter Notebook to see the page. '
      + 'For other front ends, serve(port=0) gives the page an address of its own.')
    let asked = path
    if (token) asked = sandbox ? '/~' + token + path : path + (path.includes('?') ? '&' : '?') + parameter + '=' + token
    const other = base + 'proxy/' + port
    if (base && !sandbox && await isOurs(other + '/')) return ['jupyter-server-proxy', other + asked]
    const colab = window.google && window.google.colab && window.google.colab.kernel
    if (colab) return ['colab', (await colab.proxyPort(port, { cache: true })).replace(/\/$/, '') + asked]
    const at = 'http://' + (location.hostname === 'localhost' ? 'localhost' : '127.0.0.1') + ':' + port
    if (!await answers(at)) throw new Error('Run this cell to see the page: nothing answers at ' + at
      + ' now. If it has just run, Jupyter is on another machine than this browser: install nbws beside Jupyter, '
      + 'or forward the port ' + port + '. app.doctor() tells more.')
    return ['direct', at + asked]
  }

  const locate = async (facts, frames, say) => {
    try {
      const base = jupyterBase()
      for (const [i, frame] of frames.entries()) { // Frames side by side are visitors of their own
        const path = (i ? facts.visitor + (i + 1) : '') + facts.path
        const proxied = base && facts.segment
        if (proxied && !i) await refuseCopies(base + 'nbws/' + facts.segment, frame)
        const [way, url] = await (proxied ? throughJupyter : toPort)(facts, base, path)
        frame.dataset.way = way
        frame.src = url
      }
      say('')
    } catch (e) {
      say(e.message)
      for (const frame of frames) if (!frame.src) frame.style.display = 'none'
    }
  }

  const fit = (frames, most) => { // `most`: pixels
    addEventListener('message', e => {
      if (!e.data || e.data.nbws !== 'height') return
      const height = Math.min(e.data.height, most) + 'px'
      for (const frame of frames) if (frame.contentWindow === e.source) frame.style.height = height
    })
    for (const frame of frames)
      frame.addEventListener('load', () => frame.contentWindow.postMessage({ nbws: 'measure' }, '*'))
  }

  for (const element of take('script[data-nbws-facts]')) {
    const facts = JSON.parse(element.textContent)
    const frames = take(`iframe[data-nbws="${facts.id}"]`), lines = take(`[data-nbws-line="${facts.id}"]`)
    if (facts.maxHeight) fit(frames, facts.maxHeight)
    locate(facts, frames, text => {
      for (const line of lines) {
        line.textContent = text
        line.hidden = !text
      }
    })
  }
})()
