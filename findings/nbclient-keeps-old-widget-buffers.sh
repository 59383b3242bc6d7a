#!/usr/bin/env bash
# nbclient 0.11.0, ipywidgets 8.1.8, ipykernel 7.4.0. The guess: the state that `nbconvert --execute` and papermill save for a widget is the one
# that it has in the end ("Jupyter Widgets messaging specification": an update replaces the values of its keys, and buffers stand beside the state,
# each with the path where it belongs). What is saved: of the state the last value, and of the buffers every path that ever had one. A picture that
# was set to None is None in the state and the old bytes in `buffers`, which are put at that path when the page is opened: it is back. A list of two
# layers that is empty by now keeps both, at places of a list that has none; and a notebook grows by what it has cleared away.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check nbclient==0.11.0 ipywidgets==8.1.8 ipykernel==7.4.0 2> pip.log || { cat pip.log; exit 1; }
export IPYTHONDIR="$dir/ipython" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/runtime"
cat > run.py <<'PY'
import base64
from importlib.metadata import version

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

FIRST = """
import ipywidgets, traitlets
class Plot(ipywidgets.DOMWidget):
    _model_name = traitlets.Unicode('PlotModel').tag(sync=True)
    picture = traitlets.Bytes(allow_none=True).tag(sync=True)
    layers = traitlets.List().tag(sync=True)
plot = Plot(picture=b'the first picture', layers=[b'hills', b'rivers'])
"""
nb = new_notebook(cells=[new_code_cell(FIRST), new_code_cell('plot.picture = None; plot.layers = []')])
NotebookClient(nb, timeout=120, kernel_name='python3').execute()
states = nb.metadata.widgets['application/vnd.jupyter.widget-state+json']['state'].values()
[plot] = [one for one in states if one['model_name'] == 'PlotModel']
buffers = {tuple(b['path']): base64.b64decode(b['data']) for b in plot['buffers']}
print('nbclient', version('nbclient'), '\nstate:  ', {key: plot['state'][key] for key in ('picture', 'layers')}, '\nbuffers:', buffers)
assert plot['state']['picture'] is None and plot['state']['layers'] == []
assert buffers == {('picture',): b'the first picture', ('layers', 0): b'hills', ('layers', 1): b'rivers'}
PY
timeout 300 venv/bin/python run.py 2> log || { cat log; exit 1; }
