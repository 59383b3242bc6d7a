"""A server of this process, for stand-ins of what is around a notebook."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalServer:
    """It listens at a `port` of this machine, each request in a thread, until `close`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        """Listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    def close(self) -> None:
        """The end."""
        self._server.shutdown()
        self._server.server_close()
