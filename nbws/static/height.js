// The height of a notebook's iframe: it follows the page's content, and never itself. A box that grows as the frame
// does (`100vh`, or the body of a page in quirks mode) says nothing of the content: in its place its parts count.
// `nbws.js` loads this into pages that stand in a frame; `iframes.js`, around the frame, does what is asked for here.
(() => {
  const { nbws } = window
  const NO_CONTENT = 150 // Pixels, as a frame of which nothing is known: all stands in `position: fixed`, say
  const html = document.documentElement
  const follows = new WeakSet() // The boxes that grow as the frame does
  const heights = new Map() // Of tall boxes, when a height was asked for
  let frame = 0, width = 0, content = 0, room = 0 // Pixels, when this was measured last
  let excess = 0 // By how much the content is higher than the frame, however high that is
  let asked = 0

  const note = element => {
    const { height } = element.getBoundingClientRect()
    if (height < innerHeight / 2) return
    const isPage = element === html || element === document.body
    if (!isPage && getComputedStyle(element).overflowY !== 'visible') return // It scrolls: it is as high as it wants
    heights.set(element, height)
    for (const child of element.children) note(child)
  }
  const grownBy = element => element.getBoundingClientRect().height - heights.get(element)
  const learn = moved => { // Which boxes have moved with the frame? Whether there are new ones
    const before = innerHeight - moved
    let news = false
    for (const [element, height] of heights) {
      const by = grownBy(element)
      const scales = height > .75 * before && Math.abs(height + by - height * innerHeight / before) <= 1 // `120vh`
      if (follows.has(element) || (Math.abs(by - moved) > 1 && !scales)) continue
      for (let box = element; box && Math.abs(grownBy(box) - by) <= 1; box = box.parentElement) follows.add(box)
      news = true
    }
    return news
  }

  const px = text => parseFloat(text) || 0
  const ending = (element, style = getComputedStyle(element)) => { // Where its content ends, and the margin behind that
    const box = element.getBoundingClientRect(), margin = px(style.marginBottom)
    if (!follows.has(element)) return [box.bottom, margin]
    let edge = box.top + px(style.borderTopWidth) + px(style.paddingTop), behind = 0
    const reach = (bottom, gap) => { if (bottom + gap > edge + behind) [edge, behind] = [bottom, gap] }
    for (const child of element.childNodes) {
      if (child.nodeType === Node.TEXT_NODE && child.data.trim()) {
        const range = document.createRange()
        range.selectNodeContents(child)
        reach(range.getBoundingClientRect().bottom, 0)
      } else if (child.nodeType === Node.ELEMENT_NODE) {
        const its = getComputedStyle(child)
        if (its.display !== 'none' && !['fixed', 'absolute'].includes(its.position)) reach(...ending(child, its))
      }
    }
    const below = px(style.borderBottomWidth) + px(style.paddingBottom)
    if (element === html || below || style.display !== 'block') return [edge + behind + below, margin]
    return [edge, Math.max(behind, margin)] // Margins collapse
  }
  const natural = () => follows.has(html) ? ending(html)[0] + scrollY : html.offsetHeight

  const isWanted = (moved, by) => { // The content has moved `by` when the frame `moved`: is that more than its echo?
    const learned = learn(moved), rests = by / moved > 0 && by / moved < .75
    if (learned) content = natural()
    const wanted = content < frame ? learned || (rests && follows.has(html)) : rests || by > moved + 1
    excess = wanted ? 0 : Math.max(0, content + 2 - frame)
    return wanted
  }
  const request = again => {
    const needed = document.body.offsetHeight ? content - excess : NO_CONTENT
    const height = Math.ceil(Math.max(needed, room)) + 2
    if (height === asked && !again) return
    asked = height
    heights.clear()
    note(html)
    parent.postMessage({ nbws: 'height', height }, '*')
  }
  const measure = (again = false) => { // `again`: ask for it though nothing has changed
    if (!document.body) return
    const before = { frame, content, room }
    content = natural()
    room = nbws.room() // A small page makes room for its error
    const moved = width === innerWidth ? innerHeight - before.frame : 0, by = content - before.content
    frame = innerHeight
    width = innerWidth
    if (before.frame && moved && Math.abs(by) >= 1) {
      if (isWanted(moved, by)) request(again)
    } else if (again || Math.abs(by) >= 1 || room !== before.room) request(again)
  }

  let waits = false
  const soon = () => {
    if (!waits) requestAnimationFrame(() => {
      waits = false
      measure()
    })
    waits = true
  }
  nbws.measure = () => measure()
  addEventListener('message', e => { if (e.source === parent && e.data && e.data.nbws === 'measure') measure(true) })
  addEventListener('load', () => measure())
  addEventListener('load', soon, true) // Of an image, say
  addEventListener('resize', soon)
  new ResizeObserver(() => measure()).observe(html)
  const everything = { subtree: true, childList: true, characterData: true, attributes: true }
  new MutationObserver(soon).observe(document, everything)
})()
