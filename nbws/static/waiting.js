// A page of the Jupyter server, shown where an app is not to be reached now: tries again, and goes where the notebook's
// app is served by another kernel. It is written into the page itself (nbws/jupyter/explain.py): nobody serves files
// at its address.
(() => {
  const { prefix } = JSON.parse(document.querySelector('script[type="application/json"]').textContent)
  let wait = 500 // Milliseconds

  const elsewhere = async () => { // The notebook may have another kernel now; `nbws.js` has kept its name
    let notebook = ''
    try { notebook = sessionStorage.getItem('nbws ' + prefix) } catch { /* A sandboxed page has none */ }
    if (!notebook) return undefined
    const answer = await fetch(prefix + '/~notebook?path=' + encodeURIComponent(notebook))
    const path = answer.ok && (await answer.json()).path
    return path && path !== prefix ? path + location.href.slice((location.origin + prefix).length) : undefined
  }
  const look = async () => {
    try {
      const answer = await fetch(location.href, { method: 'HEAD', headers: { Accept: 'text/html' } })
      if (![404, 502, 503].includes(answer.status)) return location.reload()
      const url = answer.status === 404 && await elsewhere()
      if (url) return location.replace(url)
    } catch { /* Jupyter is away, too: the next time */ }
    wait = Math.min(wait * 1.3, 5000)
    return setTimeout(look, wait)
  }
  setTimeout(look, wait)
})()
