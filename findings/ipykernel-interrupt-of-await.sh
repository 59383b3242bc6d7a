#!/usr/bin/env bash
# ipykernel 7.4.0 (jupyter_client 8.10.0), on Linux. The guess: an interrupt ends a cell that awaits as it ends one that sleeps or computes;
# ipykernel has a handler for it, "SIGINT raises in the event loop when running async code, but we want it to halt a coroutine"
# (ipykernel/ipkernel.py, `_cancel_on_sigint`). What it does: the handler asks the loop for the cancellation by `add_callback`, and a handler of a
# signal runs in the loop's own thread, where that wakes nobody. So `await asyncio.sleep(8)` ends after eight seconds, as cancelled, and a cell that
# awaits a queue or an event goes on until something else comes to the kernel. The same cell is cancelled at once where any timer makes the loop
# turn meanwhile.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check ipykernel==7.4.0 jupyter_client==8.10.0 2> pip.log || { cat pip.log; exit 1; }
export IPYTHONDIR="$dir/ipython" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
import time
from importlib.metadata import version

from jupyter_client.manager import start_new_kernel

LONG = 8
CELLS = {
    'sleeps': f'import time; time.sleep({LONG})',
    'awaits': f'import asyncio; await asyncio.sleep({LONG})',
    'awaits beside a timer': f"""
import asyncio
async def tick():
    while True: await asyncio.sleep(.1)
ticking = asyncio.create_task(tick())
await asyncio.sleep({LONG})
""",
}
manager, client = start_new_kernel(kernel_name='python3')
try:
    print('ipykernel', version('ipykernel'))
    took = {}
    for name, code in CELLS.items():
        asked = client.execute(code, stop_on_error=False)
        while client.get_iopub_msg(timeout=60)['msg_type'] != 'execute_input': pass
        time.sleep(.5)  # The cell is within its sleep
        began = time.monotonic()
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))['parent_header'].get('msg_id') != asked: pass
        took[name] = time.monotonic() - began
        print(f"a cell that {name} for {LONG} s: {took[name]:.1f} s after the interrupt it ends, {reply['content'].get('ename')}")
        time.sleep(.5)  # A kernel drops what comes right after an error
finally: manager.shutdown_kernel(now=True)
assert took['sleeps'] < LONG / 2 and took['awaits beside a timer'] < LONG / 2
assert took['awaits'] > LONG - 2
PY
timeout 180 venv/bin/python run.py 2> log || { cat log; exit 1; }
