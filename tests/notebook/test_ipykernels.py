"""Output in the cell that it belongs to, on each ipykernel from 6.29 to the newest: real kernels, no browser."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bound import BOUND
from kernels import Kernel, running

pytestmark = pytest.mark.usefixtures('clients_loop')
VERSIONS = '6.29.5', '6.31.0', '7.0.1', '7.2.0', ''  # The last one: what is installed
CACHE = Path(sys.prefix)/'ipykernels'

DEFINE = """
from nbws.common import *
import logging, warnings
from IPython.display import display
app = App()
@app.get('/talk')
def talk():
    print('printed')
    warnings.warn('warned')
    logging.getLogger('mine').warning('logged')
    display('displayed')
    return 'ok'
@app.get('/fail')
async def fail(): return 1/0
"""

VISIT = """
import urllib.error, urllib.request
print('this cell speaks')

assert urllib.request.urlopen(str(show('/talk')), timeout=60).read() == b'ok'
try: urllib.request.urlopen(str(show('/fail')), timeout=60)
except urllib.error.HTTPError as e: assert e.code == 500
"""


def installed(version: str) -> list[str]:
    "A folder with this ipykernel alone, installed once; none for the one that is here."
    if not version: return []
    folder = CACHE/version
    if not (folder/'ipykernel_launcher.py').exists():
        pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', str(folder)]
        subprocess.run([*pip, f'ipykernel=={version}'], check=True, timeout=BOUND, capture_output=True)
    return [str(folder)]


@pytest.fixture(params=VERSIONS, ids=lambda v: v or 'installed')
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    with running(tmp_path, *installed(request.param)) as kernel: yield kernel


def test_output_lands_in_the_defining_cell(kernel: Kernel) -> None:
    defining = kernel.start(DEFINE, 'define')
    defined = kernel.finish(defining)
    kernel.run('serve(port=0)', 'serve')
    visiting = kernel.run(VISIT, 'visit')
    if 'ZeroDivisionError' not in defined.error: kernel.hear('ZeroDivisionError', defining)
    kernel.run('stop()')
    for text in ('printed', 'warned', 'logged', 'displayed', 'ZeroDivisionError'):
        assert text in defined.text, text
        assert text not in visiting.text, text
    assert 'this cell speaks' in visiting.text
