// The chat's script: what is sent about an answer, the stop button, and where a list is scrolled to
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Element, Page } from './page.mjs'

class Part extends Element { // Found by the selectors that the script uses: a test says what is where
  closestTo = {}
  inside = {}
  attributes = new Set()
  disabled = true
  closest(selector) { return this.closestTo[selector] || null }
  querySelector(selector) { return (this.inside[selector] || [])[0] || null }
  querySelectorAll(selector) { return this.inside[selector] || [] }
  removeAttribute(name) { this.attributes.delete(name) }
  contains(other) { return other === this }
  focus() { this.focused = true }
}
const CONNECTED = '[ws-connect],[data-ws-connect],[hx-ws],[data-hx-ws]'

const open = () => {
  const page = new Page(), lists = [], holder = new Part(), button = new Part(), form = new Part(), field = new Part()
  page.document.getElementsByClassName = () => lists
  Object.assign(field, { value: 'hello' })
  form.closestTo = { 'form.chat-input': form, [CONNECTED]: holder }
  form.inside = { '.chat-field': [field] }
  button.closestTo = { '.stop-button': button, [CONNECTED]: holder }
  holder.inside = { '.stop-button': [button], '.chat-field': [field] }
  page.run('chat.js')
  const fire = (type, target, detail = {}) => {
    const sent = [], socketWrapper = { sendImmediately: text => sent.push(text) }
    const event = { type, target, detail: { socketWrapper, ...detail }, preventDefault() { this.prevented = true } }
    page.document.dispatchEvent(event)
    return { ...event, sent }
  }
  return { page, lists, holder, button, form, field, fire }
}

test('what was sent is asked about, and the answer is nothing to show', () => {
  const { holder, button, form, fire } = open()
  for (let n = 0; n < 2; n++) assert.deepEqual(fire('htmx:wsAfterSend', form).sent, ['nbws done?'])
  assert.equal(button.disabled, false)
  assert.ok(fire('htmx:wsBeforeMessage', holder, { message: 'nbws done' }).prevented)
  assert.equal(button.disabled, false, 'a second message waits for its answer')
  fire('htmx:wsBeforeMessage', holder, { message: 'nbws done' })
  assert.equal(button.disabled, true)
  assert.ok(!fire('htmx:wsBeforeMessage', holder, { message: '<p>nbws done</p>' }).prevented)
})

test('a socket without a stop button asks nothing', () => {
  const { holder, form, fire } = open()
  holder.inside = {}
  assert.deepEqual(fire('htmx:wsAfterSend', form).sent, [])
})

test('the button sends a stop, which is no message', () => {
  const { button, fire } = open()
  assert.equal(fire('htmx:wsConfigSend', button).detail.messageBody, 'nbws stop')
  assert.deepEqual(fire('htmx:wsAfterSend', button).sent, [])
})

test('a socket that ends has nothing to stop', () => {
  const { holder, button, form, fire } = open()
  fire('htmx:wsAfterSend', form)
  fire('htmx:wsClose', holder)
  assert.equal(button.disabled, true)
  fire('htmx:wsBeforeMessage', holder, { message: 'nbws done' })
  assert.equal(button.disabled, true, 'a late answer counts below nothing')
  fire('htmx:wsAfterSend', form)
  assert.equal(button.disabled, false)
})

test('the field is empty once the message is made, unless it was not', async () => {
  const { page, form, field, fire } = open()
  fire('htmx:wsConfigSend', form, { errors: ['required'] })
  await page.pass(0)
  assert.equal(field.value, 'hello')
  fire('htmx:wsConfigSend', form, { errors: [] })
  assert.equal(field.value, 'hello', 'others look at it after us')
  await page.pass(0)
  assert.equal(field.value, '')
})

test('by HTTP it is emptied when the answer is good', () => {
  const { form, field, fire } = open()
  fire('htmx:afterRequest', form, { elt: form, successful: false })
  assert.equal(field.value, 'hello')
  fire('htmx:afterRequest', form, { elt: form, successful: true })
  assert.equal(field.value, '')
})

test('Enter sends a field of several lines', () => {
  const { field, page } = open()
  let sent = 0
  field.form = { requestSubmit: () => sent++ }
  field.closestTo = { 'form.chat-input textarea.chat-field': field }
  const press = keys => page.document.dispatchEvent({ type: 'keydown', target: field, preventDefault() {}, ...keys })
  press({ key: 'a' })
  press({ key: 'Enter', shiftKey: true })
  press({ key: 'Enter', isComposing: true })
  assert.equal(sent, 0)
  press({ key: 'Enter' })
  assert.equal(sent, 1)
})

test('a list follows its end until its reader scrolls up', () => {
  const { page, lists } = open(), list = new Part()
  Object.assign(list, { scrollTop: 0, scrollHeight: 1000, clientHeight: 200, classList: { contains: () => true } })
  lists.push(list)
  const to = top => {
    list.scrollTop = top
    page.document.dispatchEvent({ type: 'scroll', target: list })
  }
  const grow = () => {
    list.scrollHeight += 500
    page.mutate()
    return list.scrollTop
  }
  to(Math.min(grow(), list.scrollHeight - 200))
  assert.equal(grow(), 2000)
  to(1800)
  to(1700) // Up
  assert.equal(grow(), 1700)
  to(2250) // Down, nearly to the end, which has moved meanwhile
  assert.equal(grow(), 3000)
})
