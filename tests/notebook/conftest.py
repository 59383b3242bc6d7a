"""What the tests of a notebook share: a kernel that knows this checkout."""
from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bound import BOUND
from jupyter_client import KernelManager
from jupyters import new_runtime_folder
from kernels import Kernel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    runtime = new_runtime_folder()
    manager = KernelManager(kernel_name='python3', transport='ipc', connection_file=str(runtime/'kernel.json'))
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]
    manager.start_kernel(env={**os.environ, 'PYTHONPATH': path, 'IPYTHONDIR': str(tmp_path)}, cwd=str(tmp_path))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=BOUND)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        if manager.has_kernel: manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy(linger=0)
        shutil.rmtree(runtime)
