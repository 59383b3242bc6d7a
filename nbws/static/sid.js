// The id of a browser's window, kept as long as the window is: htmx sends it in every query as `sid`.
(() => {
  const KEY = 'sid'
  const hex = byte => byte.toString(16).padStart(2, '0')
  const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map(hex).join('')
  if (!sessionStorage.getItem(KEY)) sessionStorage.setItem(KEY, random())
  htmx.on('htmx:configRequest', event => {
    const url = new URL(event.detail.path, location.href)
    if (url.origin !== location.origin) return // It is nobody else's business
    url.searchParams.set(KEY, sessionStorage.getItem(KEY))
    event.detail.path = url.pathname + url.search
  })
})()
