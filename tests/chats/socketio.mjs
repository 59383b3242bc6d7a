// The chat as Socket.IO has it on node: `node socketio.mjs PORT REDIS_SOCKET`, beside node_modules.
import { createAdapter } from '@socket.io/redis-streams-adapter'
import { createClient } from 'redis'
import { Server } from 'socket.io'

const [port, path] = process.argv.slice(2)
const redis = createClient({ socket: { path } })
redis.on('error', () => {}) // It connects again by itself
await redis.connect()
const io = new Server({ adapter: createAdapter(redis), connectionStateRecovery: {} })

io.on('connection', socket => {
  if (!socket.recovered) socket.join('people')
  socket.on('say', (text, taken) => {
    io.to('people').emit('said', text)
    taken?.()
  })
})
io.listen(Number(port), { host: '127.0.0.1' })
