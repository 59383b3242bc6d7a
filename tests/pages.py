"""Clients that do what a page does: they connect again, and get what they have missed."""
from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

from bound import BOUND
from processes import ws
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection


class Page:
    "A client that connects again when its socket ends, to one server after the other, and says what it has seen."
    def __init__(self, *ports: int) -> None:
        self.ports, self.heard, self.pid = ports, [], 0
        self.seen: dict[str, str] = {}
        self.ended, self.here = threading.Event(), threading.Event()
        self.here.set()
        self._ws: ClientConnection | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
    heard: list[str]

    @property
    def path(self) -> str:
        "Where it connects, with what it has seen."
        return '/ws?nbws-since=' + '.'.join(f'{epoch}:{offset}' for epoch, offset in self.seen.items())

    def _run(self) -> None:
        n = 0
        while not self.ended.is_set():
            self.here.wait()
            port, n = self.ports[n % len(self.ports)], n + 1
            with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                with ws(port, self.path, compression=None) as self._ws: self._hear(self._ws)
            self._ws = None

    def _hear(self, ws: ClientConnection) -> None:
        while self.here.is_set() and not self.ended.is_set():
            with suppress(TimeoutError): self._heard(str(ws.recv(.1)))

    def _heard(self, text: str) -> None:
        if text.startswith('pid '): self.pid = int(text.split()[1])
        elif found := re.fullmatch('(.*)\x1e([0-9a-f]{8}):([0-9]+)', text, re.S):
            self.seen[found[2]] = found[3]
            if found[1]: self.heard.append(found[1])

    def drop(self) -> bool:
        "Cut its connection, without a word. False where there is none."
        ws = self._ws
        if ws is None: return False
        with suppress(OSError): ws.socket.shutdown(socket.SHUT_RDWR)
        return True

    def leave(self) -> None:
        "Be away until `come`."
        self.here.clear()
        self.drop()

    def come(self) -> None: self.here.set()

    def end(self) -> None:
        self.ended.set()
        self.come()
        self.thread.join(BOUND)
