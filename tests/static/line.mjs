// A page with `nbws.js`
import { answer, Element, Page } from './page.mjs'

export const KERNEL = '/user/a/nbws/7f3c~ab12'
export const JUPYTER = { base: `https://hub.example${KERNEL}`, url: `https://hub.example${KERNEL}/page?x=1` }

const up = () => answer(200)
// A page whose line is open, which has been greeted by its process
export const load = async ({ base = 'http://127.0.0.1:5001', url = base + '/page', fetch = up, ...globals } = {}) => {
  const page = new Page(url, { fetch, ...globals }), shadow = [new Element(), new Element()]
  const [status, dialog] = shadow
  const parts = { b: new Element(), pre: new Element(), button: new Element() }
  Object.assign(dialog, { hidden: true, scrollHeight: 100, querySelector: name => parts[name] })
  Object.assign(page, { status, dialog, parts })
  page.document.createElement = () =>
    Object.assign(new Element(), { attachShadow: () => ({ querySelectorAll: () => shadow }) })
  page.document.body = { querySelectorAll: () => [], cloneNode: () => ({ querySelectorAll: () => [] }) }
  page.run('sockets.js', base, { all: '' })
  page.run('nbws.js', base, { boot: 'b1', made: '7', at: '123.5' })
  page.document.fire('DOMContentLoaded')
  page.window.fire('load')
  await page.pass(0)
  page.line = page.sockets[0]
  page.line.opens()
  page.hears = m => page.sockets.at(-1).receives(JSON.stringify(m))
  page.hears({ type: 'hello', boot: 'b1', peer: 'kernel' })
  await page.pass(0)
  return page
}
