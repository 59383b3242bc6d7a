// A page may have changed since it came: by sockets, by scripts. When the server sends it anew, what the server says as
// before stays as it is now, and what came between other elements stays between them, unless the server tells it now.
// `nbws.js` loads this when a page's code has changed.
(() => {
  const SAME = [ // With the same id, else the same in all, else the next of its kind
    (a, b) => a.id && a.id === b.id,
    (a, b) => a.isEqualNode(b),
    (a, b) => !a.id && !b.id && a.nodeName === b.nodeName,
  ]
  const pairs = (items, others) => {
    const found = new Map(), free = new Set(others)
    for (const same of SAME)
      for (const item of items) {
        if (found.has(item)) continue
        for (const other of free) {
          if (!same(item, other)) continue
          found.set(item, other)
          free.delete(other)
          break
        }
      }
    return found
  }

  const mergeClasses = (before, now, fresh) => {
    for (const name of now.classList) if (!before.classList.contains(name)) fresh.classList.add(name)
    for (const name of before.classList) if (!now.classList.contains(name)) fresh.classList.remove(name)
  }
  const mergeAttributes = (before, now, fresh) => {
    for (const { name } of [...before.attributes, ...now.attributes]) {
      if (before.getAttribute(name) !== fresh.getAttribute(name)) {
        if (name === 'class') mergeClasses(before, now, fresh)
        continue
      }
      if (now.hasAttribute(name)) fresh.setAttribute(name, now.getAttribute(name))
      else fresh.removeAttribute(name)
    }
  }

  const words = node => node.textContent.trim()
  const isTold = (put, added) => { // Does the server tell now what the page had been given?
    const told = added.map(words).join('\n')
    const hasId = id => added.some(child => child.id === id)
    return put.some(child => (child.id && hasId(child.id)) || (words(child) && told.includes(words(child))))
  }
  const keep = (children, place, fresh) => { // `place`: where a child of now stands in `fresh`; none: it was put in
    let last = null // What the next one comes behind
    const first = children.map(place).find(Boolean) // Else what it comes before
    for (const child of children) {
      if (place(child) !== null) {
        last = place(child) || last
        continue
      }
      const kept = child.cloneNode(true)
      if (last) last.after(kept)
      else if (first) first.before(kept)
      else fresh.append(kept)
      if (last || !first) last = kept
    }
  }

  // Makes `fresh`, as the server says it now, what the page is to become. `before`: as it was sent; `now`: as it is
  const merge = (before, now, fresh) => {
    if (before.isEqualNode(fresh)) {
      fresh.replaceWith(now.cloneNode(true))
      return
    }
    if (fresh.nodeType !== Node.ELEMENT_NODE) return
    const part = fresh.getAttribute('data-nbws-part')
    if (part && part === now.getAttribute('data-nbws-part')) { // It hears of its content by itself: `parts.js`
      fresh.replaceWith(now.cloneNode(true))
      return
    }
    if (fresh.localName === 'style') return // css-scope-inline scopes its text, and marks it, anew
    mergeAttributes(before, now, fresh)
    const children = [...now.childNodes]
    const stays = pairs(before.childNodes, children), was = new Map([...stays].map(([old, child]) => [child, old]))
    const comes = pairs(before.childNodes, fresh.childNodes), known = new Set(comes.values())
    const put = children.filter(child => !was.has(child))
    const added = [...fresh.childNodes].filter(child => !known.has(child))
    const place = child => was.has(child) ? comes.get(was.get(child)) : null
    if (!isTold(put, added)) keep(children, place, fresh)
    for (const [old, next] of comes) {
      if (stays.has(old)) merge(old, stays.get(old), next)
      else if (old.isEqualNode(next)) next.remove() // It was taken out of the page
    }
  }

  window.nbws.merge = merge
})()
