"The chat as python-socketio has it: `python python_socketio.py PORT REDIS_URL`."
import sys

import socketio
import uvicorn

port, redis = sys.argv[1:]
sio = socketio.AsyncServer(async_mode='asgi', client_manager=socketio.AsyncRedisManager(redis))

@sio.event
async def connect(sid, environ): await sio.enter_room(sid, 'people')

@sio.event
async def say(sid, text): await sio.emit('said', text, room='people')

uvicorn.run(socketio.ASGIApp(sio), port=int(port), log_level='error')
