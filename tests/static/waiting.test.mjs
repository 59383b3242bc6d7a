// The page of the Jupyter server that waits for an app
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answer, Page } from './page.mjs'

const PREFIX = '/user/a/nbws/7f3c'
const wait = (fetch, notebook) => {
  const page = new Page(`https://hub.example${PREFIX}/page?x=1#end`, { fetch })
  page.found['script[type="application/json"]'] = [{ textContent: JSON.stringify({ prefix: PREFIX }) }]
  if (notebook) page.storage.set('nbws ' + PREFIX, notebook)
  page.run('waiting.js')
  return page
}

test('the app is there again: the page is loaded', async () => {
  let status = 503
  const page = wait(() => answer(status))
  await page.pass(3000)
  assert.deepEqual(page.went, [])
  assert.deepEqual([page.asked[0][0], page.asked[0][1].method], [`https://hub.example${PREFIX}/page?x=1#end`, 'HEAD'])
  status = 200
  await page.pass(3000)
  assert.deepEqual(page.went, [['reload']])
})

test('it asks less and less often, also while Jupyter is away', async () => {
  const page = wait(() => { throw new TypeError('Failed to fetch') })
  await page.pass(5000)
  assert.equal(page.asked.length, 5)
  await page.pass(600_000)
  assert.ok(page.asked.length < 130)
})

test('the notebook has another kernel: the page goes there', async () => {
  const json = { path: '/user/a/nbws/91aa' }
  const page = wait((url, { method }) => method === 'HEAD' ? answer(404) : answer(200, { json }), 'a b.ipynb')
  await page.pass(600)
  assert.equal(page.asked[1][0], PREFIX + '/~notebook?path=a%20b.ipynb')
  assert.deepEqual(page.went, [['replace', '/user/a/nbws/91aa/page?x=1#end']])
})

test('the notebook has this kernel, or none, or is not known', async () => {
  for (const [json, notebook] of [[{ path: PREFIX }, 'a.ipynb'], [{ path: '' }, 'a.ipynb'], [{ path: '/x' }, '']]) {
    const page = wait((url, { method }) => method === 'HEAD' ? answer(404) : answer(200, { json }), notebook)
    await page.pass(2000)
    assert.deepEqual(page.went, [])
    assert.ok(page.asked.length > 2)
  }
})
