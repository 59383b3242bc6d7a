#!/usr/bin/env bash
# nbclient 0.11.0, papermill 2.7.0, ipykernel 7.4.0. The guess: to execute a notebook gives the outputs that its cells would have after "Run All
# Cells". What a task prints that an earlier cell has started is such an output: the kernel publishes it with that cell's request as its parent
# ("Messaging in Jupyter": the parent header names the message that caused this one), and front ends show it there. What happens: nbclient reads on
# until the running cell is idle, and drops each message with another parent. So what the task prints while a later cell awaits it stands under no
# cell, without an error or a word in the log, and with it what `nbconvert --execute` and papermill write. A line that the awaiting cell prints
# itself is kept.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check nbclient==0.11.0 papermill==2.7.0 ipykernel==7.4.0 2> pip.log || { cat pip.log; exit 1; }
export IPYTHONDIR="$dir/ipython" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
from importlib.metadata import version

import nbformat
import papermill
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

BEGIN = """
import asyncio
go = asyncio.Event()
async def work():
    await go.wait()
    print('the task')
task = asyncio.create_task(work())
print('the first cell')
"""
AWAIT = """
go.set()
await task
print('the second cell')
"""


def notebook():
    kernel = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
    return new_notebook(cells=[new_code_cell(BEGIN), new_code_cell(AWAIT)], metadata={'kernelspec': kernel})


def shown(nb): return [''.join(o.get('text', '') for o in cell.outputs).splitlines() for cell in nb.cells]


def published():
    "The same, by each message's parent, as front ends show it."
    manager, client = start_new_kernel(kernel_name='python3')
    try:
        texts, asked = {}, []
        for code in BEGIN, AWAIT:
            asked.append(client.execute(code))
            while True:
                message = client.get_iopub_msg(timeout=60)
                parent, content = message['parent_header'].get('msg_id'), message['content']
                if message['msg_type'] == 'stream': texts[parent] = texts.get(parent, '') + content['text']
                if content.get('execution_state') == 'idle' and parent == asked[-1]: break
        return [texts[i].splitlines() for i in asked]
    finally: manager.shutdown_kernel(now=True)


print({name: version(name) for name in ('nbclient', 'papermill', 'ipykernel')})
by_parent = published()
print('published by the kernel:', by_parent)
by_nbclient = shown(NotebookClient(notebook(), timeout=60, kernel_name='python3').execute())
print('executed by nbclient:   ', by_nbclient)
nbformat.write(notebook(), 'in.ipynb')
by_papermill = shown(papermill.execute_notebook('in.ipynb', 'out.ipynb', progress_bar=False))
print('executed by papermill:  ', by_papermill)
assert by_parent == [['the first cell', 'the task'], ['the second cell']]
assert by_nbclient == by_papermill == [['the first cell'], ['the second cell']]
PY
timeout 240 venv/bin/python run.py 2> log || { cat log; exit 1; }
