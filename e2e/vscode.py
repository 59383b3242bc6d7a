"""A stand-in for VS Code: how it passes a widget's messages on, by its public sources (vscode-jupyter, vscode).

No front end of its own to the kernel but the one that runs cells; no subshells; binary as lists of numbers, at most
64 KiB a message; a notebook that is opened again knows no model, and shows HTML. It is not VS Code: nobody has tried
that here. The kernel is real.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from .kernels import kernel, restart
from .timeouts import seconds

MOST = 2**16  # Bytes
PAGE = Path(__file__).parent / "vscode.html"
CELL = "vscode-notebook-cell:/stand-in.ipynb#"


class VSCode:
    """A notebook with a kernel; its outputs stand in the page at `url`."""

    def __init__(self, kernel: BlockingKernelClient, renderer: BlockingKernelClient) -> None:
        """Run cells by one client; the other passes on what comes to outputs and from them."""
        self.kernel, self.renderer = kernel, renderer
        self.cells: dict[str, str] = {}  # Cells by the ids of the messages that ran them
        self.saved: dict[str, str] = {}  # What outputs show, by cell
        self.too_long: list[int] = []  # Sizes of messages that VS Code would not have passed on
        self.connection: ServerConnection | None = None
        self.ending = False
        self.server: Server = serve(self._page, "127.0.0.1", 0, process_request=self._html, max_size=None)
        self.threads = [threading.Thread(target=run) for run in (self.server.serve_forever, self._pass_on)]
        for thread in self.threads:
            thread.start()

    @property
    def url(self) -> str:
        """Where the outputs stand."""
        return f"http://127.0.0.1:{self.server.socket.getsockname()[1]}/"

    def start(self, code: str, cell: int) -> str:
        """Run a cell and do not wait."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = self.kernel.session.msg("execute_request", content, metadata={"cellId": f"{CELL}{cell}"})
        self.cells[message["header"]["msg_id"]] = str(cell)
        self.kernel.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def finish(self, run: str) -> None:
        """Wait until a cell that was started is done. Raises AssertionError where it has failed."""
        while True:
            reply = self.kernel.get_shell_msg(timeout=seconds(20))
            if reply["parent_header"].get("msg_id") == run:
                assert reply["content"]["status"] == "ok", reply["content"]
                return

    def run(self, code: str, cell: int) -> None:
        """Run a cell and wait for it."""
        self.finish(self.start(code, cell))

    def restart(self) -> None:
        """Start the kernel again; what stands under cells stays."""
        restart(self.kernel)

    def close(self) -> None:
        """The end."""
        self.ending = True
        self.server.shutdown()
        if self.connection:
            self.connection.close()
        for thread in self.threads:
            thread.join(seconds(5))

    def _html(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        body = PAGE.read_bytes() if request.path.startswith("/?") or request.path == "/" else b""
        fields = Headers([("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
        return Response(200 if body else 404, "", fields, body)

    def _page(self, connection: ServerConnection) -> None:
        for output in self.saved.values():
            connection.send(output)
        self.connection = connection
        try:
            for text in connection:
                message = json.loads(text)
                buffers = [bytes(numbers) for numbers in message.pop("buffers")]
                session = self.renderer.session
                session.send(self.renderer.shell_channel.socket, "comm_msg", message, buffers=buffers)
        except ConnectionClosed:
            pass

    def _pass_on(self) -> None:
        loop = ensure_event_loop()  # The client would make one, and leave it open
        while not self.ending:
            try:
                message = self.renderer.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            self._heard(message)
        loop.close()

    def _heard(self, message: dict[str, Any]) -> None:
        kind, content, cell = message["msg_type"], message["content"], message["parent_header"].get("msg_id")
        if kind not in ("display_data", "comm_open", "comm_msg", "comm_close"):
            return
        buffers = [bytes(buffer) for buffer in message.get("buffers") or []]
        size = len(json.dumps(content)) + sum(map(len, buffers))
        if buffers and size > MOST:
            self.too_long.append(size)
            return
        numbers = [list(buffer) for buffer in buffers]
        text = json.dumps({"kind": kind, "cell": self.cells.get(cell), "content": content, "buffers": numbers})
        if kind == "display_data":
            self.saved[str(self.cells.get(cell))] = text
        if self.connection:
            try:
                self.connection.send(text)
            except ConnectionClosed:
                pass


@contextmanager
def vscode(folder: Path) -> Iterator[VSCode]:
    """A notebook in VS Code's stand-in, with a kernel that runs in this folder."""
    with kernel(folder, clients=2) as clients:
        notebook = VSCode(*clients)
        try:
            yield notebook
        finally:
            notebook.close()
