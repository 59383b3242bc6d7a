// The page of `app.doctor()`: asks its own server for an answer and for a socket, and says what became of them.
(() => {
  const { jupyter } = JSON.parse(document.querySelector('script[type="application/json"]').textContent)
  const show = (id, text) => { document.getElementById(id).textContent = text }
  const since = start => (performance.now() - start).toFixed(1) + ' ms'
  let hostSeen = '' // The Host that the app sees

  const heard = (status, text, start) => {
    if (status >= 200 && status < 300) return text === 'pong' ? 'answers, ' + since(start)
      : 'something else answers, such as a login page. Reload the notebook.'
    if (status === 403) return 'refused (403). Your login has ended: reload the notebook, then run the cell again.'
    if (status === 404 || status === 503) return 'the kernel does not serve this app now. Run the cell with serve().'
    return 'fails with ' + status + '. ' + text.slice(0, 200)
  }
  const askByHttp = async () => {
    const start = performance.now()
    try {
      const answer = await fetch('/_nbws/ping', { cache: 'no-store' }), text = await answer.text()
      hostSeen = answer.headers.get('x-nbws-host') || ''
      return heard(answer.status, text, start)
    } catch { return 'no answer. Jupyter, or the network in between, is away.' }
  }

  const isColab = /googleusercontent|colab/.test(location.hostname)
  const NGINX = '(nginx: proxy_http_version 1.1, and the headers Upgrade and Connection)'
  const byRequests = () => { // What was taken in place of a socket that cannot be, and why
    const way = ', by requests (' + (nbwsLine.streams ? 'a stream' : 'long polls') + '). '
    if (location.pathname.includes('/nbws-kernel/')) return way + "Jupyter's way to the kernel carries them. With "
      + 'nbws in the environment that Jupyter runs in, too, it would be faster.'
    if (hostSeen && hostSeen !== location.host)
      return way + `A proxy changes the Host field, so upgrades look like another site's: the app sees ${hostSeen}.`
    return way + (isColab ? 'Colab passes no upgrades on.' : 'A proxy between this browser and the app passes no '
      + 'upgrades on. With them it would be faster ' + NGINX + '.')
  }
  const refused = () => {
    if (!hostSeen || hostSeen === location.host) return isColab
      ? 'blocked. Colab passes no sockets on. Pages with htmx and fetch() work.'
      : 'blocked. If HTTP answers, a proxy between this browser and Jupyter does not pass upgrades on ' + NGINX + '.'
    const allow = jupyter ? `c.ServerApp.allow_origin = '${location.origin}' in Jupyter's configuration.`
      : `App(allowed_origins=['${location.origin}']).`
    return 'refused. A proxy between this browser and the app changes the Host field: the app '
      + `sees ${hostSeen}, and this page is at ${location.host}, so the socket seems to be another site's. Let the `
      + 'proxy pass Host on (nginx: proxy_set_header Host $http_host). Where that cannot be: ' + allow
  }
  const askBySocket = () => new Promise(done => {
    const start = performance.now(), socket = new WebSocket('ws://' + location.host + '/_nbws/echo')
    const late = setTimeout(done, 15000, 'no answer within 15 s. If HTTP answers, a proxy between this browser and '
      + 'Jupyter holds sockets back: it has to pass upgrades on, without buffering.')
    const end = text => {
      clearTimeout(late)
      done(text)
    }
    socket.onopen = () => socket.send('ping')
    socket.onmessage = () => {
      const carried = window.nbwsSockets && nbwsSockets.carried.has(socket)
      end('answers, ' + since(start) + (carried ? byRequests() : ''))
      socket.close()
    }
    socket.onerror = () => end(refused())
  })

  const examine = async () => {
    show('http', 'HTTP: ' + await askByHttp()) // First: the socket's answer depends on the Host that was seen
    show('socket', 'WebSocket: ' + await askBySocket())
  }
  examine()
})()
