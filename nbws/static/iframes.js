// Runs in a cell's output: gives the iframes above it the address of their page, and the height that the page asks for.
// An output is shown in many places: in Jupyter with nbws's proxy or without, in VS Code, in Colab, and as a saved page
// with nothing behind it. So Python writes this code into each output, behind an element with what it has to know, in
// JSON (nbws/notebook/iframes.py). Not every front end runs a script in its place: it looks for the element itself.
(() => {
  const { root = document, open = null } = window.nbwsWidget || {} // Of a widget: its element, its way to the kernel
  const sleep = ms => new Promise(done => setTimeout(done, ms))
  const take = selector => { // What another view of this output has taken stays as it is
    const found = [...root.querySelectorAll(selector)].filter(e => !('nbwsTaken' in e.dataset))
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
  let silent = false // In VS Code: one of the iframes has heard nothing from there
  const answers = async (at, url, frame) => {
    try {
      await fetch(at + '/_nbws/nbws.js', { mode: 'no-cors' })
      return true
    } catch { return location.protocol === 'vscode-webview:' && !silent && await speaks(url, frame) }
  }
  const speaks = (url, frame) => new Promise(done => { // In VS Code more may be framed than fetched
    const late = setTimeout(() => {
      silent = true
      frame.removeAttribute('src')
      done(false)
    }, 5000)
    addEventListener('message', ({ source, data }) => {
      if (source !== frame.contentWindow || !data || data.nbws !== 'height') return
      clearTimeout(late)
      done(true)
    })
    frame.src = url
  })
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
  const toKernel = async (facts, base, path) => { // Where neither Jupyter nor its port leads there
    const url = (base || '/') + 'nbws-kernel/' + (facts.kernel || 'page') + path
    if (facts.sandbox) return null
    const answer = base && facts.kernel && await fetch(base + 'api/kernels/' + facts.kernel).catch(() => null)
    return answer && answer.ok ? ['kernel', url] : open && ['widget', url]
  }
  const throughColab = async (colab, port, asked) => {
    if (!colab.accessAllowed) throw new Error('Run this cell to see the page.') // The output was saved, maybe by others
    return ['colab', (await colab.proxyPort(port, { cache: false })).replace(/\/$/, '') + asked]
  }
  const toPort = async (facts, base, path, frame) => {
    const { port, token, parameter, sandbox } = facts
    if (!port) throw new Error('Run this cell in JupyterLab or Jupyter Notebook to see the page. '
      + 'For other front ends, serve(port=0) gives the page an address of its own.')
    let asked = path
    if (token) asked = sandbox ? '/~' + token + path : path + (path.includes('?') ? '&' : '?') + parameter + '=' + token
    const other = base + 'proxy/' + port
    if (base && !sandbox && await isOurs(other + '/')) return ['jupyter-server-proxy', other + asked]
    const colab = window.google && window.google.colab && window.google.colab.kernel
    if (colab) return throughColab(colab, port, asked)
    const at = 'http://' + (location.hostname === 'localhost' ? 'localhost' : '127.0.0.1') + ':' + port
    if (await answers(at, at + asked, frame)) return ['direct', at + asked]
    return await toKernel(facts, base, path) || noWay(at, port)
  }
  const noWay = (at, port) => {
    throw new Error('Run this cell to see the page: nothing answers at ' + at
      + ' now. If it has just run, Jupyter is on another machine than this browser: install nbws beside Jupyter, '
      + 'or forward the port ' + port + '. app.doctor() tells more.')
  }

  // The kernel's own messages, over a connection like JupyterLab's: pages come by these where its port is out of reach.
  // The comm's first message brings the script that shows a page (channel.js): it need not stand in each output.
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
  const openComm = async (base, facts, data, heard, ended) => { // Resolves with `send(data, buffers)`
    const session = unique(), comm = unique(), replies = new Map()
    const url = new URL(base + 'api/kernels/' + facts.kernel + '/channels?session_id=' + session, location.href)
    const socket = new WebSocket(url.href.replace(/^http/, 'ws'))
    socket.binaryType = 'arraybuffer'
    let subshell
    const send = (channel, type, content, buffers = []) => {
      const header = { msg_id: unique(), msg_type: type, session, username: '', version: '5.4',
                       date: new Date().toISOString(), subshell_id: channel === 'shell' ? subshell : undefined }
      socket.send(packed({ header, parent_header: {}, metadata: {}, content, channel, buffers: [] }, buffers))
      return header.msg_id
    }
    const ask = (type, content) => new Promise(done => replies.set(send('control', type, content), done))
    socket.onmessage = e => {
      const [message, buffers] = unpacked(e.data), { content, header } = message
      const reply = message.channel === 'control' && replies.get(message.parent_header.msg_id)
      if (reply) reply(content)
      const isNew = header.msg_type === 'status' && /starting/.test(content.execution_state) // The kernel
      if (isNew) socket.close()
      if (content.comm_id !== comm) return
      if (header.msg_type === 'comm_msg') heard(content.data, buffers)
      else if (header.msg_type === 'comm_close') ended(content.data.reason)
    }
    await new Promise((ok, no) => {
      socket.onopen = ok
      socket.onclose = () => {
        no(new Error('Run this cell to see the page: its kernel has ended.'))
        ended('')
      }
    })
    const { supported_features: features = [] } = await ask('kernel_info_request', {})
    if (features.includes('kernel subshells')) { // One for all that this tab shows
      const kept = 'nbws subshell ' + facts.kernel, { subshell_id: known } = await ask('list_subshell_request', {})
      subshell = known.includes(sessionStorage[kept]) ? sessionStorage[kept]
        : sessionStorage[kept] = (await ask('create_subshell_request', {})).subshell_id
    }
    send('shell', 'comm_open', { comm_id: comm, target_name: 'nbws.http', data })
    return {
      send: (content, buffers) => send('shell', 'comm_msg', { comm_id: comm, data: content }, buffers),
      close() {
        send('shell', 'comm_close', { comm_id: comm, data: {} })
        socket.close()
      },
    }
  }
  const throughKernel = async (facts, url, prefix, frame, say, begin) => {
    const late = setTimeout(say, 3000, 'Waiting for the kernel, which answers between cells in JupyterLite and before '
      + 'ipykernel 7.')
    const jar = sessionStorage['nbws jar'] ||= unique()
    const data = { version: 1, token: facts.token, prefix, jar }
    const connect = (heard, ended) => begin(data, heard, ended)
    let first = null
    const script = await new Promise((ok, no) => {
      const ended = reason => no(new Error('Run this cell to see the page' + (reason ? ': ' + reason : '') + '.'))
      connect(message => ok(message.script), ended).then(comm => { first = comm }, no)
    }).finally(() => clearTimeout(late))
    first.close()
    document.head.append(Object.assign(document.createElement('script'), { textContent: script }))
    await window.nbwsChannel.show(frame, url, prefix, connect)
  }

  const locate = async (facts, frames, say) => {
    try {
      const base = jupyterBase(), inBrowser = open && !facts.port && !facts.sandbox // The kernel: JupyterLite
      for (const [i, frame] of frames.entries()) { // Frames side by side are visitors of their own
        const path = (i ? facts.visitor + (i + 1) : '') + facts.path
        const proxied = base && facts.segment
        if (proxied && !i) await refuseCopies(base + 'nbws/' + facts.segment, frame)
        const [way, url] = await (proxied ? throughJupyter : inBrowser ? toKernel : toPort)(facts, base, path, frame)
        frame.dataset.way = way
        const begin = { kernel: (...how) => openComm(base, facts, ...how), widget: open }[way]
        if (begin) await throughKernel(facts, url, url.slice(0, -path.length), frame, say, begin)
        else if (frame.src !== url) frame.src = url
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
