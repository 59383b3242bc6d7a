// The end of the script in each output of `serve()` and `show()`: gives the iframes beside it the address of their
// page, and the height that it asks for. An output is shown in many places: in Jupyter with nbws's proxy or without,
// in VS Code, in Colab, and as a saved page with nothing behind it. Before this stand the ways that there may be, each
// in a file of its own (way-jupyter.js), and what they have to know stands beside it in JSON
// (nbws/notebook/iframes.py). A way gives its name and an address, or none where it has shown the page itself; nothing
// where it leads nowhere.
//
// All of it is saved with every output, so it is short, and what a way needs beyond an address comes by that way. No
// script is taken from a port, where anybody may listen by now.
(() => {
  const { root = document, last = [] } = window.nbwsWidget || {} // A widget's element, and its own way: widget.js
  const base = JSON.parse(document.getElementById('jupyter-config-data')?.textContent || '{}').baseUrl // Of its page
  const get = (url, how) => fetch(url, how).catch(() => 0)
  const run = textContent => document.head.append(Object.assign(document.createElement('script'), { textContent }))

  const show = async (facts, frames, say) => {
    const ways = [...facts.ways.map(name => window.nbwsWays[name]), ...last]
    try {
      for (const [i, frame] of frames.entries()) {
        let found
        for (const way of ways) found ||= await way({ base, get, run, say, facts, frame, path: facts.paths[i] })
        if (!found) throw new Error(facts.otherwise)
        const [name, url = frame.src] = found
        frame.dataset.way = name
        if (frame.src !== url) frame.src = url
      }
      say('')
    } catch (e) { // Ways throw what a person is to be told
      say(e.message)
      for (const frame of frames) if (!frame.src) frame.style.display = 'none'
    }
  }
  const fit = frame => { // Its style has the most
    addEventListener('message', ({ data, source }) => {
      if (source === frame.contentWindow && data?.nbws === 'height') frame.style.height = data.height + 'px'
    })
    frame.onload = () => frame.contentWindow.postMessage({ nbws: 'measure' }, '*')
  }

  for (const place of root.querySelectorAll('[data-nbws]')) { // Not every front end runs a script in its place
    const facts = JSON.parse(place.querySelector('script').textContent)
    if (!facts.ways.every(way => window.nbwsWays[way])) continue // Another script brings them
    const frames = [...place.querySelectorAll('iframe')], line = place.querySelector('[data-nbws-line]')
    delete place.dataset.nbws // What another view of this output has taken stays as it is
    if (facts.fit) frames.forEach(fit)
    show(facts, frames, textContent => Object.assign(line, { textContent, hidden: !textContent }))
  }
})()
