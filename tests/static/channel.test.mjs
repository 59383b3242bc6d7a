// Requests over the kernel's messages, as the page sends them: frames, how much is on its way, and what breaks off
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Page } from './page.mjs'

const settle = async () => { for (let n = 0; n < 10; n++) await new Promise(setImmediate) }
const bytes = size => new Uint8Array(size)

const STREAMS = { ReadableStream, ByteLengthQueuingStrategy }

// A page's end, and the kernel's, which the test plays; each comm that is opened has what was sent on it
const page = ({ piece, refuses = () => {} } = {}) => {
  const notebook = new Page('https://hub.example/lab', STREAMS), comms = []
  notebook.run('channel.js')
  const requests = new notebook.window.nbwsChannel.Requests(async (heard, ended) => {
    refuses()
    const comm = { sent: [], closed: false, ended }
    comm.send = ({ frames }, buffers = []) =>
      comm.sent.push([...frames.map(f => [...f]), [...buffers].map(b => b.length)])
    comm.close = () => { comm.closed = true }
    comm.says = async (frames, buffers = []) => {
      heard({ frames }, buffers)
      await settle()
    }
    comms.push(comm)
    return { piece, send: comm.send, close: comm.close }
  })
  return { requests, comms }
}
const begun = (requests, ...how) => { // Without waiting for the answer
  const answer = requests.ask(...how)
  answer.catch(() => {}) // It is looked at later
  return answer
}

test('a request and its answer', async () => {
  const { requests, comms } = page()
  const answer = begun(requests, 'GET', '/a?b=1', [['accept', '*/*']])
  await settle()
  const [comm] = comms
  assert.deepEqual(comm.sent, [[['request', 1, 'GET', '/a?b=1', [['accept', '*/*']], false], [0]]])
  await comm.says([['head', 1, 201, [['x', 'y']]], ['data', 1], ['data', 1], ['end', 1, false]],
    [Uint8Array.of(1, 2), Uint8Array.of(3)])
  const { status, fields, body } = await answer
  assert.deepEqual([status, fields], [201, [['x', 'y']]])
  assert.deepEqual([...new Uint8Array(await new Response(body).arrayBuffer())], [1, 2, 3])
})

test('answers are told apart; what is for nobody is left, and so is its buffer', async () => {
  const { requests, comms } = page()
  const answers = [begun(requests, 'GET', '/1', []), begun(requests, 'GET', '/2', [])]
  await settle()
  await comms[0].says([['data', 9], ['head', 2, 200, []], ['data', 2], ['head', 1, 200, []], ['data', 1],
    ['end', 2, false], ['end', 1, false], ['data', 1]], [bytes(5), Uint8Array.of(2), Uint8Array.of(1), bytes(1)])
  const whole = async ({ body }) => [...new Uint8Array(await new Response(body).arrayBuffer())]
  const bodies = await Promise.all(answers.map(async answer => whole(await answer)))
  assert.deepEqual(bodies, [[1], [2]])
  assert.equal(comms.length, 1)
})

test('what was taken is told every 128 KiB, once it is read', async () => {
  const { requests, comms } = page()
  const answer = begun(requests, 'GET', '/', [])
  await settle()
  const [comm] = comms, told = () => comm.sent.slice(1).map(([frame]) => frame)
  await comm.says([['head', 1, 200, []], ['data', 1]], [bytes(2 ** 17 - 1)])
  assert.deepEqual(told(), [])
  await comm.says([['data', 1]], [bytes(2 ** 18)]) // Nobody reads
  assert.deepEqual(told(), [])
  const reader = (await answer).body.getReader()
  await reader.read()
  await reader.read()
  await settle()
  assert.deepEqual(told(), [['got', 1, 2 ** 17 - 1 + 2 ** 18]])
})

test('a body goes in pieces, 1 MiB ahead of what the app has read', async () => {
  const { requests, comms } = page({ piece: 2 ** 18 })
  begun(requests, 'POST', '/', [], bytes(2 ** 21 + 1))
  await settle()
  const [comm] = comms, sizes = () => comm.sent.map(([frame, [size]]) => [frame[0], frame.at(-1), size])
  assert.deepEqual(sizes(), [['request', true, 2 ** 18], ...Array(3).fill(['body', true, 2 ** 18])])
  await comm.says([['took', 1, 2 ** 18]])
  assert.equal(comm.sent.length, 5)
  await comm.says([['took', 1, 2 ** 20]])
  assert.equal(comm.sent.length, 9)
  assert.deepEqual(sizes().at(-1), ['body', false, 1])
})

test('an app that answers without reading the body', async () => {
  const { requests, comms } = page({ piece: 2 ** 18 })
  const answer = begun(requests, 'POST', '/', [], bytes(2 ** 22))
  await settle()
  await comms[0].says([['head', 1, 413, []], ['end', 1, false], ['took', 1, 2 ** 20]])
  assert.deepEqual([(await answer).status, comms[0].sent.length], [413, 4])
})

test('what a front end takes in one message decides the size of the pieces', async () => {
  const { requests, comms } = page({ piece: 10 })
  begun(requests, 'POST', '/', [], bytes(25))
  await settle()
  assert.deepEqual(comms[0].sent.map(([frame, [size]]) => [frame.at(-1), size]), [[true, 10], [true, 10], [false, 5]])
})

test('an answer breaks off', async () => {
  const { requests, comms } = page()
  const [early, late] = [begun(requests, 'GET', '/', []), begun(requests, 'GET', '/', [])]
  await settle()
  await comms[0].says([['end', 1, true], ['head', 2, 200, []], ['end', 2, true]])
  await assert.rejects(early, /the answer broke off/)
  const { body } = await late
  await assert.rejects(new Response(body).text())
})

test('the page wants no more of it', async () => {
  const { requests, comms } = page(), leaving = new AbortController()
  const aborted = begun(requests, 'GET', '/', [], undefined, leaving.signal), left = begun(requests, 'GET', '/', [])
  await settle()
  leaving.abort()
  await assert.rejects(aborted, { name: 'AbortError' })
  await comms[0].says([['head', 2, 200, []]])
  await (await left).body.cancel()
  assert.deepEqual(comms[0].sent.slice(2).map(([frame]) => frame), [['cancel', 1], ['cancel', 2]])
})

test('the kernel ends: what waits fails, what comes next asks anew', async () => {
  const { requests, comms } = page()
  const lost = begun(requests, 'POST', '/', [], bytes(2 ** 22))
  await settle()
  comms[0].ended('not served')
  await assert.rejects(lost, /the kernel is away/)
  const count = comms[0].sent.length
  begun(requests, 'GET', '/', [])
  await settle()
  assert.deepEqual([comms.length, comms[1].sent[0][0][1], comms[0].sent.length], [2, 2, count])
})

test('a comm that is refused: the next request tries again', async () => {
  let refused = 1
  const { requests, comms } = page({ refuses: () => { if (refused-- > 0) throw new Error('no kernel') } })
  await assert.rejects(requests.ask('GET', '/', []), /no kernel/)
  begun(requests, 'GET', '/', [])
  await settle()
  assert.equal(comms.length, 1)
})

test('60 requests at once, the others in their turn', async () => {
  const { requests, comms } = page()
  for (let n = 0; n < 62; n++) begun(requests, 'GET', '/' + n, [])
  await settle()
  const [comm] = comms
  assert.equal(comm.sent.length, 60)
  await comm.says([['head', 5, 200, []], ['end', 5, false], ['head', 6, 200, []], ['end', 6, false]])
  assert.deepEqual(comm.sent.slice(60).map(([frame]) => frame[3]), ['/60', '/61'])
})

test('a page that is left closes its comm', async () => {
  const { requests, comms } = page()
  begun(requests, 'GET', '/', [])
  await settle()
  await requests.close()
  assert.equal(comms[0].closed, true)
})

// A comm over a connection to the kernel, whose messages the test answers
const connected = async facts => {
  const heard = [], ended = []
  const notebook = new Page('https://hub.example/lab', { ...STREAMS, crypto: globalThis.crypto, Date })
  notebook.run('channel.js')
  const begin = notebook.window.nbwsChannel.openComm('/user/a/', { kernel: 'k1', ...facts })
  const comm = begin({ version: 2 }, (...told) => heard.push(told), reason => ended.push(reason))
  const [socket] = notebook.sockets, told = () => JSON.parse(socket.sent.at(-1))
  const says = (msg_type, content) => socket.receives(JSON.stringify({ header: { msg_type }, content }))
  socket.opens()
  return { comm, socket, told, says, heard, ended }
}

test('a comm of the kernel, with its own subshell: text, and bytes as Jupyter packs them', async () => {
  const { comm, socket, told, says, heard, ended } = await connected({ subshell: 's1' })
  assert.equal(told().header.msg_type, 'list_subshell_request')
  says('list_subshell_reply', { subshell_id: ['s1'] })
  const { header, content } = told(), { comm_id } = content
  assert.deepEqual([header.msg_type, header.subshell_id, content.data], ['comm_open', 's1', { version: 2 }])
  const { send, close } = await comm
  send({ frames: [] }, [Uint8Array.of(1, 2), Uint8Array.of(3)])
  socket.receives(socket.sent.at(-1).buffer) // It is packed in the same way to the page
  assert.deepEqual(JSON.parse(JSON.stringify(heard)), [[{ frames: [] }, [{ 0: 1, 1: 2 }, { 0: 3 }]]])
  const count = socket.sent.length // One goes with TCP's acknowledgement, and none for what comes without being asked
  assert.deepEqual(told().content, { comm_id, data: {} })
  says('comm_msg', { comm_id, data: { frames: [] } })
  assert.equal(socket.sent.length, count)
  says('comm_close', { comm_id, data: { reason: 'there are too many pages' } })
  close()
  assert.deepEqual([ended, told().header.msg_type], [['there are too many pages'], 'comm_close'])
  assert.notEqual(socket.closedWith, undefined)
})

test('a kernel that starts again ends what it was asked', async () => {
  const { comm, socket, says, told, ended } = await connected({})
  await comm
  assert.equal(told().header.msg_type, 'comm_open')
  says('status', { execution_state: 'starting' })
  assert.notEqual(socket.closedWith, undefined)
  socket.ends(1000)
  assert.deepEqual(ended, [''])
})
