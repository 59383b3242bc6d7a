// One of the ways of iframes.js: to the app's port, by jupyter-server-proxy or directly.
ways.port = async ({ base, get, facts, path }) => {
  const { port, around, sandbox } = facts, asked = around.join(path), other = base + 'proxy/' + port
  const at = 'http://' + (location.hostname === 'localhost' ? 'localhost' : '127.0.0.1') + ':' + port
  if (base && !sandbox && (await get(other + '/')).headers?.has('x-nbws'))
    return ['jupyter-server-proxy', other + asked]
  return await get(at + '/_nbws/nbws.js', { mode: 'no-cors' }) && ['direct', at + asked]
}
