"""A reverse proxy as people have it who have forgotten the two lines for upgrades: requests pass, and nothing else."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler

from .local_server import LocalServer

HOPS = {"connection", "keep-alive", "upgrade", "te", "transfer-encoding", "host", "content-length"}


class HttpOnlyProxy(LocalServer):
    """It asks its target by the target's own name, passes no upgrade, and holds an answer back until it is whole."""

    def __init__(self, target: int, buffers: bool = True) -> None:
        """Listen, in front of a port of this machine; with `buffers` off, answers pass as they come."""
        self.target, self.buffers = target, buffers
        self.asked: list[str] = []  # Method, path and query of each request
        super().__init__(handler_of(self))


def handler_of(proxy: HttpOnlyProxy) -> type[BaseHTTPRequestHandler]:
    """What answers the requests to a proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # The browser has left
                self.close_connection = True

        def do_GET(self) -> None:
            proxy.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fields = {k: v for k, v in self.headers.items() if k.lower() not in HOPS}
            fields["Host"] = f"127.0.0.1:{proxy.target}"
            upstream = HTTPConnection("127.0.0.1", proxy.target, timeout=300)
            try:
                upstream.request(self.command, self.path, body if body else None, fields)
                self._pass_on(upstream)
            except (OSError, HTTPException):
                self.close_connection = True
            finally:
                upstream.close()

        do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_GET

        def _pass_on(self, upstream: HTTPConnection) -> None:
            answer = upstream.getresponse()
            whole = answer.read() if proxy.buffers else b""
            self.send_response(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in HOPS:
                    self.send_header(name, value)
            if proxy.buffers:
                self.send_header("Content-Length", answer.getheader("content-length") or str(len(whole)))
                self.end_headers()
                self.wfile.write(whole)
                return
            self.send_header("Connection", "close")
            self.close_connection = True
            self.end_headers()
            while piece := answer.read1(65536):
                self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
