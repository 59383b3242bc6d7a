// Where short messages to the visitor appear: the app sends them with an answer, see `nbws.fasthtml.toaster`.
(() => {
  const ID = 'fh-toast-container'
  htmx.onLoad(() => {
    if (document.getElementById(ID)) return
    const holder = document.createElement('div')
    holder.id = ID
    document.body.append(holder)
  })
  new MutationObserver(changes => { // A message leaves by itself after its time
    for (const { addedNodes } of changes)
      for (const node of addedNodes) {
        if (!node.matches?.('.fh-toast')) continue
        setTimeout(() => node.remove(), Number(node.dataset.duration))
        node.querySelector('.fh-toast-dismiss')?.addEventListener('click', () => node.remove())
      }
  }).observe(document.documentElement, { childList: true, subtree: true })
})()
