#!/usr/bin/env bash
# ipywidgets 8.1.8 (on node 20 for the browser's parser). The guess: a page that `embed_minimal_html` writes shows the widgets that it was given,
# and one whose value is NaN, as an empty measurement's is, shows "NaN" or nothing. What it does: the states of all widgets stand in the page as one
# JSON, written by `json.dumps` as it is by default, with `NaN` in it, which is no JSON (RFC 8259, section 6). The page's script reads it by
# JSON.parse (@jupyter-widgets/html-manager, libembed), which refuses the whole: not one widget of the page is there, and who looks at the page
# without its console finds it empty.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check ipywidgets==8.1.8 2> pip.log || { cat pip.log; exit 1; }
venv/bin/python - <<'PY'
from ipywidgets import FloatText, IntSlider
from ipywidgets.embed import embed_minimal_html
slider = IntSlider(value=3)
embed_minimal_html('good.html', [slider, FloatText(value=1.5)])
embed_minimal_html('bad.html', [slider, FloatText(value=float('nan'))])
PY
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs'
for (const file of ['good.html', 'bad.html']) {
  const [, states] = /<script type="application\/vnd\.jupyter\.widget-state\+json">(.*?)<\/script>/s.exec(readFileSync(file, 'utf8'))
  try { console.log(file, Object.keys(JSON.parse(states).state).length, 'widgets') } catch (e) { console.log(file, e.name) }
}
JS
venv/bin/python -c "from importlib.metadata import version; print('ipywidgets', version('ipywidgets'))"
found=$(node read.mjs); echo "$found"
[ "$found" = "good.html 6 widgets
bad.html SyntaxError" ]
