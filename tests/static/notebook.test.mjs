// Pages behind a Jupyter server, which says what has become of their notebook's kernel
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { JUPYTER, KERNEL, load } from './line.mjs'
import { answer } from './page.mjs'

// A page whose line has just broken
const away = async (known, { status = 200, ...more } = {}) => {
  const fetch = url => url.includes('~notebook') ? answer(status, { json: known, ...more }) : answer(200)
  const page = await load({ ...JUPYTER, fetch })
  page.line.ends(1006)
  await page.pass(400)
  return page
}

test('the notebook is known by its name, which outlasts its kernel', async () => {
  const page = await load({ ...JUPYTER, fetch: () => answer(200, { json: { notebook: 'a b.ipynb', path: KERNEL } }) })
  assert.deepEqual(page.asked.map(([url]) => url), [`https://hub.example${KERNEL}/~notebook`])
  assert.equal(page.storage.get('nbws ' + KERNEL), 'a b.ipynb')
  page.document.fire('visibilitychange')
  await page.pass(0)
  assert.equal(page.asked[1][0], `https://hub.example${KERNEL}/~notebook?path=a%20b.ipynb`)
})

test('its app is served by another kernel: the page goes there', async () => {
  const page = await away({ notebook: 'a.ipynb', path: '/user/a/nbws/91aa~ab12' })
  assert.deepEqual(page.went, [['replace', '/user/a/nbws/91aa~ab12/page?x=1']])
  assert.ok(page.storage.has('nbws typed /user/a/nbws/91aa~ab12/page'))
})

for (const [name, known, more, text] of [
  ['ended', { kernel: false }, {}, 'the kernel has ended: run the notebook again'],
  ['serving nothing', { kernel: true, path: '' }, {}, 'reconnecting: run the cell with serve()'],
  ['not to be told', undefined, { status: 500 }, 'reconnecting'],
  ['behind a login', undefined, { status: 403 }, 'you are logged out of Jupyter'],
  ['behind a login page', undefined, { redirected: true, url: '/hub/login?next=' }, 'you are logged out of Jupyter'],
])
  test('its kernel is ' + name, async () => {
    const page = await away(known, more)
    assert.equal(page.status.textContent, text)
    assert.equal(page.sockets.length, 1)
    assert.deepEqual(page.went, [])
    if (more.status !== 403) return
    page.status.appended.at(-1).onclick()
    assert.deepEqual(page.went, [['reload']])
  })

test('logged out of Jupyter: a page in a frame opens the login in a tab, and tries again without haste', async () => {
  const page = await load({ ...JUPYTER, parent: {}, fetch: () => answer(403) })
  page.line.ends(1006)
  await page.pass(4000)
  page.status.appended.at(-1).onclick()
  assert.deepEqual(page.went, [['open', JUPYTER.url]])
  const asked = page.asked.length
  await page.pass(10_000)
  assert.equal(page.asked.length, asked + 2)
})

test('a sandboxed page cannot ask; its ticket ends with the kernel', async () => {
  let status = 200
  const page = await load({ ...JUPYTER, origin: 'null', fetch: () => answer(status) })
  assert.deepEqual(page.asked, [])
  status = 404
  page.line.ends(1006)
  await page.pass(1000)
  assert.equal(page.status.textContent, 'this page has expired: run its cell again')
  status = 200
  await page.pass(5000)
  assert.equal(page.sockets.length, 2)
})
