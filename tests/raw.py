"""A WebSocket and HTTP client that does exactly what it is told, right or wrong, and an app for it to talk to."""
from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from bound import BOUND
from bound import until as until  # Tests of the wire import it from here

from nbws.core.errors import HTTPException
from nbws.core.response import Response
from nbws.core.protocols import Upgrade
from nbws.server.listener import Server

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
TIMEOUT = BOUND


class Echo:
    "A receiver that sends back what it gets, and keeps what it is told."
    def __init__(self) -> None:
        self.conn: Any = None
        self.calls: list[Any] = []

    def opened(self, conn: Any) -> None:
        self.conn = conn
        self.calls.append('opened')

    def received(self, data: str | bytes) -> None: self.conn.send(data)
    def drained(self) -> None: self.calls.append('drained')
    def closed(self, code: int, reason: str = '') -> None: self.calls.append((code, reason))


class App:
    "Accepts every handshake with an `Echo`; answers everything else with what it was asked."
    allowed_hosts = '*',

    def __init__(self, receiver: Any = Echo) -> None:
        self.receiver, self.sockets = receiver, []

    async def http(self, request: Any) -> Any:
        if request.upgrade:
            self.sockets.append(self.receiver())
            offered = request.subprotocols
            return Upgrade(self.sockets[-1], offered[0] if offered else None)
        try: body = await request.body()
        except HTTPException as e: return Response(e.detail, e.status_code)
        return Response(f'{request.method} {request.path} '.encode() + body, headers=[('content-type', 'text/plain')])


def frame(opcode: int, payload: bytes | str = b'', *, fin: bool = True, rsv: int = 0,
          mask: bytes | None = b'\x37\xfa\x21\x3d', length: bytes | None = None) -> bytes:
    "A frame; `mask=None` leaves it unmasked, `length` replaces the bytes of its length (without the mask's bit)."
    data = payload.encode() if isinstance(payload, str) else payload
    n, bit = len(data), 0x80 if mask is not None else 0
    if length is not None: head = bytes([bit | length[0]]) + length[1:]
    elif n < 126: head = bytes([bit | n])
    elif n < 65536: head = bytes([bit | 126]) + struct.pack('>H', n)
    else: head = bytes([bit | 127]) + struct.pack('>Q', n)
    if mask is not None:
        pad = (mask * (n // 4 + 1))[:n]
        data = mask + (int.from_bytes(data, 'big') ^ int.from_bytes(pad, 'big')).to_bytes(n, 'big')
    return bytes([fin << 7 | rsv << 4 | opcode]) + head + data


def text(payload: str | bytes, **options: Any) -> bytes: return frame(TEXT, payload, **options)
def close(code: int | None = 1000, reason: bytes = b'') -> bytes:
    return frame(CLOSE, (struct.pack('>H', code) if code is not None else b'') + reason)


def handshake(path: str = '/', method: str = 'GET', version: str = 'HTTP/1.1', **fields: str | None) -> bytes:
    "A handshake; fields by name with `_` for `-`, `None` leaves one out."
    wanted: dict[str, str | None] = {'Host': 'localhost', 'Upgrade': 'websocket', 'Connection': 'Upgrade',
                                     'Sec-WebSocket-Key': KEY, 'Sec-WebSocket-Version': '13'}
    named = {k.lower(): k for k in wanted}
    for k, v in fields.items(): wanted[named.get(k.replace('_', '-').lower(), k.replace('_', '-'))] = v
    lines = [f'{k}: {v}\r\n' for k, v in wanted.items() if v is not None]
    return f'{method} {path} {version}\r\n{"".join(lines)}\r\n'.encode('latin-1')


class Raw:
    "A socket with a buffer. Every wait is bounded."
    def __init__(self, server: Server, tls: ssl.SSLContext | None = None, receive_buffer: int = 0) -> None:
        self.sock = socket.socket(socket.AF_UNIX if server.unix_socket else socket.AF_INET)
        if receive_buffer: self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(TIMEOUT)
        try: self.sock.connect(str(server.unix_socket) if server.unix_socket else ('127.0.0.1', server.port))
        except OSError:
            self.sock.close()
            raise
        if not server.unix_socket: self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls: self.sock = tls.wrap_socket(self.sock, server_hostname='localhost')
        self.buffer = b''

    def __enter__(self) -> Raw: return self
    def __exit__(self, *error: object) -> None: self.sock.close()

    def send(self, *data: bytes) -> None:
        for d in data: self.sock.sendall(d)

    def send_bytewise(self, data: bytes) -> None:
        for i in range(len(data)): self.sock.sendall(data[i:i + 1])

    def more(self) -> bool:
        "Read on; False at the end of the stream."
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def take(self, n: int) -> bytes:
        while len(self.buffer) < n:
            if not self.more(): raise EOFError(f'the stream ended; left: {self.buffer[:200]!r}')
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self.more(): raise EOFError(f'the stream ended; left: {self.buffer[:200]!r}')
        at = self.buffer.index(mark) + len(mark)
        return self.take(at)

    def rest(self) -> bytes:
        "All that comes until the other end closes."
        while self.more(): pass
        data, self.buffer = self.buffer, b''
        return data

    def reset(self) -> None:
        "Leave with a TCP reset."
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    # HTTP

    def response(self, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        "The next answer: status, header fields, body."
        head = self.until(b'\r\n\r\n').decode('latin-1')
        line, *fields = head[:-4].split('\r\n')
        headers = {k.lower(): v for k, v in (f.split(': ', 1) for f in fields)}
        status = int(line.split()[1])
        if head_only or status in (204, 304) or status < 200: return status, headers, b''
        if headers.get('transfer-encoding') == 'chunked':
            body = b''
            while size := int(self.until(b'\r\n')[:-2], 16):
                body += self.take(size)
                assert self.take(2) == b'\r\n'
            assert self.until(b'\r\n') == b'\r\n'
            return status, headers, body
        if 'content-length' in headers: return status, headers, self.take(int(headers['content-length']))
        return status, headers, self.rest()

    def get(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.send(data)
        return self.response()

    # Frames

    def open(self, path: str = '/', **fields: str | None) -> dict[str, str]:
        "Shake hands; the answer's header fields."
        status, headers, _ = self.get(handshake(path, **fields))
        assert status == 101, status
        return headers

    def frame(self) -> tuple[int, int, bytes]:
        "The next frame: its first byte's upper half, opcode, payload."
        first, second = self.take(2)
        assert second < 128, 'a server must not mask'
        n = second
        if n == 126: n = struct.unpack('>H', self.take(2))[0]
        elif n == 127: n = struct.unpack('>Q', self.take(8))[0]
        return first >> 4, first & 15, self.take(n)

    def events(self) -> list[Any]:
        "Everything until the end of the stream: texts, bytes, ('pong', data), ('close', code, reason)."
        found: list[Any] = []
        while True:
            while not self.buffer:
                if not self.more(): return found
            upper, opcode, payload = self.frame()
            assert upper == 8, f'unexpected bits: {upper:x}'
            if opcode == TEXT: found.append(payload.decode())
            elif opcode == BINARY: found.append(payload)
            elif opcode == PING: found.append(('ping', payload))
            elif opcode == PONG: found.append(('pong', payload))
            elif opcode == CLOSE: found.append(('close', *close_code(payload)))


def close_code(payload: bytes) -> tuple[int, str]:
    if not payload: return 1005, ''
    return struct.unpack('>H', payload[:2])[0], payload[2:].decode()


@contextmanager
def serving(app: Any = None, **options: Any) -> Iterator[Server]:
    "A server for the time of a test."
    server = Server(app or App(), **options).start(TIMEOUT)
    try: yield server
    finally: server.stop()


def call(server: Server, function: Any, *args: Any) -> Any:
    "Call something on the server's loop."
    async def run() -> Any: return function(*args)
    return asyncio.run_coroutine_threadsafe(run(), server.loop).result(TIMEOUT)


def get(server: Server, path: str) -> tuple[int, bytes]:
    "On a connection of its own."
    connection = HTTPConnection('127.0.0.1', server.port, timeout=BOUND)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally: connection.close()
