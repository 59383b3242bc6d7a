#!/usr/bin/env bash
# uvloop 0.23.0. The guess: as asyncio's loops do, it reads once from a connection before others have their turn. What it
# does: `data_received` of one connection is called up to 32 times in a turn of the loop.
#
# asyncio's selector loop reads up to 256 KiB from a connection that is ready, and goes on to the next one. libuv
# (`uv__read`, a loop of 32) reads again as long as each read fills its buffer, which is 256,000 bytes in uvloop. So of a
# client that sends fast 8 MB may be handled before any other connection, timer or `call_soon` has its turn: a protocol
# that bounds its work for each read bounds a 32nd part of it. `pause_reading` within `data_received` ends the series.
# Exits 0 while that is so, 1 when it has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check uvloop==0.23.0 2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
"$dir/venv/bin/python" - <<'PY'
import asyncio, socket, sys, threading
import uvloop

MIB = 2**20

def most_reads_in_a_turn(new_loop, pause: bool, size: int = 256 * MIB) -> int:
    "Of a connection on which `size` bytes come as fast as they are taken."
    loop, turn, reads, done = new_loop(), 0, {}, []
    def next_turn():
        nonlocal turn
        turn += 1
        if not done: loop.call_soon(next_turn)
    class Reader(asyncio.Protocol):
        left = size
        def connection_made(self, transport): self.transport = transport
        def data_received(self, data):
            reads[turn] = reads.get(turn, 0) + 1
            self.left -= len(data)
            if pause:
                self.transport.pause_reading()
                loop.call_soon(self.transport.resume_reading)
            if self.left <= 0 and not done:
                done.append(1)
                ended.set_result(None)
    async def main():
        nonlocal ended
        ended = loop.create_future()
        server = await loop.create_server(Reader, '127.0.0.1', 0)
        port = server.sockets[0].getsockname()[1]
        def send():
            with socket.create_connection(('127.0.0.1', port)) as s:
                for _ in range(size // MIB): s.sendall(bytes(MIB))
        sender = threading.Thread(target=send)
        sender.start()
        loop.call_soon(next_turn)
        await asyncio.wait_for(ended, 120)
        server.close()
        await loop.run_in_executor(None, sender.join)
    ended = None
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return max(reads.values())

plain = most_reads_in_a_turn(asyncio.SelectorEventLoop, False)
many, paused = (most_reads_in_a_turn(uvloop.new_event_loop, p) for p in (False, True))
print(f'uvloop {uvloop.__version__}, Python {sys.version.split()[0]}')
print('data_received in a turn of the loop, at the most: asyncio', plain, '- uvloop', many, '- uvloop with pause_reading', paused)
assert plain == 1 and paused == 1, 'asyncio reads more than once, or pausing does not end the series'
assert 1 < many <= 32, 'uvloop reads once'
PY
