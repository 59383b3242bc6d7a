// Run in the notebook's page, for proxied.js and channel.js: the copy of a notebook has what was saved in the original,
// and is not to show its app. Jupyter tells of which notebooks a kernel is; several may share it.
window.nbwsRefuseCopies ||= (() => {
  const sleep = ms => new Promise(done => setTimeout(done, ms))
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
  const withoutDrive = path => path.replace(/^\w+:/, '')

  // Throws what a person is to be told
  return async (frame, base, kernel) => {
    const mine = await shownNotebook(frame), answer = mine && await fetch(base + 'api/sessions').catch(() => null)
    const sessions = answer && answer.ok && await answer.json().catch(() => null) || []
    const theirs = sessions.filter(({ type, kernel: its }) => type === 'notebook' && its?.id === kernel)
    if (!theirs.length || theirs.some(({ path }) => withoutDrive(path) === withoutDrive(mine))) return
    throw new Error('the app that was saved here is that of ' + theirs[0].path)
  }
})()
