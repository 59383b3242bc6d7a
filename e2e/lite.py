"""The JupyterLite site that `make lite` builds, served as files, with notebooks of the tests beside the examples."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, unquote

from .local_server import LocalServer
from .timeouts import seconds

SITE = Path(__file__).parent.parent / "build" / "lite"
LISTED = "/api/contents/all.json"
SETTINGS = "/jupyter-lite.json"
NOTEBOOK = {"content": None, "format": None, "mimetype": None, "type": "notebook", "writable": True, "size": 1}
WHEN = {"created": "2026-01-01T00:00:00Z", "last_modified": "2026-01-01T00:00:00Z"}


class LiteSite(LocalServer):
    """The site at `url`. What lies in the folder `root` when a page is loaded is there as well."""

    def __init__(self, root: Path) -> None:
        """Listen."""
        self.root = root
        self._free = threading.Event()
        super().__init__(handler_of(self))

    def notebook_url(self, path: str) -> str:
        """A notebook, opened in JupyterLab."""
        return f"{self.url}lab/index.html?path={quote(path)}"

    @contextmanager
    def holding(self) -> Iterator[None]:
        """What asks for /held is answered at the end of the block: a cell that does so computes until then."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def held(self) -> bytes:
        """An answer that comes when it may."""
        self._free.wait(seconds(60))
        return b"{}"

    def listed(self) -> bytes:
        """The site's list of files, with the tests' own."""
        found = json.loads((SITE / LISTED[1:]).read_text())
        own = [{**NOTEBOOK, **WHEN, "name": file.name, "path": file.name} for file in self.root.glob("*.ipynb")]
        return json.dumps({**found, "content": [*found["content"], *own]}).encode()

    def settings(self) -> bytes:
        """The site's settings; JupyterLab is to be driven by its commands."""
        found = json.loads((SITE / SETTINGS[1:]).read_text())
        found["jupyter-config-data"]["exposeAppInBrowser"] = True
        return json.dumps(found).encode()


def handler_of(site: LiteSite) -> type[SimpleHTTPRequestHandler]:
    """What answers requests for files."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(SITE))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            own = re.fullmatch(r"/files/([\w.-]+\.ipynb)", path)
            own_answers = {LISTED: site.listed, SETTINGS: site.settings, "/held": site.held}
            if path in own_answers:
                self._send(own_answers[path]())
            elif own and (site.root / own[1]).is_file():
                self._send((site.root / own[1]).read_bytes())
            else:
                super().do_GET()

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
