"""nbws in Pyodide, under Node: one thread, no sockets, nothing compiled. e2e/test_lite.py has all of JupyterLite.

Pyodide comes from npm with what lints nbws/static. What nbws needs beside it is pure Python, and taken from here.
"""
from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
from bound import BOUND

HERE = Path(__file__).resolve().parent
NEEDED = 'nbws', 'click', 'itsdangerous', 'python_multipart', 'whitenoise'


@pytest.mark.skipif(not (HERE.parent/'node_modules/pyodide').is_dir() or not shutil.which('node'),
                    reason='there is no Pyodide: npm ci')
def test_an_app_on_the_only_loop() -> None:
    "A page with a session, a stream, an upload of 1 MiB, a timer; tornado and httptools are not asked for."
    places = []
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.origin
        places.append(f'{name}={Path(spec.origin).parent}')
    command = ['node', str(HERE/'pyodide.mjs'), str(HERE/'pyodide_program.py'), *places]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND)
    assert (done.returncode, done.stdout.strip()) == (0, 'all is well'), done.stderr[-3000:]
