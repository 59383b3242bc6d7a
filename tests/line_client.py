"""A page's end of a line over HTTP, in Python."""
from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import httpx
from bound import BOUND

from nbws.lines.frames import BINARY, HEAD, NOTHING, TEXT, line_frame

UNCONFIRMED = 2**15 # Bytes that a stream has brought after which the other end is told


class Told(NamedTuple):
    kind: int
    number: int
    data: bytes


def split(data: bytes) -> Iterator[Told]:
    "The frames that came down."
    at = 0
    while at < len(data):
        kind, number, size = struct.unpack_from('>BII', data, at)
        yield Told(kind, number, data[at + HEAD:at + HEAD + size])
        at += HEAD + size


class Client:
    "A page's end of a line, which polls."
    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=BOUND, trust_env=False, headers=headers)
        self.sent = self.got = 0
        self.waiting: list[Told] = []

    def __enter__(self) -> Client:
        self.name = self.post().json()['line']
        return self

    def __exit__(self, *error: object) -> None: self.http.close()

    @property
    def fields(self) -> dict[str, str]: return {'nbws-line': self.name} if hasattr(self, 'name') else {}

    def post(self, query: str = '', body: bytes = b'', **headers: str) -> httpx.Response:
        return self.http.post(f'/_nbws/line?{query}', content=body, headers={**self.fields, **headers})

    def open(self, number: int, path: str, protocols: str = '') -> int:
        answer = self.post(f'open={number}&url={path}&protocols={protocols}')
        return int(answer.json()['status']) if answer.is_success else -answer.status_code

    def send(self, number: int, data: str | bytes | None = None, kind: int | None = None) -> int:
        content = data.encode() if isinstance(data, str) else data or b''
        if kind is None: kind = TEXT if isinstance(data, str) else BINARY
        body = line_frame(kind, number, content)
        status = self.post(f'up={self.sent}&down={self.got}', body).status_code
        if status == 204: self.sent += len(body)
        return status

    def poll(self) -> list[Told]:
        answer = self.post(f'down={self.got}')
        assert answer.status_code == 200, answer.text
        self.got += len(answer.content)
        return [*split(answer.content)]

    def next(self, *kinds: int) -> Told:
        "The next frame that says something; or of these kinds."
        while True:
            while not self.waiting: self.waiting = [told for told in self.poll() if told.kind != NOTHING]
            told = self.waiting.pop(0)
            if not kinds or told.kind in kinds: return told


class StreamClient(Client):
    "One that has what comes down streamed."
    def __init__(self, url: str, **headers: str) -> None:
        super().__init__(url, **headers)
        self._frames = self._streamed()

    def poll(self) -> list[Told]: return [next(self._frames)]

    def _streamed(self) -> Iterator[Told]:
        rest, told = b'', 0
        while True: # A stream ends after a while, and another one goes on from there
            query = f'/_nbws/line?down={self.got}&stream=1'
            with self.http.stream('POST', query, headers=self.fields) as answer:
                assert answer.status_code == 200, answer.status_code
                for piece in answer.iter_raw():
                    self.got += len(piece)
                    whole, rest = whole_frames(rest + piece)
                    if self.got - told > UNCONFIRMED: # The page says what it has
                        assert self.post(f'up={self.sent}&down={self.got}').status_code == 204
                        told = self.got
                    yield from split(whole)


def whole_frames(data: bytes) -> tuple[bytes, bytes]:
    "The frames that are whole, and what has begun."
    at = 0
    while len(data) - at >= HEAD and len(data) - at >= (size := HEAD + struct.unpack_from('>I', data, at + 5)[0]):
        at += size
    return data[:at], data[at:]
