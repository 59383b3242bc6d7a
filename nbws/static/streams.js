// htmx processes an element anew when its attributes have changed: a script has set a class, or the page's cell has run
// again. Its extension `sse` then makes another EventSource for it, and leaves the one that is there open, or adds its
// listeners a second time: each event would come twice. The element keeps its source instead, unless it names another
// address now, and its listeners are added once.
// Every page with htmx's event streams loads this, before htmx.
(() => {
  if (window.nbwsStreams) return
  const CONNECTS = '[sse-connect], [data-sse-connect]'
  const LISTENS = '[sse-swap], [data-sse-swap], [hx-trigger], [data-hx-trigger]'
  const made = new WeakMap() // The source and its address, by element
  const listeners = new WeakMap() // What listens for an element: lists of { source, name, act }
  let processed = null // The element for which the extension makes and adds them

  const ownerOf = act => // The extension adds listeners again after a source was lost, too
    [...document.querySelectorAll(LISTENS)].find(e => (e['htmx-internal-data'] || {}).sseEventListener === act)
  const note = (source, name, act) => {
    const owner = processed || ownerOf(act)
    if (!owner) return
    const others = (listeners.get(owner) || []).filter(l => l.source.readyState !== 2)
    listeners.set(owner, [...others, { source, name, act }])
  }
  const move = (element, before, source) => { // What is in the element is not processed anew with it
    for (const child of element.querySelectorAll('*'))
      for (const listener of listeners.get(child) || []) {
        if (listener.source !== before) continue
        EventTarget.prototype.addEventListener.call(source, listener.name, listener.act)
        listener.source = source
      }
    before.close()
  }

  document.addEventListener('htmx:afterProcessNode', e => { // The extension hears of it after the document
    const element = e.target
    if (!made.has(element) && !listeners.has(element) && !element.matches(`${CONNECTS}, ${LISTENS}`)) return
    for (const { source, name, act } of listeners.get(element) || []) source.removeEventListener(name, act)
    listeners.delete(element)
    if (made.has(element) && !element.matches(CONNECTS)) {
      made.get(element).source.close()
      made.delete(element)
    }
    processed = element
    queueMicrotask(() => { processed = null })
  }, true)
  document.addEventListener('htmx:sseOpen', e => { // Perhaps it is a second attempt's, by a timer
    const { source } = e.detail, before = made.get(e.target)
    if (before && before.source !== source) before.source.close()
    const url = e.target.getAttribute('sse-connect') || e.target.getAttribute('data-sse-connect')
    made.set(e.target, { source, url })
  }, true)

  const adopt = () => { // The htmx extension, once it is there
    if (!window.htmx || !htmx.createEventSource) return
    const { createEventSource } = htmx
    htmx.createEventSource = url => {
      const element = processed, before = element && made.get(element)
      if (before && before.url === url && before.source.readyState !== 2) return before.source
      const source = createEventSource(url)
      source.addEventListener = (name, act, ...more) => {
        note(source, name, act)
        EventTarget.prototype.addEventListener.call(source, name, act, ...more)
      }
      if (before) move(element, before.source, source)
      if (element) made.set(element, { source, url })
      return source
    }
  }
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', adopt); else adopt()
  window.nbwsStreams = true
})()
