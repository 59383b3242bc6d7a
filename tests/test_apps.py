"""The example apps are short, and programs; what they do in a browser is tested in `e2e/test_apps.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs'/'examples').glob('*.ipynb'))
APPS = ['llm', 'rooms', 'dashboard', 'upload', 'quiz', 'labels', 'figures']


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_at_most_35_lines(notebook: Path) -> None:
    "Of code that is exported: without empty lines and comments."
    cells = json.loads(notebook.read_text())['cells']
    sources = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
    lines = [line.strip() for source in sources if source.startswith('#| export') for line in source.splitlines()]
    assert 0 < len([line for line in lines if line and not line.startswith('#')]) <= 35


def test_imported_they_serve_nothing(tmp_path: Path) -> None:
    "All in one process, in a folder in which they may leave nothing."
    code = '; '.join(f'import nbws.examples.{name} as m; assert m.app.routes' for name in APPS)
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, '')
    assert list(tmp_path.iterdir()) == []
