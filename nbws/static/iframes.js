// The end of the script in each output of `serve()` and `show()`: gives the iframes beside it the address of their
// page, and the height that it asks for. An output is shown in many places: in Jupyter with nbws's proxy or without,
// in VS Code, in Colab, and as a saved page with nothing behind it. Before this stand the ways that there may be, each
// in a file of its own (way-jupyter.js) that adds it to `ways`, and what they have to know stands beside it in JSON
// (nbws/notebook/iframes.py). A way gives its name and an address, or none where it has shown the page itself; nothing
// where it leads nowhere; it throws why not, where a person can do something about it.
//
// All of it is saved with every output, so it is short: clients side by side have one iframe there, which is copied
// here, and what a way needs beyond an address comes by that way. No script is taken from a port, where anybody may
// listen by now.
{
  const { root = document, last = [] } = window.nbwsWidget || {} // A widget's element, and its own way: widget.js
  const base = JSON.parse(document.getElementById('jupyter-config-data')?.textContent || '{}').baseUrl // Of its page
  const get = (url, how) => fetch(url, how).catch(() => 0)
  const run = textContent => document.head.append(Object.assign(document.createElement('script'), { textContent }))

  const show = async (facts, frames, line) => {
    const tried = [...facts.ways.map(name => ways[name]), ...last], ask = line.textContent.slice(0, -1)
    const say = textContent => Object.assign(line, { textContent, hidden: !textContent })
    try {
      for (const [i, frame] of frames.entries()) {
        const path = (i ? '/_nbws/as/' + (i + 1) : '') + facts.path
        let found
        for (const way of tried) found ||= await way({ base, get, run, say, facts, frame, path })
        if (!found) throw new Error(facts.otherwise)
        const [name, url = frame.src] = found
        frame.dataset.way = name
        if (frame.src !== url) frame.src = url
      }
      say('')
    } catch (e) {
      say(ask + (e.message && ': ' + e.message) + '.')
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
    if (!facts.ways.every(way => ways[way])) continue // Another script brings them
    const frames = [place.querySelector('iframe')]
    while (frames.length < facts.n) frames.push(frames[0].cloneNode())
    frames[0].after(...frames.slice(1))
    delete place.dataset.nbws // What another view of this output has taken stays as it is
    if (facts.fit) frames.forEach(fit)
    show(facts, frames, place.querySelector('[data-nbws-line]'))
  }
}
