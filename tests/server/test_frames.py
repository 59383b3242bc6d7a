"""The decoder against `websockets` and `wsproto`: the same bytes, cut anywhere, must mean the same to all three."""
from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import Protocol as WebSocketsProtocol
from websockets.protocol import Side, State
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as ProtoPing
from wsproto.events import Pong as ProtoPong
from wsproto.extensions import PerMessageDeflate as ProtoDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from nbws.server import frames
from nbws.server.deflate import Deflater, ZlibInflater, negotiate
from nbws.server.frames import Close, Decoder, Failure, Ping, Pong

LIMIT = 2000
AGREED = negotiate('permessage-deflate', True)
# Lengths in a longer form than they need: `websockets` takes them, against RFC 6455, section 5.2
LENIENT = 'the length is not in its shortest form', 'the control frame is too long'


def ours(pieces: list[bytes], deflate: bool = False, limit: int = LIMIT, budget: int = 64) -> list[Any]:
    decoder = Decoder(limit, ZlibInflater(AGREED) if deflate and AGREED else None)
    found: list[Any] = []
    for piece in pieces:
        found += decoder.feed(piece, budget)
        while decoder.more: found += decoder.feed(b'', budget)
    return [plain(e) for e in found]


def plain(event: Any) -> Any:
    if isinstance(event, Failure) and event.reason in LENIENT: return 'failure', LENIENT
    if isinstance(event, (Ping, Pong)): return type(event).__name__.lower(), event.data
    return (type(event).__name__.lower(), event.code) if isinstance(event, (Close, Failure)) else event


def theirs(pieces: list[bytes], deflate: bool = False, limit: int = LIMIT) -> list[Any]:
    "What `websockets` makes of it."
    protocol = WebSocketsProtocol(Side.SERVER, state=State.OPEN, max_size=limit)
    if deflate: protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    found: list[Any] = []
    message, kind = b'', None
    for piece in pieces: protocol.receive_data(piece)
    for event in protocol.events_received():
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT: message, kind = b'', event.opcode
            message += bytes(event.data)
            if not event.fin: continue
            if kind is not Opcode.TEXT: found.append(message)
            else:
                try: found.append(message.decode())  # It leaves this to its caller
                except UnicodeDecodeError: return [*found, ('failure', 1007)]
        elif event.opcode is Opcode.PING: found.append(('ping', bytes(event.data)))
        elif event.opcode is Opcode.PONG: found.append(('pong', bytes(event.data)))
        else: return [*found, ('close', protocol.close_rcvd.code if protocol.close_rcvd else 0)]
    if str(protocol.parser_exc) == 'incomplete fragmented message' and protocol.close_rcvd:
        found.append(('close', protocol.close_rcvd.code))  # We let a client leave in the middle: RFC 6455, section 5.4
    elif protocol.parser_exc: found.append(('failure', protocol.close_sent.code if protocol.close_sent else 0))
    return found


def protos(pieces: list[bytes], deflate: bool = False) -> list[Any]:
    "What `wsproto` makes of it; it has no limit."
    extensions: list[Any] = []
    if deflate:
        extension = ProtoDeflate()
        extension.accept('permessage-deflate')
        extension._enabled = True
        extensions = [extension]
    connection = Connection(ConnectionType.SERVER, extensions=extensions)
    found: list[Any] = []
    message: Any = None
    for piece in pieces:
        try:
            connection.receive_data(piece)
            for event in connection.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    part = event.data if isinstance(event, TextMessage) else bytes(event.data)
                    message = part if message is None else message + part
                    if event.message_finished:
                        found.append(message)
                        message = None
                elif isinstance(event, ProtoPing): found.append(('ping', bytes(event.payload)))
                elif isinstance(event, ProtoPong): found.append(('pong', bytes(event.payload)))
                elif isinstance(event, CloseConnection): return [*found, ('close', int(event.code))]
        except RemoteProtocolError as e:
            return [*found, ('failure', int(e.event_hint.code if e.event_hint else CloseReason.PROTOCOL_ERROR))]
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({p % (len(data) + 1) for p in places})
    return [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True) if i < j]


def pack(data: bytes, packer: Any) -> bytes: return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


TEXTS = st.text(max_size=300)
MESSAGES = st.one_of(TEXTS, st.binary(max_size=300))
MASKS = st.binary(min_size=4, max_size=4)
CONTROLS = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125), mask=MASKS)
PLACES = st.lists(st.integers(0, 10**6), max_size=8)


@st.composite
def streams(draw: st.DrawFn, deflate: bool = False, controls: bool = True) -> bytes:
    "What a client may send that keeps the rules, in any way that the rules allow."
    packer, out = zlib.compressobj(wbits=-15), b''
    for message in draw(st.lists(MESSAGES, max_size=6)):
        data, opcode = (message.encode(), TEXT) if isinstance(message, str) else (message, BINARY)
        packed = deflate and draw(st.booleans())
        if packed: data = pack(data, packer)
        parts = cut(data, draw(st.lists(st.integers(0, 300), max_size=3))) or [b'']
        for n, part in enumerate(parts):
            out += frame(CONT if n else opcode, part, fin=n == len(parts) - 1, rsv=4 if packed and not n else 0,
                         mask=draw(MASKS))
            if controls and draw(st.booleans()): out += draw(CONTROLS)
    if draw(st.booleans()): out += close(draw(st.sampled_from([1000, 1001, 4999])), draw(st.text(max_size=20)).encode())
    return out


@settings(max_examples=150)
@given(streams(), PLACES)
def test_what_keeps_the_rules(data: bytes, places: list[int]) -> None:
    pieces = cut(data, places)
    assert ours(pieces) == ours([data]) == theirs(pieces) == protos(pieces)


@settings(max_examples=150)
@given(streams(deflate=True), PLACES)
def test_what_keeps_the_rules_compressed(data: bytes, places: list[int]) -> None:
    pieces = cut(data, places)
    assert ours(pieces, deflate=True) == ours([data], deflate=True) == theirs(pieces, deflate=True)


@settings(max_examples=100)
@given(streams(deflate=True, controls=False), PLACES)
def test_wsproto_compressed(data: bytes, places: list[int]) -> None:
    "wsproto takes what follows a ping between two fragments for uncompressed, so without pings."
    assert ours(cut(data, places), deflate=True) == protos([data], deflate=True)


@settings(max_examples=300)
@given(streams(), PLACES, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_what_breaks_them(data: bytes, places: list[int], errors: list[tuple[int, int]]) -> None:
    "A few bytes are wrong: both decoders see the same events and give the same verdict."
    broken = bytearray(data)
    for place, value in errors:
        if broken: broken[place % len(broken)] = value
    agree(ours(cut(bytes(broken), places)), theirs([bytes(broken)]))


@settings(max_examples=300)
@given(st.binary(max_size=60), PLACES, st.booleans())
def test_random_bytes(data: bytes, places: list[int], deflate: bool) -> None:
    found = ours(cut(data, places), deflate)
    assert found == ours([data], deflate)
    assert all(e[1] in (1002, 1007, 1009, LENIENT) for e in found if isinstance(e, tuple) and e[0] == 'failure')


@pytest.mark.parametrize('seed', range(4))
def test_frames_put_together_at_random(seed: int) -> None:
    "Heads made of every bit, right or wrong: more often nearly right than random bytes are."
    chance = random.Random(seed)
    for _ in range(1500):
        data = b''.join(frame(chance.choice([0, 0, 1, 1, 2, 8, 9, 10, 3, 11]),
                              chance.choice([b'', b'abc', b'\xce', b'\xba', bytes(125), bytes(126), b'\x03\xe8']),
                              fin=chance.random() < .7, rsv=chance.choice([0] * 12 + [1, 2, 4]),
                              mask=None if chance.random() < .02 else b'abcd')
                        for _ in range(chance.randrange(1, 6)))
        pieces = cut(data, [chance.randrange(10**6) for _ in range(3)])
        agree(ours(pieces), theirs([data]))


def agree(mine: list[Any], other: list[Any]) -> None:
    """The same events and the same verdict.

    But we judge a head when it is there and bad text as it comes, `websockets` a frame and a message when they are
    complete: so it may still wait where we have refused, or go on with control frames where the text was bad.
    """
    last = mine[-1] if mine else None
    if last in (('failure', 1007), ('failure', LENIENT)): assert other[:len(mine) - 1] == mine[:-1]
    elif last == ('failure', 1002): # 1009: the frame was wrong and too long
        assert other in (mine, mine[:-1], [*mine[:-1], ('failure', 1009)])
    else: assert mine == other


# The other direction

def client(deflate: bool = False) -> WebSocketsProtocol:
    protocol = WebSocketsProtocol(Side.CLIENT, state=State.OPEN, max_size=None)
    if deflate: protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return protocol


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)), st.sampled_from([0, 125, 126, 65535, 65536, 70000]))
def test_what_we_send_is_understood(message: str | bytes, more: int) -> None:
    message = message + 'x' * more if isinstance(message, str) else message + bytes(more)
    for deflate in (False, True):
        protocol = client(deflate)
        agreed = negotiate('permessage-deflate')
        assert agreed
        protocol.receive_data(Deflater(agreed).frame(message) if deflate else frames.frame(message))
        event, = protocol.events_received()
        assert event.opcode is (Opcode.TEXT if isinstance(message, str) else Opcode.BINARY)
        assert bytes(event.data) == (message.encode() if isinstance(message, str) else message)


@given(st.sampled_from([1000, 1001, 1003, 1008, 1011, 1013, 3000, 4999]), st.text())
def test_our_close_frame_is_understood(code: int, reason: str) -> None:
    protocol = client()
    protocol.receive_data(frames.close_frame(code, reason))
    protocol.events_received()
    assert protocol.close_rcvd
    assert protocol.close_rcvd.code == code
    assert reason.encode('utf-8', 'replace').startswith(protocol.close_rcvd.reason.encode())


# What one client may cost

@pytest.mark.parametrize('piece', [100, 100_000])
@pytest.mark.parametrize('kind', [TEXT, BINARY])
def test_a_message_costs_its_own_size(kind: int, piece: int) -> None:
    "However it is cut, in fragments or in reads: no copy for each piece, and none at its end."
    import tracemalloc
    n = 10**7 // piece
    fragments = [frame(CONT, b'x' * piece, fin=False)] * n
    fragments[0], fragments[-1] = frame(kind, b'x' * piece, fin=False), frame(CONT, b'x' * piece)
    for pieces in (fragments, cut(frame(kind, b'x' * 10**7), list(range(piece, 10**7, piece)))):
        decoder, events = Decoder(), []
        tracemalloc.start()
        try:
            for data in pieces: events += decoder.feed(data)
            _, peak = tracemalloc.get_traced_memory()
        finally: tracemalloc.stop()
        assert peak < 1.2 * 10**7
        assert events == ['x' * 10**7 if kind == TEXT else b'x' * 10**7]
        assert decoder.partial == 0


@pytest.mark.parametrize('kind', [TEXT, BINARY])
def test_a_compressed_message_costs_its_own_size(kind: int) -> None:
    import tracemalloc
    agreed = negotiate('permessage-deflate')
    assert agreed
    data = frame(kind, pack(b'x' * 9 * 2**20, zlib.compressobj(wbits=-15)), rsv=4)
    decoder, events = Decoder(inflater=ZlibInflater(agreed)), []
    tracemalloc.start()
    try:
        events += decoder.feed(data)
        while decoder.more: events += decoder.feed(b'')
        _, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert peak < 13 * 2**20 # And what one look at compressed bytes may bring
    assert [len(e) for e in events] == [9 * 2**20]


def test_short_compressed_messages_take_the_usual_way() -> None:
    "Each may refer to those before, however these came; what is no text fails once, and is the last."
    class Usual(Decoder):
        others = 0
        def feed_others(self, data: bytes, budget: int) -> list[Any]:
            self.others += 1
            return super().feed_others(data, budget)
    decoder, packer = Usual(inflater=ZlibInflater(AGREED)) if AGREED else Usual(), zlib.compressobj(wbits=-15)
    def wire(data: str, kind: int = TEXT) -> bytes: return frame(kind, pack(data.encode(), packer), rsv=4)
    said = ['{"msg": "hello"}', '{"msg": "hello"}', 'grün', '', '{"msg": "hello"}']
    assert [decoder.feed(wire(each)) for each in said] == [[each] for each in said]
    assert decoder.feed(wire('{"msg": "hello"}', BINARY)) == [b'{"msg": "hello"}']
    assert decoder.others == 0
    assert decoder.feed(wire('two') + wire('{"msg": "hello"}')) == ['two', '{"msg": "hello"}']
    assert decoder.feed(wire('x' * 500)) == ['x' * 500]
    assert decoder.others == 1
    assert decoder.feed(wire('two{"msg": "hello"}')) == ['two{"msg": "hello"}']
    assert [type(e) for e in decoder.feed(frame(TEXT, pack(b'two\xff', packer), rsv=4))] == [Failure]
    assert decoder.feed(wire('more')) == []


def test_what_has_come_of_a_text_counts_as_much_as_it_takes() -> None:
    "One character beyond the others makes each of them four bytes."
    decoder = Decoder()
    decoder.feed(frame(TEXT, 'x' * 10**6, fin=False))
    assert 10**6 < decoder.partial < 1.1 * 10**6
    decoder.feed(frame(CONT, '😀' + 'x' * 10**5, fin=False))
    assert decoder.partial > 4.4 * 10**6
    assert decoder.feed(frame(CONT, 'y')) == ['x' * 10**6 + '😀' + 'x' * 10**5 + 'y']


def test_a_tail_does_not_hold_its_read() -> None:
    decoder = Decoder()
    decoder.feed(frame(BINARY, bytes(200_000)) + b'\x82')
    assert decoder.undecoded == 1


def test_a_million_empty_fragments() -> None:
    decoder = Decoder()
    decoder.feed(frame(TEXT, fin=False))
    flood = frame(CONT, fin=False) * 10_000
    for _ in range(10):
        assert decoder.feed(flood) == []
        while decoder.more: assert decoder.feed(b'') == []
    assert decoder.feed(frame(CONT, 'x')) == ['x']


def test_a_read_of_many_frames_is_taken_in_steps() -> None:
    "40,000 empty fragments took 70 ms: between two steps others have their turn."
    decoder, steps = Decoder(), 1
    decoder.feed(frame(TEXT, fin=False) + frame(CONT, fin=False) * 40_000)
    others = decoder._others
    while decoder.more:
        left = len(others.data) - others.at
        assert decoder.feed(b'') == []
        steps += 1
        assert left - len(others.data) + others.at < 1000 * len(frame(CONT))
    assert steps > 40


def test_nothing_is_decoded_after_the_end() -> None:
    decoder = Decoder()
    assert decoder.feed(frame(CLOSE) + frame(TEXT, 'a')) == [Close(1005)]
    assert decoder.feed(frame(TEXT, 'a')) == []
    assert not decoder.more


def test_the_limit_is_told_before_the_payload_comes() -> None:
    assert ours([b'\x82\xff' + struct.pack('>Q', 2**40)]) == [('failure', 1009)]


@pytest.mark.parametrize('budget', [1, 3, 64])
def test_the_budget_only_delays(budget: int) -> None:
    data = b''.join(frame(TEXT, str(n)) + frame(PING, str(n)) for n in range(200))
    assert ours([data], budget=budget) == ours([data], budget=10**6)
