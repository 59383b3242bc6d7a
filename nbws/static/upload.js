// How far an upload is: `UploadProgress` in a form that htmx sends. See `nbws.ui.progress`.
(() => {
  if (window.nbwsUpload) return
  window.nbwsUpload = true
  const bars = event => event.target.querySelectorAll ? event.target.querySelectorAll('.upload-progress') : []
  const show = (event, act) => {
    for (const bar of bars(event)) act(bar, bar.querySelector('progress'), bar.querySelector('output'))
  }
  const told = status => {
    if (status === 413) return 'It is too large.'
    return status ? `It was refused (${status}).` : 'The connection broke.'
  }
  document.addEventListener('htmx:xhr:loadstart', e => show(e, (bar, progress, output) => {
    bar.hidden = progress.hidden = false
    progress.value = 0
    output.textContent = ''
  }))
  document.addEventListener('htmx:xhr:progress', e => {
    const { loaded, total, lengthComputable } = e.detail
    if (lengthComputable && total) show(e, (bar, progress) => { progress.value = 100 * loaded / total })
  })
  document.addEventListener('htmx:afterRequest', e => show(e, (bar, progress, output) => {
    if (e.detail.successful) bar.hidden = true
    else {
      progress.hidden = true
      output.textContent = told(e.detail.xhr ? e.detail.xhr.status : 0)
      bar.hidden = false
    }
  }))
})()
