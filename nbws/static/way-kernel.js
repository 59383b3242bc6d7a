// One of the ways of iframes.js: over the kernel's own messages, where its port is out of reach. The script that shows
// a page by them (channel.js) comes over a connection like JupyterLab's own.
ways.kernel = async ({ base, run, say, facts, frame, path }) => {
  if (!base) return null
  const { kernel, subshell, waits } = facts, id = Math.random() + ''
  const socket = new WebSocket(location.origin.replace('http', 'ws')
    + `${base}api/kernels/${kernel}/channels?session_id=${id}`)
  const late = waits && setTimeout(say, 3000, waits)
  const send = (channel, msg_type, content, subshell_id) => socket.send(JSON.stringify({
    header: { msg_id: id + channel, msg_type, session: id, version: '5.4', subshell_id },
    parent_header: {}, metadata: {}, content, channel
  }))
  const open = shell => send('shell', 'comm_open', { comm_id: id, target_name: 'nbws.http', data: facts }, shell)
  socket.onopen = () => subshell ? send('control', 'list_subshell_request', {}) : open()
  const told = await new Promise(done => {
    socket.onclose = () => done()
    socket.onmessage = ({ data }) => {
      if (data.size) return // With buffers: for others
      const { msg_type, content } = JSON.parse(data)
      if (msg_type === 'list_subshell_reply') open(content.subshell_id.find(s => s === subshell))
      if (content.comm_id === id) done(content.data)
    }
  })
  clearTimeout(late)
  socket.close()
  if (!told) return null // There is no such kernel
  if (told.reason) throw new Error(told.reason)
  run(told.script)
  await window.nbwsChannel.show(frame, facts, path, base)
  return ['kernel']
}
