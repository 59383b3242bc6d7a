// The rest of way-jupyter.js, run in the notebook's page: the address of an app behind the Jupyter server, for an
// iframe of the notebook that it was served in, or a ticket for a sandboxed one.
(() => {
  const xsrfToken = () => (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || [])[1] || ''
  const refuseCopies = async (at, frame, segment) => {
    const answer = window.nbwsRefuseCopies ? null : await fetch(at + '/_nbws/copies.js').catch(() => null)
    if (answer?.ok)
      document.head.append(Object.assign(document.createElement('script'), { textContent: await answer.text() }))
    await window.nbwsRefuseCopies?.(frame, at.slice(0, -('nbws/' + segment).length), segment.split('~')[0])
  }

  // Throws what a person is to be told
  window.nbwsProxied = async (facts, at, path, frame) => {
    await refuseCopies(at, frame, facts.segment)
    if (!facts.sandbox) return at + path
    const answer = await fetch(at + '/~ticket', { method: 'POST', headers: { 'X-XSRFToken': xsrfToken() } })
    if (!answer.ok) throw new Error('Jupyter issued no ticket (' + answer.status + ')')
    return at + '/' + (await answer.json()).path.slice(0, -1) + path
  }
})()
