// The front end of a widget, in anywidget's form: it shows an output where nothing but widget messages reaches the
// kernel, as in VS Code and marimo. iframes.js runs in the output as it does elsewhere, and lets a page go over these
// messages where no port answers. All views of an output share the widget, so each message has the name of the page
// that it is from or for: nbws/notebook/widget.py.
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
    model.off('msg:custom', listen)
    ended(message.ended)
  }
  // A front end may send the whole of what a view is a part of
  const send = (content, buffers = []) =>
    model.send({ page, ...content }, undefined, buffers.map(bytes => bytes.slice().buffer))
  model.on('msg:custom', listen)
  send({ open: data })
  return {
    piece: PIECE,
    send,
    close() {
      model.off('msg:custom', listen)
      send({ close: true })
    },
  }
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
    window.nbwsWidget = { root: el, open: opener(model) } // For the scripts, which run at once
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
