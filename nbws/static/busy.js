// Pico's sign of work (`aria-busy`) on the element that htmx asks for, as long as it does.
(() => {
  const show = busy => event => event.detail.elt.setAttribute('aria-busy', busy)
  htmx.on('htmx:beforeRequest', show('true'))
  htmx.on('htmx:afterRequest', show('false'))
})()
