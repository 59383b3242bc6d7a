#!/usr/bin/env bash
# jupyter_client 8.10.0 (with ipykernel 7.4.0). The guess: a NaN in what a kernel sends as JSON, by `display(JSON(...))` or a comm, is an error,
# null, or the NaN that `json` writes; in any case it changes nothing beside itself. What it does: where the message is no JSON, all of it is made
# anew by older rules (jupyter_client/jsonutil.py, `json_clean`). A NaN comes as the text 'nan', which JavaScript computes on with; and a time with
# a zone, anywhere in the same message, loses the zone, so that one missing measurement moves the times of all others by the reader's offset.
# "Messaging in Jupyter" says of data only that it is JSON. A warning goes to the kernel's log.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check ipykernel==7.4.0 jupyter_client==8.10.0 2> pip.log || { cat pip.log; exit 1; }
export IPYTHONDIR="$dir/ipython" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
from importlib.metadata import version

from jupyter_client.manager import start_new_kernel

CODE = """
from datetime import datetime, timedelta, timezone
from IPython.display import JSON, display
at = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
for degrees in 21.5, float('nan'): display(JSON({'at': at, 'degrees': degrees}))
"""
manager, client = start_new_kernel(kernel_name='python3')
try:
    asked, came = client.execute(CODE), []
    while True:
        message = client.get_iopub_msg(timeout=60)
        content = message['content']
        if message['msg_type'] == 'display_data': came.append(content['data']['application/json'])
        if content.get('execution_state') == 'idle' and message['parent_header'].get('msg_id') == asked: break
finally: manager.shutdown_kernel(now=True)
print('jupyter_client', version('jupyter_client'), *came, sep='\n')
assert came == [{'at': '2026-07-01T12:00:00+02:00', 'degrees': 21.5}, {'at': '2026-07-01T12:00:00.000000', 'degrees': 'nan'}]
PY
timeout 180 venv/bin/python run.py 2> log || { cat log; exit 1; }
