"""A kernel without a front end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client import BlockingKernelClient, KernelManager

from .processes import REPOSITORY
from .timeouts import seconds


@contextmanager
def kernel(folder: Path, clients: int = 1, path: str = "", **environment: str) -> Iterator[list[BlockingKernelClient]]:
    """Start one that runs in this folder, with `path` before all else that it imports; clients that are connected."""
    manager = KernelManager(kernel_name="python3", transport="ipc", connection_file=str(folder / "kernel.json"))
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]
    everything = os.pathsep.join(filter(None, [path, str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    manager.start_kernel(cwd=str(folder), env={**os.environ, "PYTHONPATH": everything, **environment})
    made = [manager.blocking_client() for _ in range(clients)]
    try:
        for client in made:
            client.start_channels()
            client.wait_for_ready(timeout=seconds(20))
        yield made
    finally:
        for client in made:
            client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy(linger=0)


def restart(client: BlockingKernelClient) -> None:
    """Start the kernel of `kernel` again, as the button of a front end does; wait until it answers this client."""
    client.parent.restart_kernel(now=True)
    client.wait_for_ready(timeout=seconds(20))
