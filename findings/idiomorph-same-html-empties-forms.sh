#!/usr/bin/env bash
# idiomorph 0.8.0 (in jsdom 26.1.0, on node 20). The guess: to morph an element into the very HTML that it was made of changes nothing, since
# what is the same stays: the node is preserved, "and allows state (such as focus) to be retained" (its README). What it does: the nodes are
# the same ones afterwards, and whatever a visitor has entered is gone: typed text, ticks, the choice of a select, an open `details`. It
# compares what the fields hold now with what the HTML says, and takes the HTML's. `ignoreActiveValue: true` saves the one field that has
# the focus. So a page that is kept fresh by morphs every few seconds empties the half of a form that its visitor has filled in already.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm install --silent --no-audit --no-fund --prefix . jsdom@26.1.0 idiomorph@0.8.0 > npm.log 2>&1 || { cat npm.log; exit 1; }
cat > run.mjs <<'JS'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { JSDOM } from 'jsdom'

const FORM = `<form id="form"><input id="name"><input id="city" value="Rome"><textarea id="words"></textarea><input type="checkbox" id="tick">
  <select id="size"><option>S</option><option>M</option></select><details id="more"><summary>More</summary></details></form>`
const { window } = new JSDOM(`<body>${FORM}</body>`, { runScripts: 'outside-only' })
window.eval(readFileSync('node_modules/idiomorph/dist/idiomorph.js', 'utf8') + '; window.Idiomorph = Idiomorph')
const field = id => window.document.getElementById(id)
const fields = { name: 'value', city: 'value', words: 'value', tick: 'checked', size: 'value', more: 'open' }
const state = () => Object.fromEntries(Object.entries(fields).map(([id, key]) => [id, field(id)[key]]))
const filled = { name: 'Ann', city: 'Oslo', words: 'hello', tick: true, size: 'M', more: true }
const empty = state()

function morphed(options) {
  for (const [id, value] of Object.entries(filled)) field(id)[fields[id]] = value
  field('city').focus()
  const nodes = Object.keys(fields).map(field)
  window.Idiomorph.morph(field('form'), FORM, options)
  assert.deepEqual(Object.keys(fields).map(field), nodes)  // Each is the node that it was
  return state()
}
const plain = morphed({}), but = morphed({ ignoreActiveValue: true })
console.log('filled in:', filled)
console.log('after a morph into the same HTML:', plain)
console.log('with ignoreActiveValue, the focus in city:', but)
assert.deepEqual(plain, empty)
assert.deepEqual(but, { ...empty, city: 'Oslo' })
JS
timeout 240 node run.mjs
