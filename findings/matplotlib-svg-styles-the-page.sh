#!/usr/bin/env bash
# matplotlib 3.11.2. The guess: a figure saved as SVG may stand in an HTML page as it is, if its ids are made unique, because all that
# it says of colours and lines stands in its own elements. What it does: each file has `<style type="text/css">*{stroke-linejoin: round;
# stroke-linecap: butt}</style>`, and a style sheet within an inline `svg` is one of the whole document (SVG 2, section 6.2; CSS knows
# no other): a rule beats the presentation attributes of other drawings, so `<svg stroke-linecap="round">` icons of the page get other ends
# as soon as a figure comes. Nothing switches it off; two figures also share all ids that are not hashed with a salt.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check matplotlib==3.11.2 2> pip.log || { cat pip.log; exit 1; }
venv/bin/python - <<'PY'
import io, re
import matplotlib
from matplotlib.figure import Figure
def svg(points):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(points)
    figure.savefig(file := io.StringIO(), format='svg')
    return file.getvalue()
one, two = svg([1, 2]), svg([2, 1])
styles = re.findall(r'<style[^>]*>(.*?)</style>', one, re.S)
ids = [set(re.findall(r'\bid="([^"]*)"', text)) for text in (one, two)]
print('matplotlib', matplotlib.__version__, styles, f'{len(ids[0] & ids[1])} of {len(ids[0])} ids are those of another figure, too')
assert styles == ['*{stroke-linejoin: round; stroke-linecap: butt}']
assert len(ids[0] & ids[1]) > len(ids[0]) / 2
PY
