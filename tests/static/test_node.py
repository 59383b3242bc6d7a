"""The scripts' own tests, which Node runs; `make js` runs them alone."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from bound import BOUND

TESTS = sorted(Path(__file__).parent.glob('*.test.mjs'))


@pytest.mark.skipif(not shutil.which('node'), reason='there is no Node here')
@pytest.mark.parametrize('file', TESTS, ids=lambda file: file.name)
def test_scripts(file: Path) -> None:
    run = subprocess.run(['node', '--test', '--test-reporter=tap', str(file)], capture_output=True, text=True,
                         timeout=BOUND)
    assert run.returncode == 0, run.stdout + run.stderr
