// What a chat wants: an input that is empty again once it has been sent and keeps the focus, a list that stays at its
// end until its reader scrolls up, a button that stops the answer on its way. See `nbws.ui.chat`.
(() => {
  if (window.nbwsChat) return
  window.nbwsChat = true
  const STOP = 'nbws stop', ASK = 'nbws done?', TOLD = 'nbws done' // See nbws/sockets/dispatch.py
  const NEAR = 24 // Pixels from the end of a list at which its reader is still at the end
  const within = (event, selector) => event.target.closest ? event.target.closest(selector) : null

  // The input
  const fieldOf = form => form.querySelector('.chat-field')
  const empty = form => {
    const field = fieldOf(form), { activeElement } = document
    if (!field) return
    field.value = ''
    if (form.contains(activeElement) || !activeElement || activeElement === document.body) field.focus()
  }
  document.addEventListener('htmx:wsConfigSend', e => {
    if (within(e, '.stop-button')) { e.detail.messageBody = STOP; return }
    const form = within(e, 'form.chat-input')
    if (!form || (e.detail.errors || []).length) return
    queueMicrotask(() => e.defaultPrevented || empty(form)) // By then its value is in the message
  })
  document.addEventListener('htmx:afterRequest', e => {
    const form = within(e, 'form.chat-input')
    if (form && e.detail.elt === form && e.detail.successful) empty(form)
  })
  document.addEventListener('keydown', e => { // In a field of several lines; not while an input method composes
    if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return
    const field = within(e, 'form.chat-input textarea.chat-field')
    if (!field) return
    e.preventDefault()
    field.form.requestSubmit()
  })

  // The list. Its end is in view from the beginning; a growing list never scrolls up by itself
  const lists = document.getElementsByClassName('chat-list')
  const places = new WeakMap() // How far a list is scrolled, and whether that is its end
  const follow = () => {
    for (const list of lists) {
      if ((places.get(list) || { end: true }).end) list.scrollTop = list.scrollHeight
      else continue
      places.set(list, { top: list.scrollTop, end: true })
    }
  }
  const scrolled = list => {
    const before = places.get(list) || { top: 0, end: true }, top = list.scrollTop
    const gap = list.scrollHeight - top - list.clientHeight // It may have grown since the reader began to scroll down
    const near = gap < (top > before.top ? list.clientHeight / 2 : NEAR)
    places.set(list, { top, end: near || (before.end && top >= before.top) })
  }
  document.addEventListener('scroll', e => {
    if (e.target.classList && e.target.classList.contains('chat-list')) scrolled(e.target)
  }, { capture: true, passive: true })
  document.addEventListener('load', follow, true) // An image in it has its size now
  window.addEventListener('resize', follow)
  new MutationObserver(follow).observe(document.documentElement,
    { childList: true, subtree: true, characterData: true })
  follow()

  // The stop button. After each message the page asks to be told when all of it is handled
  const CONNECTED = '[ws-connect],[data-ws-connect],[hx-ws],[data-hx-ws]'
  const waiting = new Map() // Elements with a socket, and how many answers each waits for
  const show = (holder, count) => {
    if (count) waiting.set(holder, count)
    else waiting.delete(holder)
    for (const button of holder.querySelectorAll('.stop-button')) {
      const field = document.activeElement === button && !count && holder.querySelector('.chat-field')
      button.disabled = !count
      if (field) field.focus() // The focus would be lost
    }
    if (!waiting.size) // Whatever ended: nothing is busy any more
      for (const part of document.querySelectorAll('.markdown [aria-busy]')) part.removeAttribute('aria-busy')
  }
  document.addEventListener('htmx:wsAfterSend', e => {
    const holder = within(e, CONNECTED)
    if (!holder || within(e, '.stop-button') || !holder.querySelector('.stop-button')) return
    e.detail.socketWrapper.sendImmediately(ASK)
    show(holder, (waiting.get(holder) || 0) + 1)
  })
  document.addEventListener('htmx:wsBeforeMessage', e => {
    if (e.detail.message !== TOLD) return
    e.preventDefault() // It is nothing to show
    show(e.target, Math.max(0, (waiting.get(e.target) || 0) - 1))
  })
  document.addEventListener('htmx:wsClose', e => show(e.target, 0))
})()
