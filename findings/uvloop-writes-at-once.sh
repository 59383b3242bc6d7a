#!/usr/bin/env bash
# uvloop 0.22.1 and 0.23.0. The guess: uvloop's transports collect what is written to them, and write it when all that was
# ready has been read, as the source of 0.22 says (`UVStream._initiate_write`). What 0.23.0 does: it writes at once, as
# asyncio's transports do.
#
# So two writes in a turn of the loop are two system calls and two segments where they were one. A server that left it to
# the loop to write the answers of a turn in one burst now wakes a sleeping client for each of them, which takes more of
# its own time than the write does. `uvloop>=0.19` gives both, whatever was installed first.
# Exits 0 while that is so, 1 when it has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/writes.py" <<'PY'
import asyncio, socket, sys
import uvloop

async def left_at_once(write) -> int:
    "Bytes that have left when the transport's methods have returned, before the loop goes on."
    loop, made = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    class Writer(asyncio.Protocol):
        def connection_made(self, transport): made.set_result(transport)
    server = await loop.create_server(Writer, '127.0.0.1', 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        transport = await asyncio.wait_for(made, 60)
        write(transport)
        client.settimeout(0.3) # More than a loopback takes
        try: found = len(client.recv(100))
        except TimeoutError: found = 0
        transport.close()
    server.close()
    return found

def twice(transport):
    transport.write(b'one')
    transport.write(b'two')

async def main(): return await left_at_once(lambda t: t.write(b'one')), await left_at_once(twice)

for name, new_loop in (('asyncio', asyncio.new_event_loop), ('uvloop', uvloop.new_event_loop)):
    loop = new_loop()
    once, both = loop.run_until_complete(main())
    loop.close()
    print(f'uvloop {uvloop.__version__}, Python {sys.version.split()[0]}, {name}: {once} of 3 and {both} of 6 bytes can be read when `write` has returned')
    at_once = name == 'asyncio' or uvloop.__version__ != '0.22.1'
    assert (once > 0) is at_once and (both > 0) is at_once, 'it does not write as it did'
PY
for version in 0.22.1 0.23.0; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/pip" install -q --disable-pip-version-check "uvloop==$version" 2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
  "$dir/$version/bin/python" "$dir/writes.py"
done
