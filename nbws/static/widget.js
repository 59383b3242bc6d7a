// The front end of a widget, in anywidget's form: it shows an output where nothing but widget messages reaches the
// kernel, as in VS Code and marimo. iframes.js runs in the output as it does elsewhere, and takes this way last. All
// views of an output share the widget, so each message has the name of the page that it is from or for:
// nbws/notebook/widget.py.
const PIECE = 2 ** 15 // Bytes of a request's body in one message: VS Code takes no message of more than 64 KiB

const bytesOf = buffer => Array.isArray(buffer) ? Uint8Array.from(buffer) // Some front ends have numbers for bytes
  : new Uint8Array(buffer.buffer || buffer, buffer.byteOffset || 0, buffer.byteLength)

// Resolves with a way to send messages, which the kernel answers or ends
const opener = model => async (data, heard, ended) => {
  const page = [...crypto.getRandomValues(new Uint32Array(4))].join('-') // `randomUUID` wants https or localhost
  const listen = (message, buffers = []) => {
    if (message.page !== page) return
    if (message.ended === undefined) {
      heard(message, buffers.map(bytesOf))
      return
    }
    leave()
    ended(message.ended)
  }
  const leave = () => model.off('msg:custom', listen)
  // A front end may send the whole of what a view is a part of
  const send = (content, buffers = []) =>
    model.send({ page, ...content }, undefined, buffers.map(bytes => bytes.slice().buffer))
  send({ open: data })
  model.on('msg:custom', listen)
  return {
    piece: PIECE,
    send(content, buffers) {
      try {
        send(content, buffers)
      } catch { // JupyterLab has none to send to once the kernel has started again
        leave()
        ended('')
      }
    },
    close() {
      leave()
      try { send({ close: true }) } catch { /* The same */ }
    },
  }
}

let silent = false // In VS Code: an iframe has heard nothing from there
const speaks = (url, frame) => new Promise(done => { // VS Code may let pages frame what they cannot fetch
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

// One of the ways of iframes.js
const wayOf = begin => async ({ run, say, facts, frame, path, base }) => {
  const { port, around, sandbox, version, token, waits } = facts
  const url = 'http://127.0.0.1:' + port + (around || []).join(path)
  if (location.protocol === 'vscode-webview:' && port && !silent && await speaks(url, frame)) return ['direct', url]
  if (sandbox) return null
  const late = setTimeout(say, 3000, waits)
  const { script } = await new Promise((ok, no) => { // It ends once it has said that
    begin({ version, token }, ok, reason => no(new Error(reason)))
  }).finally(() => clearTimeout(late))
  run(script)
  await window.nbwsChannel.show(frame, facts, path, base, begin)
  return ['widget']
}

const render = ({ model, el }) => {
  let gone = false
  el.innerHTML = model.get('html')
  const run = () => {
    if (gone) return
    if (!el.isConnected) { // A script runs once it is in the page, and some front ends put it there after this
      setTimeout(run, 20)
      return
    }
    const before = el.closest('.jp-OutputArea-child')?.previousElementSibling
    if (before?.querySelector('[data-nbws-again]')) before.style.display = 'none' // It is here, in JupyterLite
    window.nbwsWidget = { root: el, last: [wayOf(opener(model))] } // For the scripts, which run at once
    for (const script of el.querySelectorAll('script:not([type])'))
      script.replaceWith(Object.assign(document.createElement('script'), { textContent: script.textContent }))
    delete window.nbwsWidget
  }
  run()
  return () => { // Its pages see that they are gone
    gone = true
    el.textContent = ''
  }
}

export default { render }
