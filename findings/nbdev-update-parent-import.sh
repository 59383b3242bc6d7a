#!/usr/bin/env bash
# nbdev 3.3.26 (with fastcore 2.2.41). The guess: `nbdev-update` right after `nbdev-export` leaves a
# notebook as it is, since its tutorial describes it as the way back from an edited module to the notebook
# (nbdev.fast.ai, "Two-way sync"). What it does: in a notebook that exports the __init__ of a subpackage, an absolute
# import from the top package comes back with another module's name. `from shop import rates` is exported rightly as
# `from .. import rates`, and returns as `from shop.tax import rates`, which cannot be imported.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check nbdev==3.3.26 2> pip.log || { cat pip.log; exit 1; }
mkdir -p nbs shop/tax
cat > pyproject.toml <<'TOML'
[project]
name = "shop"
version = "0.0.1"
[tool.nbdev]
lib_path = "shop"
TOML
printf 'rates = {"book": 7}\n' > shop/rates.py; printf '__version__ = "0.0.1"\n' > shop/__init__.py
venv/bin/python - <<'PY'
import json
def cell(i, *lines): return dict(cell_type='code', id=f'cell{i}', metadata={}, execution_count=None, outputs=[], source='\n'.join(lines))
cells = [cell(0, '#| default_exp tax.__init__'), cell(1, '#| export', 'from shop import rates')]
json.dump(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5), open('nbs/00_tax.ipynb', 'w'))
PY
source_of() { venv/bin/python -c "import json; print(''.join(json.load(open('nbs/00_tax.ipynb'))['cells'][1]['source']))" | tail -1; }
before=$(source_of)
venv/bin/nbdev-export
module=$(grep import shop/tax/__init__.py | tail -1)
venv/bin/nbdev-update
after=$(source_of)
printf 'nbdev %s\nnotebook before: %s\nmodule:          %s\nnotebook after:  %s\n' \
  "$(venv/bin/python -c 'import nbdev; print(nbdev.__version__)')" "$before" "$module" "$after"
[ "$before" = 'from shop import rates' ] && [ "$module" = 'from .. import rates' ] && [ "$after" = 'from shop.tax import rates' ]
