// Pieces of script that Python puts around a developer's own: see `nbws.fasthtml.xtend`, which reads a section of this
// file by its name and puts text in place of the names in capitals. No page loads the file itself.
/* global me, domReadyExecute, CODE, ELEMENT, ELEMENTS, EVENT, ID */
/* eslint no-unused-vars: off, no-shadow: off, prefer-const: off */
//# surreal
{
  const m = me(), before = document.currentScript.previousElementSibling, p = before && me(before)
  domReadyExecute(() => {
    CODE()
  })
}
//# on
ELEMENTS.on(EVENT, async ev => {
  let e = me(ev)
  CODE()
})
//# now
;(async e => {
  CODE()
})(ELEMENT)
//# htmx
domReadyExecute(() => document.body.addEventListener(EVENT, event => {
  CODE()
}))
//# progress
const bar = document.getElementById(ID), sent = event.detail; if (bar && sent.total) {
  bar.classList.remove('hidden'); bar.value = 100 * sent.loaded / sent.total }
