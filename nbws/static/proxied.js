// The rest of way-jupyter.js, run in the notebook's page: the address of an app behind the Jupyter server, for an
// iframe of the notebook that it was served in, or a ticket for a sandboxed one.
(() => {
  const sleep = ms => new Promise(done => setTimeout(done, ms))
  const xsrfToken = () => (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || [])[1] || ''
  const shownNotebook = async frame => { // The notebook that this output stands in, as Jupyter names it; '': unknown
    const alone = location.pathname.match(/\/(?:notebooks|doc\/tree)\/(.*\.ipynb)$/)
    if (alone) return decodeURIComponent(alone[1])
    const panel = frame.closest('.jp-NotebookPanel')
    const named = text => text.match(/^[^:：]*[:：]\s*(.*\.ipynb)$/) // `Path: a/b.ipynb`
    for (let n = 0; panel && n < 30; n++) { // JupyterLab writes it on the tab a little later
      const tab = document.querySelector('.lm-TabBar-tab[data-id="' + CSS.escape(panel.id) + '"]')
      const told = tab ? tab.title.split('\n').map(named).filter(Boolean) : []
      if (told.length) return told.pop()[1]
      await sleep(50)
    }
    return ''
  }
  const refuseCopies = async (at, frame) => { // The copy of a notebook shows what was saved: the app of the original
    const mine = await shownNotebook(frame), answer = mine && await fetch(at + '/~notebook').catch(() => null)
    const theirs = answer && answer.ok && (await answer.json().catch(() => ({}))).notebook || ''
    const withoutDrive = path => path.replace(/^\w+:/, '')
    if (!theirs || withoutDrive(theirs) === withoutDrive(mine)) return
    throw new Error('the app that was saved here is that of ' + theirs)
  }

  // Throws what a person is to be told
  window.nbwsProxied = async (facts, at, path, frame) => {
    await refuseCopies(at, frame)
    if (!facts.sandbox) return at + path
    const answer = await fetch(at + '/~ticket', { method: 'POST', headers: { 'X-XSRFToken': xsrfToken() } })
    if (!answer.ok) throw new Error('Jupyter issued no ticket (' + answer.status + ')')
    return at + '/' + (await answer.json()).path.slice(0, -1) + path
  }
})()
