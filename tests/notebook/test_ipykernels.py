"""Output in the cell that it belongs to, on each ipykernel from 6.29 to the newest: real kernels, no browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from jupyters import new_runtime_folder

VERSIONS = ["6.29.5", "6.31.0", "7.0.1", "7.2.0", ""]  # The last one: what is installed
CACHE = Path(sys.prefix) / "ipykernels"

DEFINE = """
from nbws.common import *
import logging, warnings
from IPython.display import display
app = App()
@app.get('/talk')
def talk():
    print('printed')
    warnings.warn('warned')
    logging.getLogger('mine').warning('logged')
    display('displayed')
    return 'ok'
@app.get('/fail')
async def fail(): return 1/0
"""

VISIT = """
import urllib.error, urllib.request
print('this cell speaks')

assert urllib.request.urlopen(str(show('/talk')), timeout=60).read() == b'ok'
try: urllib.request.urlopen(str(show('/fail')), timeout=60)
except urllib.error.HTTPError as e: assert e.code == 500
"""


def folder_of(version: str) -> str:
    """A folder with this ipykernel alone, installed once; "" for the one that is installed."""
    if not version:
        return ""
    folder = CACHE / version
    if not (folder / "ipykernel_launcher.py").exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, f"ipykernel=={version}"], check=True, timeout=BOUND, capture_output=True)
    return str(folder)


class Kernel:
    """A kernel and its client; `run` executes a cell and keeps every output under the cell that it came for."""

    def __init__(self, folder: str) -> None:
        self.runtime = new_runtime_folder()
        self.manager = KernelManager(transport="ipc", connection_file=str(self.runtime / "kernel.json"))
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": folder, "PYTHONWARNINGS": "default"})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=BOUND)
        self.outputs: dict[str, list[tuple[str, Any]]] = {}

    def run(self, code: str) -> str:
        """Execute; returns the request's id."""
        request: str = self.client.execute(code)
        self.until(lambda parent, message: parent == request and message["content"].get("execution_state") == "idle")
        # As front ends do: 7.0 to 7.3 may lose a cell that comes before the last one's reply has left
        while self.client.get_shell_msg(timeout=BOUND)["parent_header"].get("msg_id") != request:
            pass
        return request

    def until(self, done: Any) -> None:
        """Keep outputs until one of the messages is what is waited for."""
        while True:
            message = self.client.get_iopub_msg(timeout=BOUND)
            parent = message["parent_header"].get("msg_id", "")
            if message["msg_type"] in ("stream", "error", "display_data"):
                self.outputs.setdefault(parent, []).append((message["msg_type"], message["content"]))
            if done(parent, message):
                return

    def text(self, request: str) -> str:
        """What stands under a cell."""
        found = self.outputs.get(request, [])
        return "\n".join(str(c.get("text") or c.get("ename") or c.get("data")) for _, c in found)

    def stop(self) -> None:
        """End the kernel, and wait for it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        ensure_event_loop().close()  # jupyter_client keeps one for its blocking calls
        shutil.rmtree(self.runtime)


@pytest.fixture(params=VERSIONS, ids=lambda v: v or "installed")
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    kernel = Kernel(folder_of(request.param))
    yield kernel
    kernel.stop()


def test_output_lands_in_the_defining_cell(kernel: Kernel) -> None:
    defining = kernel.run(DEFINE)
    kernel.run("serve(port=0)")
    visiting = kernel.run(VISIT)
    if "ZeroDivisionError" not in kernel.text(defining):
        kernel.until(lambda parent, message: parent == defining and message["msg_type"] == "error")
    kernel.run("stop()")
    for text in ("printed", "warned", "logged", "displayed", "ZeroDivisionError"):
        assert text in kernel.text(defining), text
        assert text not in kernel.text(visiting), text
    assert "this cell speaks" in kernel.text(visiting)
