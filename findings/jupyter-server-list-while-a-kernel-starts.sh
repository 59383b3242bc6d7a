#!/usr/bin/env bash
# jupyter_server 2.21.1. The guess: the list of kernels (GET /api/kernels) has a kernel from the moment that it is started,
# or from the moment that it has started. What it does: in between, the whole list is an error, 500 with a traceback in
# the log, also for those who ask for other kernels: JupyterLab does so every few seconds.
#
# `MappingKernelManager` has the kernel in its table while its process is being made, and sets its `last_activity` after
# that; `kernel_model` reads it, and traitlets raises TraitError for the None that it begins with. `list_kernels` passes
# over HTTPError and KeyError only. On a busy machine that moment takes half a second.
# Exits 0 while that is so, 1 when it has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check jupyter_server==2.21.1 ipykernel==7.1.0 2> "$dir/pip.log" ||
  { cat "$dir/pip.log"; exit 1; }
cd "$dir"
JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime" "$dir/venv/bin/python" - <<'PY'
import asyncio, os
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

async def main() -> str:
    manager = AsyncMappingKernelManager(root_dir='.')
    starting = asyncio.create_task(manager.start_kernel())
    while not manager.list_kernel_ids() and not starting.done(): await asyncio.sleep(0)
    try:
        found = f'{len(manager.list_kernels())} kernels'
    except Exception as e:
        found = type(e).__name__
    kernel = await starting
    later = len(manager.list_kernels())
    await manager.shutdown_kernel(kernel, now=True)
    return f'while one starts: {found}; when it has started: {later} kernels'

told = asyncio.run(main())
print(told, flush=True)
os._exit(told != 'while one starts: TraitError; when it has started: 1 kernels') # The manager's own threads would go on
PY
