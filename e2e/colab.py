"""A stand-in for Colab: what its output frame offers, and what its proxy does, by its public sources (colabtools).

The output is a page of another origin than the app. The way to the kernel's port is a proxy that asks by a name of its
own, passes no upgrade and gives whole answers, whatever it is known to do; so is the kernel old (ipykernel 6.17, as
Colab pins it). It is not Colab: nobody has tried that here.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from .http_only import HttpOnlyProxy
from .local_server import LocalServer

PAGE = Path(__file__).parent / "colab.html"


class Colab(LocalServer):
    """The output of one cell, at `url`."""

    def __init__(self) -> None:
        """Listen; the output is empty."""
        self.html = ""
        self.proxies: dict[int, HttpOnlyProxy] = {}  # By the port in the kernel
        super().__init__(handler_of(self))

    @property
    def url(self) -> str:
        """The output frame's address: by this name it is another site than what it frames."""
        return f"http://localhost:{self.port}/"

    def proxy(self, port: int) -> HttpOnlyProxy:
        """The proxy in front of a port of the kernel."""
        if port not in self.proxies:
            self.proxies[port] = HttpOnlyProxy(port)
        return self.proxies[port]

    def close(self) -> None:
        """The end."""
        for proxy in self.proxies.values():
            proxy.close()
        super().close()


def handler_of(colab: Colab) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of the output frame."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            if target.path == "/output":
                text = colab.html
            elif target.path == "/proxy":
                text = colab.proxy(int(parse_qs(target.query)["port"][0])).url
            else:
                text = PAGE.read_text() if target.path == "/" else ""
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
