#!/usr/bin/env bash
# ipykernel 7.4.0, comm 0.2.3, jupyter_client 8.10.0. The guess: when `comm.send(data, buffers=[b])` has returned, `b` is free for the next picture:
# what is short is copied (jupyter_client's `Session.copy_threshold`, 64 KiB: beyond it "a buffer should be sent without copying"), and `data` has
# been made JSON of. What it does: the kernel hands the parts to another thread, which reads the buffers when it sends them, short ones too, and how
# many of them differ is chance. A loop that fills one array again and again and sends it, as an animation does (ipywidgets sends its Bytes and
# arrays by the same call), sends a later picture in several messages, with the data of each right.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check ipykernel==7.4.0 comm==0.2.3 jupyter_client==8.10.0 2> pip.log || { cat pip.log; exit 1; }
export IPYTHONDIR="$dir/ipython" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
from importlib.metadata import version

from jupyter_client.manager import start_new_kernel

CODE = """
import comm
one = comm.create_comm(target_name='pictures')
for size in 16, 1000:
    picture = bytearray(size)
    for n in range(250):
        picture[:] = bytes([n]) * size
        one.send({'size': size, 'picture': n}, buffers=[picture])
"""
manager, client = start_new_kernel(kernel_name='python3')
try:
    asked, came = client.execute(CODE), {}
    while True:
        message = client.get_iopub_msg(timeout=60)
        content = message['content']
        if message['msg_type'] == 'comm_msg':
            came.setdefault(content['data']['size'], []).append((content['data']['picture'], message['buffers'][0][0]))
        if content.get('execution_state') == 'idle' and message['parent_header'].get('msg_id') == asked: break
finally: manager.shutdown_kernel(now=True)
print('ipykernel', version('ipykernel'))
for size, pictures in came.items():
    other = [(n, got) for n, got in pictures if n != got]
    print(f'{size} bytes: {len(pictures)} messages, {len(other)} with another picture, the first ones {other[:5]}')
    assert [n for n, _ in pictures] == list(range(250)) and other
assert len(came) == 2
PY
timeout 180 venv/bin/python run.py 2> log || { cat log; exit 1; }
