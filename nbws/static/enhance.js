// Libraries that make something of elements, also of those that htmx brings: Markdown, formulas, code, diagrams and
// lists to sort. The script's attributes say which library and which elements: see `nbws.fasthtml.js`. The libraries
// come from a network of copies (CDN), when the page has loaded.
(() => {
  const data = document.currentScript.dataset
  const CDN = 'https://cdn.jsdelivr.net/npm/'
  const each = act => {
    const take = root => {
      const found = [...root.querySelectorAll(data.sel)]
      if (root.matches?.(data.sel)) found.unshift(root)
      found.filter(element => !element.dataset.enhanced).forEach((element, n) => {
        element.dataset.enhanced = data.use
        act(element, n)
      })
    }
    htmx.onLoad(take)
    take(document.body) // htmx has told of the page itself before the library came
  }
  const fail = (element, error) => {
    console.error(`${data.use} failed`, error)
    element.title = `${data.use} failed: ${error.message}`
  }

  const markdown = async () => {
    const { marked } = await import(`${CDN}marked/lib/marked.esm.js`)
    each(element => { element.innerHTML = marked.parse(element.textContent) })
  }

  const escaped = text => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const katex = async () => { // Formulas are taken out before Markdown sees them, and put back rendered
    const [{ marked }, { default: library }] = await Promise.all(
      [import(`${CDN}marked/lib/marked.esm.js`), import(`${CDN}katex@0.16/dist/katex.mjs`)])
    const [inline, display] = [escaped(data.inline), escaped(data.display)]
    const kinds = [[new RegExp(`${display}([\\s\\S]+?)${display}`, 'g'), true],
      [new RegExp(`(\\\\begin\\{(?:${data.envs})\\*?\\}[\\s\\S]+?\\\\end\\{(?:${data.envs})\\*?\\})`, 'g'), true],
      [new RegExp(`${inline}([^\\n]+?)${inline}`, 'g'), false]]
    each(element => {
      const formulas = []
      let text = element.textContent
      for (const [pattern, displayMode] of kinds)
        text = text.replace(pattern, (_, formula) => {
          formulas.push(library.renderToString(formula, { displayMode, throwOnError: false }))
          return `nbws-formula-${formulas.length - 1}-`
        })
      element.innerHTML = marked.parse(text).replace(/nbws-formula-(\d+)-/g, (_, n) => formulas[n])
    })
  }

  const sortable = async () => {
    const { Sortable } = await import(`${CDN}sortablejs/+esm`)
    each(element => Sortable.create(element, { ghostClass: data.ghost }))
  }

  const mermaid = async () => {
    const { default: library } = await import(`${CDN}mermaid@11/dist/mermaid.esm.min.mjs`)
    library.initialize({ startOnLoad: false, theme: data.theme })
    let count = 0
    each(async element => {
      try {
        const { svg, bindFunctions } = await library.render(`mermaid-diagram-${count++}`, element.textContent)
        element.innerHTML = svg
        bindFunctions?.(element)
      } catch (error) { fail(element, error) }
    })
  }

  const highlight = async () => {
    if (window.CopyButtonPlugin) window.hljs.addPlugin(new window.CopyButtonPlugin())
    each(element => window.hljs.highlightElement(element))
  }

  const start = () => ({ markdown, katex, sortable, mermaid, highlight })[data.use]()
    .catch(error => console.error(`${data.use} could not be loaded`, error))
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start)
  else start()
})()
