"""RFC 6455 and 7692, case by case, over real sockets: what goes in, and all that must come out until the end.

The numbers in the headings are those of the Autobahn test suite, where it has such a case. The verdicts are strict: the
exact close code, nothing before it but what was due, nothing after it, and the end of the stream without a timeout.
"""
from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, App, Raw, close, frame, handshake, serving, text
from tornado.websocket import websocket_connect

from nbws.server.conn import SocketProtocol
from nbws.server.limits import Limits
from nbws.server.listener import Server

LIMIT = 2**21


@pytest.fixture(scope='module', params=['asyncio', 'uvloop'])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    limits = Limits(close_timeout=1, max_message=LIMIT)
    with serving(App(), uvloop=request.param == 'uvloop', limits=limits) as server: yield server


def check(server: Server, sent: bytes | list[bytes], expected: list[Any], **fields: str) -> None:
    "Open a socket, send, and want exactly `expected`; a close frame with any reason is ('close', code)."
    with Raw(server) as raw:
        raw.open(**fields)
        raw.send(*(sent if isinstance(sent, list) else [sent]))
        got = [e[:2] if isinstance(e, tuple) and e[0] == 'close' else e for e in raw.events()]
        assert got == expected


DONE = ('close', 1000)
BAD, INVALID, BIG = ('close', 1002), ('close', 1007), ('close', 1009)
END = close()


def f(payload: bytes | str, opcode: int = CONT, fin: bool = False) -> bytes: return frame(opcode, payload, fin=fin)


# 1: echoes of every length at which the head changes its form
@pytest.mark.parametrize('n', [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, LIMIT])
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
def test_lengths(server: Server, opcode: int, n: int) -> None:
    payload = b'*' * n
    check(server, frame(opcode, payload) + END, [payload.decode() if opcode == TEXT else payload, DONE])


@pytest.mark.parametrize('cut', [1, 2, 6, 7, 997, 65536])
def test_a_message_in_pieces(server: Server, cut: int) -> None:
    n = 300 if cut < 10 else 200_000
    data = text('a' * n) + END
    check(server, [data[i:i + cut] for i in range(0, len(data), cut)], ['a' * n, DONE])


CASES: dict[str, tuple[bytes, list[Any]]] = {
    # 2: pings and pongs
    'ping': (frame(PING) + END, [('pong', b''), DONE]),
    'ping with data': (frame(PING, 'Hello') + END, [('pong', b'Hello'), DONE]),
    'ping with binary data': (frame(PING, bytes(range(0, 250, 2))) + END, [('pong', bytes(range(0, 250, 2))), DONE]),
    'ping with 125 bytes': (frame(PING, b'\xfe' * 125) + END, [('pong', b'\xfe' * 125), DONE]),
    'ping with 126 bytes': (frame(PING, b'\xfe' * 126), [BAD]),
    'ping, 64-bit length': (frame(PING, b'a' * 70000), [BAD]),
    'pong nobody asked for': (frame(PONG) + END, [DONE]),
    'pong with data': (frame(PONG, 'x') + frame(PING, 'y') + END, [('pong', b'y'), DONE]),
    'pong with 126 bytes': (frame(PONG, b'a' * 126), [BAD]),
    'ten pings': (b''.join(frame(PING, str(i)) for i in range(10)) + END,
                  [*(('pong', b'%d' % i) for i in range(10)), DONE]),
    'message, ping, message': (text('a') + frame(PING, 'p') + text('b') + END, ['a', ('pong', b'p'), 'b', DONE]),

    # 3: reserved bits
    **{f'rsv {rsv} on {name}': (frame(opcode, payload, rsv=rsv), [BAD]) for rsv in range(1, 8)
       for name, opcode, payload in
       [('text', TEXT, 'x'), ('binary', BINARY, 'x'), ('ping', PING, ''), ('close', CLOSE, b'\x03\xe8')]},
    'rsv after a good message': (text('good') + text('bad', rsv=1) + frame(PING), ['good', BAD]),
    'rsv on a continuation': (f('a', TEXT) + frame(CONT, 'b', rsv=4), [BAD]),

    # 4: reserved opcodes
    **{f'opcode {n}': (frame(n), [BAD]) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f'opcode {n} with data, after a message': (text('a') + frame(n, 'xy') + text('b'), ['a', BAD])
       for n in (3, 7, 11, 15)},

    # 5: fragments
    'two fragments': (f('ab', TEXT) + f('cd', fin=True) + END, ['abcd', DONE]),
    'binary fragments': (f(b'\xff', BINARY) + f(b'\xfe') + f(b'', fin=True) + END, [b'\xff\xfe', DONE]),
    'empty fragments': (f('', TEXT) + f('') + f('', fin=True) + END, ['', DONE]),
    'empty around a full one': (f('', TEXT) + f('middle') + f('', fin=True) + END, ['middle', DONE]),
    'many fragments': (f('', TEXT) + f('a') * 5000 + f('', fin=True) + END, ['a' * 5000, DONE]),
    'fragmented ping': (frame(PING, fin=False) + frame(CONT), [BAD]),
    'fragmented pong': (frame(PONG, 'a', fin=False) + frame(CONT), [BAD]),
    'fragmented close': (frame(CLOSE, b'\x03\xe8', fin=False), [BAD]),
    'ping between fragments': (f('ab', TEXT) + frame(PING, 'p') + f('cd', fin=True) + END,
                               [('pong', b'p'), 'abcd', DONE]),
    'pong between fragments': (f('ab', TEXT) + frame(PONG, 'p') + f('cd', fin=True) + END, ['abcd', DONE]),
    'pings between many fragments': (f('a', TEXT) + (f('b') + frame(PING, 'p')) * 5 + f('c', fin=True) + END,
                                     [*[('pong', b'p')] * 5, 'abbbbbc', DONE]),
    'close between fragments': (f('ab', TEXT) + END + f('cd', fin=True), [DONE]),
    'continuation of nothing': (f('a', fin=True), [BAD]),
    'unfinished continuation of nothing': (f('a'), [BAD]),
    'continuation after a whole message': (text('a') + f('b', fin=True) + text('c'), ['a', BAD]),
    'continuation after a fragmented message': (f('a', TEXT) + f('b', fin=True) + f('c', fin=True), ['ab', BAD]),
    'text within a message': (f('a', TEXT) + text('b'), [BAD]),
    'binary within a message': (f('a', TEXT) + frame(BINARY, 'b'), [BAD]),
    'a second first fragment': (f('a', TEXT) + f('b', TEXT), [BAD]),
    'two fragmented messages': ((f('a', TEXT) + f('b', fin=True)) * 2 + END, ['ab', 'ab', DONE]),

    # 6: UTF-8
    **{f'valid {s!a}': (text(s) + END, [s, DONE]) for s in
       ['\x00', '\x7f', '\x80', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufffd', '\ufffe', '\uffff', '\U00010000',
        '\U0001fffe', '\U0010ffff',
        'Hello-µ@ßöäüàá-UTF-8!!', 'κόσμε', '\ufeff']},
    **{f'invalid {b.hex()}': (text(b), [INVALID]) for b in
       [b'\x80', b'\xbf', b'\xc0', b'\xc0\x80', b'\xc1\xbf', b'\xc2', b'\xe0\x80\x80', b'\xe0\x9f\xbf', b'\xe2\x82',
        b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xed\xa0\x80\xed\xb0\x80', b'\xf0\x80\x80\x80', b'\xf0\x8f\xbf\xbf',
        b'\xf4\x90\x80\x80', b'\xf5\x80\x80\x80', b'\xf8\x88\x80\x80\x80', b'\xfc\x84\x80\x80\x80\x80', b'\xfe',
        b'\xff', 'κόσμε'.encode() + b'\xed\xa0\x80edited', b'a\xe2\x28\xa1']},
    'a character over two fragments': (f(b'\xce', TEXT) + f(b'\xba', fin=True) + END, ['κ', DONE]),
    'four bytes over four fragments': (f(b'\xf0', TEXT) + f(b'\x9f') + f(b'\x98') + f(b'\x80', fin=True) + END,
                                       ['😀', DONE]),
    'a character that never ends': (f(b'\xce', TEXT) + f(b'', fin=True), [INVALID]),
    'bad in the first fragment, never continued': (f(b'ab\xff', TEXT), [INVALID]),
    'bad in the second fragment, never ended': (f(b'ab', TEXT) + f(b'\xf4\x90'), [INVALID]),
    'bad in an incomplete frame': (text(b'\xce\xba\xf4\x90\x80\x80' + b'a' * 50)[:-50], [INVALID]),
    'bad, then a ping': (text(b'\xff') + frame(PING), [INVALID]),
    'good, then bad': (text('good') + text(b'\xff') + text('good'), ['good', INVALID]),
    'binary need not be UTF-8': (frame(BINARY, b'\xff\x80') + END, [b'\xff\x80', DONE]),

    # 7: closing
    'close without a code': (frame(CLOSE), [('close', 1005)]),
    'close with a reason': (close(1000, b'bye'), [DONE]),
    'close with the longest reason': (close(1000, b'a' * 123), [DONE]),
    'close with a reason too long': (close(1000, b'a' * 124), [BAD]),
    'close with one byte': (frame(CLOSE, b'a'), [BAD]),
    'close with a bad reason': (close(1000, b'\xce\xba\xed\xa0\x80'), [INVALID]),
    'text after close': (END + text('a'), [DONE]),
    'ping after close': (END + frame(PING), [DONE]),
    'two closes': (END + close(1001), [DONE]),
    'garbage after close': (END + b'\xff' * 100, [DONE]),
    'a large message, then close': (text('a' * 200000) + END, ['a' * 200000, DONE]),
    **{f'close {n}': (close(n), [('close', n)]) for n in
       (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)},
    **{f'close {n}, which must not be sent': (close(n), [BAD]) for n in
       (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},

    # 9: limits, declared and real
    'one byte too long': (text('a' * (LIMIT + 1)), [BIG]),
    'declared too long, nothing follows': (frame(BINARY, length=b'\x7f' + struct.pack('>Q', LIMIT + 1)), [BIG]),
    'declared as 32 MiB': (frame(TEXT, length=b'\x7f' + struct.pack('>Q', 2**25)), [BIG]),
    'declared as 2**62': (frame(BINARY, length=b'\x7f' + struct.pack('>Q', 2**62)), [BIG]),
    'fragments too long together': (f('a' * LIMIT, TEXT) + f('a'), [BIG]),
    'fragments too long, declared': (f('a' * 1000, TEXT) + frame(CONT, length=b'\x7f' + struct.pack('>Q', LIMIT)),
                                     [BIG]),
    'fragments up to the limit': (f('a' * (LIMIT - 1), TEXT) + f('a', fin=True) + END, ['a' * LIMIT, DONE]),
    'a thousand messages at once': (text('a') * 1000 + END, [*['a'] * 1000, DONE]),

    # Lengths that are not in the shortest form, or not lengths
    'length 125 in 16 bits': (frame(BINARY, b'a' * 125, length=b'\x7e\x00\x7d'), [BAD]),
    'length 0 in 16 bits': (frame(TEXT, length=b'\x7e\x00\x00'), [BAD]),
    'length 65535 in 64 bits': (frame(BINARY, b'a' * 65535, length=b'\x7f' + struct.pack('>Q', 65535)), [BAD]),
    'length with the high bit': (frame(BINARY, length=b'\x7f' + b'\x80' + bytes(7)), [BAD]),
    'length of all ones': (frame(BINARY, length=b'\x7f' + b'\xff' * 8), [BAD]),

    # Masks
    'unmasked text': (text('a', mask=None), [BAD]),
    'unmasked ping': (frame(PING, mask=None), [BAD]),
    'unmasked close': (frame(CLOSE, b'\x03\xe8', mask=None), [BAD]),
    'unmasked continuation': (f('a', TEXT) + frame(CONT, 'b', mask=None), [BAD]),
    'unmasked after masked': (text('a') + text('b', mask=None), ['a', BAD]),
    'a mask of zeros': (text('abc', mask=bytes(4)) + END, ['abc', DONE]),
    'a mask of ones': (text('abc', mask=b'\xff' * 4) + END, ['abc', DONE]),
}


@pytest.mark.parametrize('name', CASES)
def test_case(server: Server, name: str) -> None: check(server, *CASES[name])


@pytest.mark.parametrize('name', [n for n, (data, _) in CASES.items() if len(data) < 600])
def test_case_bytewise(server: Server, name: str) -> None:
    "The same verdict when every byte comes alone."
    with Raw(server) as raw:
        raw.open()
        try: raw.send_bytewise(CASES[name][0])
        except OSError: pass  # It has been judged already, and the server is gone
        got = [e[:2] if isinstance(e, tuple) and e[0] == 'close' else e for e in raw.events()]
        assert got == CASES[name][1]


def test_the_reason_is_not_echoed_but_the_code(server: Server) -> None:
    with Raw(server) as raw:
        raw.open()
        raw.send(close(4321, b'mine'))
        assert raw.events() == [('close', 4321, '')]


def test_a_socket_that_waits_is_not_closed(server: Server) -> None:
    with Raw(server) as raw:
        raw.open()
        raw.send(text('a')[:3])
        raw.send(text('a')[3:])
        assert raw.frame() == (8, TEXT, b'a')
        raw.send(END)
        assert raw.events() == [('close', 1000, '')]


# The handshake

def status(server: Server, data: bytes) -> tuple[int, dict[str, str]]:
    with Raw(server) as raw:
        code, headers, _ = raw.get(data)
        return code, headers


def test_the_example_of_the_rfc(server: Server) -> None:
    code, headers = status(server, handshake())
    assert code == 101
    assert headers['sec-websocket-accept'] == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    assert (headers['upgrade'].lower(), headers['connection'].lower()) == ('websocket', 'upgrade')
    unasked = {'content-length', 'transfer-encoding', 'sec-websocket-protocol', 'sec-websocket-extensions'}
    assert not unasked & set(headers)


@pytest.mark.parametrize(('fields', 'expected'), [
    ({'upgrade': 'WebSocket'}, 101), ({'upgrade': 'h2c, websocket'}, 101), ({'connection': 'keep-alive, Upgrade'}, 101),
    ({'connection': 'UPGRADE'}, 101), ({'sec_websocket_protocol': 'chat, superchat'}, 101),
    ({'origin': 'http://elsewhere.example'}, 403),
    ({'sec_websocket_extensions': 'x-unknown; a=b'}, 101), ({'content_length': '0'}, 101), ({'path': '/a?b=c&d'}, 101),
    ({'upgrade': None}, 400), ({'upgrade': 'h2c'}, 400), ({'connection': None}, 400),
    ({'connection': 'keep-alive'}, 400),
    ({'sec_websocket_key': None}, 400), ({'sec_websocket_key': ''}, 400), ({'sec_websocket_key': 'c2hvcnQ='}, 400),
    ({'sec_websocket_key': 'dGhlIHNhbXBsZSBub25jZSBpcyBsb25n'}, 400), ({'sec_websocket_key': '*' * 24}, 400),
    ({'sec_websocket_key': 'dGhlIHNhbXBsZSBub25jZR=='}, 400),
    ({'sec_websocket_version': None}, 426), ({'sec_websocket_version': '8'}, 426),
    ({'sec_websocket_version': '14'}, 426), ({'sec_websocket_version': '013'}, 426),
    ({'sec_websocket_version': '13, 8'}, 426), ({'sec_websocket_version': 'x'}, 426),
    ({'host': None}, 400), ({'method': 'POST'}, 400), ({'method': 'PUT'}, 400), ({'version': 'HTTP/1.0'}, 400),
    ({'content_length': '5'}, 400), ({'transfer_encoding': 'chunked'}, 400),
    ({'sec_websocket_extensions': 'permessage-deflate; ='}, 400), ({'sec_websocket_extensions': '"'}, 400),
])
def test_handshake(server: Server, fields: dict[str, Any], expected: int) -> None:
    code, headers = status(server, handshake(**fields))
    assert code == expected
    if expected == 426: assert headers['sec-websocket-version'] == '13'


def test_two_keys(server: Server) -> None:
    data = handshake().replace(b'Upgrade: ', b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nUpgrade: ')
    assert status(server, data)[0] == 400


def test_subprotocol(server: Server) -> None:
    assert status(server, handshake(sec_websocket_protocol='chat, superchat'))[1]['sec-websocket-protocol'] == 'chat'


def test_handshake_and_frames_cut_anywhere(server: Server) -> None:
    "In one segment or two, nothing is lost at the switch from HTTP to frames."
    data = handshake() + text('one') + frame(PING, 'p') + text('two') + END
    for cut in range(1, len(data), 3):
        with Raw(server) as raw:
            raw.send(data[:cut])
            raw.send(data[cut:])
            assert raw.response()[0] == 101
            assert raw.events() == ['one', ('pong', b'p'), 'two', ('close', 1000, '')]


def test_a_handshake_behind_a_request(server: Server) -> None:
    with Raw(server) as raw:
        raw.send(b'GET /first HTTP/1.1\r\nHost: x\r\n\r\n' + handshake() + text('one') + END)
        assert raw.response()[2] == b'GET /first '
        assert raw.response()[0] == 101
        assert raw.events() == ['one', ('close', 1000, '')]


# 12 and 13: permessage-deflate

TAIL = b'\0\0\xff\xff'


class Packer:
    "A client's side of permessage-deflate."
    def __init__(self, bits: int = 15, takeover: bool = False) -> None:
        self.bits, self.takeover, self.zlib = bits, takeover, zlib.compressobj(wbits=-bits)
        self.inflater = zlib.decompressobj(-15)

    def pack(self, data: bytes) -> bytes:
        if not self.takeover: self.zlib = zlib.compressobj(wbits=-self.bits)
        return (self.zlib.compress(data) + self.zlib.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def unpack(self, data: bytes, takeover: bool = False) -> bytes:
        if not takeover: self.inflater = zlib.decompressobj(-15)
        return self.inflater.decompress(data + TAIL)


NO_TAKEOVER = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'

WINDOW = 'permessage-deflate; server_no_context_takeover; client_max_window_bits={}'


@pytest.mark.parametrize(('offer', 'answer'), [
    ('permessage-deflate', NO_TAKEOVER),
    ('permessage-deflate; client_max_window_bits', WINDOW.format(10)),
    ('permessage-deflate; client_max_window_bits=12', WINDOW.format(10)),
    ('permessage-deflate; client_max_window_bits=9', WINDOW.format(9)),
    ('permessage-deflate; client_max_window_bits; client_no_context_takeover', NO_TAKEOVER),
    ('permessage-deflate; client_no_context_takeover; server_no_context_takeover', NO_TAKEOVER),
    ('permessage-deflate; server_max_window_bits=10', NO_TAKEOVER + '; server_max_window_bits=10'),
    ('permessage-deflate; server_max_window_bits="9"', NO_TAKEOVER + '; server_max_window_bits=9'),
    ('permessage-deflate; server_max_window_bits=7, permessage-deflate', NO_TAKEOVER),
    ('x-webkit-deflate-frame, permessage-deflate', NO_TAKEOVER),
    ('permessage-deflate; unknown', None),
    ('permessage-deflate; server_max_window_bits=16', None),
    ('permessage-deflate; server_max_window_bits', None),
    ('permessage-deflate; client_max_window_bits=7', None),
    ('permessage-deflate; client_no_context_takeover=true', None),
    ('permessage-deflate; server_no_context_takeover; server_no_context_takeover', None),
    ('Permessage-Deflate-2', None),
])
def test_negotiation(server: Server, offer: str, answer: str | None) -> None:
    assert status(server, handshake(sec_websocket_extensions=offer))[1].get('sec-websocket-extensions') == answer


@pytest.mark.parametrize('n', [0, 1, 100, 1024, 5000, 65536, 500_000, LIMIT])
@pytest.mark.parametrize('offer', ['permessage-deflate', 'permessage-deflate; server_max_window_bits=9'])
def test_compressed_echo(server: Server, n: int, offer: str) -> None:
    "What we send is compressed from 1 KiB on, and can be inflated by anybody."
    packer, message = Packer(), (b'all work and no play ' * (n // 21 + 1))[:n]
    with Raw(server) as raw:
        raw.open(sec_websocket_extensions=offer)
        for _ in range(3):
            raw.send(text(packer.pack(message), rsv=4))
            upper, opcode, payload = raw.frame()
            assert opcode == TEXT
            assert upper == (0b1100 if n >= 1024 else 0b1000)
            assert (packer.unpack(payload) if upper & 4 else payload) == message
        raw.send(END)
        assert raw.events() == [('close', 1000, '')]


@pytest.fixture(scope='module')
def keeping() -> Iterator[Server]:
    "A server that keeps its compression states."
    with serving(App(), context_takeover=True) as server: yield server


def test_context_takeover(keeping: Server) -> None:
    packer = Packer(bits=12, takeover=True)
    noise = random.Random(1).randbytes(1500)
    with Raw(keeping) as raw:
        headers = raw.open(sec_websocket_extensions='permessage-deflate; client_max_window_bits')
        assert headers['sec-websocket-extensions'] == 'permessage-deflate; client_max_window_bits=12'
        sizes = []
        for _ in range(4):
            raw.send(frame(BINARY, packer.pack(noise), rsv=4))
            upper, _, payload = raw.frame()
            assert upper & 4
            assert packer.unpack(payload, takeover=True) == noise
            sizes.append(len(payload))
        assert sizes[0] > 1500  # noise cannot be compressed
        assert max(sizes[1:]) < 100  # but can be referred to


@pytest.mark.parametrize('takes_over', [False, True])
@pytest.mark.parametrize('options', [None, {}, {'compression_level': 9, 'mem_level': 9}])
def test_tornados_client(server: Server, keeping: Server, takes_over: bool, options: dict[str, Any] | None) -> None:
    "It sees no parameter without a value, and refers to what it has sent before, within the window that it was told."
    chance = random.Random(7692)
    texts = [''.join(chance.choices('abcd efgh', k=n)) for n in (5, 5, 100, 2000, 1500, 70_000, 5, LIMIT)]

    async def talk() -> None:
        url = f'ws://127.0.0.1:{(keeping if takes_over else server).port}/'
        client = await websocket_connect(url, compression_options=options, max_message_size=2 * LIMIT)
        for said in texts:
            for message in (said, said.encode(), said):
                await client.write_message(message, binary=isinstance(message, bytes))
                assert await asyncio.wait_for(client.read_message(), 30) == message
        client.close(4001, 'done')
        assert await asyncio.wait_for(client.read_message(), 30) is None
        assert client.close_code == 4001

    asyncio.run(talk())


def test_what_a_silent_socket_keeps(server: Server) -> None:
    "Nothing before its first compressed message, and the agreed window after it."
    def windows() -> list[int]:
        return [len(c.input.decoder.inflater.window) for c in server.connections if isinstance(c, SocketProtocol)]
    packer = Packer(bits=10, takeover=True)
    with Raw(server) as raw:
        raw.open(sec_websocket_extensions='permessage-deflate; client_max_window_bits')
        raw.send(text('as it is'))
        raw.frame()
        assert windows() == [0]
        for n in range(3):
            raw.send(text(packer.pack(f'{n}'.encode() * 50_000), rsv=4))
            raw.frame()
        assert windows() == [1024]
        assert not any(c.input.decoder.inflater.within for c in server.connections if isinstance(c, SocketProtocol))


@pytest.mark.parametrize('side', ['server', 'client'])
def test_a_client_may_ask_for_no_takeover(keeping: Server, side: str) -> None:
    offer = f'permessage-deflate; {side}_no_context_takeover'
    code, headers = status(keeping, handshake(sec_websocket_extensions=offer))
    assert (code, headers['sec-websocket-extensions']) == (101, offer)


P = Packer()
HALVES = P.pack(b'abcdef')[:3], P.pack(b'abcdef')[3:]
BOMB = zlib.compress(bytes(2**27), 9)[2:-4]
DEFLATE: dict[str, tuple[bytes, list[Any]]] = {
    'an uncompressed message': (text('plain') + END, ['plain', DONE]),
    'both kinds in turn': (text('plain') + text(P.pack(b'packed'), rsv=4) + text('plain') + END,
                           ['plain', 'packed', 'plain', DONE]),
    'fragments of a compressed message': (frame(TEXT, HALVES[0], rsv=4, fin=False) + f(HALVES[1], fin=True) + END,
                                          ['abcdef', DONE]),
    'an empty first fragment': (frame(TEXT, b'', rsv=4, fin=False) + f(P.pack(b'abc'), fin=True) + END, ['abc', DONE]),
    'a ping between compressed fragments': (frame(TEXT, HALVES[0], rsv=4, fin=False) + frame(PING, 'p')
                                            + f(HALVES[1], fin=True) + END, [('pong', b'p'), 'abcdef', DONE]),
    'the example with a final block': (text(b'\xf3\x48\xcd\xc9\xc9\x07\x00\x00', rsv=4) + END, ['Hello', DONE]),
    'the example without compression': (text(b'\x00\x05\x00\xfa\xffHello\x00', rsv=4) + END, ['Hello', DONE]),
    'the example in two blocks': (text(b'\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00', rsv=4) + END,
                                  ['Hello', DONE]),
    'rsv1 on a continuation': (frame(TEXT, HALVES[0], rsv=4, fin=False) + frame(CONT, HALVES[1], rsv=4), [BAD]),
    'rsv1 on a continuation of a plain message': (f('abc', TEXT) + frame(CONT, 'd', rsv=4), [BAD]),
    'rsv1 on a ping': (frame(PING, rsv=4), [BAD]),
    'rsv1 on a close': (frame(CLOSE, b'\x03\xe8', rsv=4), [BAD]),
    'rsv2': (text(P.pack(b'abc'), rsv=6), [BAD]),
    'garbage': (text(b'\xff\xff\xff', rsv=4), [BAD]),
    'a reference to a message that was dropped': (text(b'\xf2\x00\x11\x00\x00', rsv=4), [BAD]),
    'invalid UTF-8 inside': (text(P.pack(b'\xff'), rsv=4), [INVALID]),
    'invalid UTF-8 in the first fragment': (frame(TEXT, P.pack(b'abc\xff' * 1000), rsv=4, fin=False), [INVALID]),
    'a bomb of 128 MiB': (frame(BINARY, BOMB, rsv=4), [BIG]),
    'a bomb in fragments': (frame(BINARY, BOMB[:50000], rsv=4, fin=False) + f(BOMB[50000:], fin=True), [BIG]),
    'one byte too long': (frame(BINARY, P.pack(bytes(LIMIT + 1)), rsv=4), [BIG]),
    'thousands of final blocks': (text(b'\x03\x00' * 10000, rsv=4), [BAD]),
}


@pytest.mark.parametrize('name', DEFLATE)
def test_deflate(server: Server, name: str) -> None:
    check(server, *DEFLATE[name], sec_websocket_extensions='permessage-deflate')


@pytest.mark.parametrize('offer', ['permessage-deflate; server_max_window_bits=8', 'x-other', ''])
def test_rsv1_without_agreement(server: Server, offer: str) -> None:
    check(server, text(P.pack(b'abc'), rsv=4), [BAD], sec_websocket_extensions=offer)


# Robustness

def test_garbage(server: Server) -> None:
    "Random bytes are refused with a close code, and the next client is served."
    chance = random.Random(6455)
    for _ in range(100):
        with Raw(server) as raw:
            raw.open()
            raw.send(chance.randbytes(chance.randrange(2, 300)))
            raw.sock.shutdown(socket.SHUT_WR)  # It may have been the beginning of a frame
            assert all(e in (BAD, INVALID, BIG, ('close', 1005)) for e in (e[:2] for e in raw.events()))
    check(server, text('still there') + END, ['still there', DONE])


def test_resets_in_mid_frame(server: Server) -> None:
    for n in range(50):
        raw = Raw(server)
        raw.open()
        raw.send(text('a' * 1000)[:n * 20 + 1])
        raw.reset()
    check(server, text('still there') + END, ['still there', DONE])


def test_half_a_handshake(server: Server) -> None:
    halves = [Raw(server) for _ in range(50)]
    for n, raw in enumerate(halves): raw.send(handshake()[:n * 3])
    check(server, text('still there') + END, ['still there', DONE])
    for raw in halves: raw.sock.close()
