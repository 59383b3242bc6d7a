// What pages written for FastHTML call: one element or all by selector, elements made of text or of parts, a function
// for each element that htmx brings, a form sent by script. Loaded after htmx: see `nbws.web.pages`.
// And the element of figures, which loads what draws it.
(() => {
  if (window._$) return
  const one = (selector, root = document) => root.querySelector(selector)
  const all = (selector, root = document) => root.querySelectorAll(selector)

  const parsed = (texts, ...values) => { // A tagged template: $H`<p>${text}</p>`
    const holder = document.createElement('div')
    holder.innerHTML = String.raw({ raw: texts }, ...values.map(value => value ?? '')).trim()
    return holder.firstElementChild
  }

  const setAttribute = (element, name, value) => {
    if (name === 'className' || name === 'cls') element.className = value
    else if (name === 'style' && typeof value === 'object') Object.assign(element.style, value)
    else if (name === 'dataset') Object.assign(element.dataset, value)
    else if (name.startsWith('on') && typeof value === 'function') element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value)
  }
  const made = (tag, attributes = {}, children = []) => { // $E('p', {cls: 'note'}, ['text', ['b', {}, 'bold']])
    if (typeof tag !== 'string') return tag
    const element = document.createElement(tag)
    for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value)
    element.append(...[children].flat(1).map(child => Array.isArray(child) ? made(...child) : child))
    return element
  }

  const procHtmx = (selector, act) => htmx.onLoad(root => {
    const found = [...htmx.findAll(root, selector)]
    if (root.matches(selector)) found.unshift(root)
    found.forEach(act)
  })

  const domReadyExecute = act => {
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', act)
    else act()
  }

  const sendMultipart = async (path, context = {}, verb = 'POST') => {
    const form = parsed`<form hidden hx-encoding="multipart/form-data"></form>`
    document.body.append(form)
    try { await htmx.ajax(verb, path, { ...context, source: form }) } finally { form.remove() }
  }

  const here = document.currentScript.src
  let drawing = null // `display.js` on its way, or there
  const loadDisplay = () => new Promise((onload, onerror) => {
    const src = here.replace(/fasthtml\.js.*$/, 'display.js')
    document.head.append(Object.assign(document.createElement('script'), { src, onload, onerror }))
  })
  class Display extends HTMLElement {
    connectedCallback() {
      if (!this.dataset.draw) return // HTML, which needs nothing
      drawing ||= loadDisplay()
      drawing.then(() => { if (this.isConnected) window.nbwsDisplay.show(this) }, () => { drawing = null })
    }
    disconnectedCallback() { // Perhaps it is only moved
      queueMicrotask(() => { if (!this.isConnected && window.nbwsDisplay) window.nbwsDisplay.end(this) })
    }
  }
  if (!customElements.get('nbws-display')) customElements.define('nbws-display', Display)

  Object.assign(window, { _$: one, _$$: all, $H: parsed, $E: made, proc_htmx: procHtmx, domReadyExecute,
    hx_multipart: sendMultipart })
})()
