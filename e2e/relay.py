"""A network that tests can break."""

from __future__ import annotations

import socket
import threading


class Relay:
    """A network between the browser and a server that can be cut, stand still, or lose connections without a word."""

    def __init__(self, port: int) -> None:
        self.target, self.open = port, True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: set[socket.socket] = set()
        self.forgotten: set[socket.socket] = set()
        self.flows = threading.Event()
        self.flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                ours.close()
                continue
            try:
                theirs = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # The server is being started again
                ours.close()
                continue
            self.sockets |= {ours, theirs}
            for a, b in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a: socket.socket, b: socket.socket) -> None:
        try:
            while data := a.recv(65536):
                self.flows.wait()
                if a not in self.forgotten:
                    b.sendall(data)
        except OSError:
            pass
        self.flows.wait()
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def cut(self) -> None:
        """Drop everything, and refuse what is new."""
        self.open = False
        for s in tuple(self.sockets):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # Closed already
        self.sockets.clear()

    def forget(self) -> None:
        """Let everything that is open stay so, and pass nothing on any more; what is new passes."""
        self.forgotten |= self.sockets

    def hold(self) -> None:
        """Pass nothing on and tell nobody, as for a laptop that sleeps; `release` passes on what came meanwhile."""
        self.flows.clear()

    def release(self) -> None:
        """Pass everything on again."""
        self.flows.set()

    def close(self) -> None:
        """The end."""
        self.release()
        self.cut()
        self.listener.close()
