"""What is compiled does what the same source does in Python; and is used only where it is of that source."""
from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bound import BOUND

from nbws.core import speedups as interpreted
from nbws.core.engine import WHY, choose, engine, source_id

CASES = Path(__file__).with_name('speedups_cases.py')
compiled = pytest.mark.skipif(bool(WHY), reason=f'in Python alone: {WHY}')


def said(cases: int, seed: int, pure: str) -> list[str]:
    "What the cases print."
    run = subprocess.run([sys.executable, str(CASES), str(cases), str(seed)], capture_output=True, timeout=3 * BOUND,
                         env={**os.environ, 'NBWS_PURE': pure, 'PYTHONIOENCODING': 'utf-8:backslashreplace'})
    assert run.returncode == 0, run.stderr.decode()
    return re.sub('0x[0-9a-f]+', '0x', run.stdout.decode()).splitlines() # Addresses of objects


@compiled
@pytest.mark.parametrize('seed', [1, random.randrange(10**9)])
def test_both_say_the_same(seed: int) -> None:
    pure, fast = said(400, seed, '1'), said(400, seed, '')
    assert (pure[0], fast[0], pure[-1]) == ('Python', 'compiled', 'too deep')
    assert len(pure) > 300
    for a, b in zip(pure[1:], fast[1:], strict=True): assert a == b, f'seed {seed}'


def test_one_runs_and_says_so() -> None:
    assert engine() == ('Rendering is compiled.' if not WHY else f'Rendering runs in Python: {WHY}.')


def test_other_source_is_not_run(monkeypatch: pytest.MonkeyPatch, expect_log) -> None:
    "A file that was built before the source changed, or of another version."
    monkeypatch.setitem(sys.modules, 'nbws.core.made_before', SimpleNamespace(SOURCE='0' * 16))
    expect_log('compiled from other source', times=1)
    module, why = choose('', 'nbws.core.made_before')
    assert module is interpreted and 'make setup' in why
    made = SimpleNamespace(SOURCE=source_id())
    monkeypatch.setitem(sys.modules, 'nbws.core.made_now', made)
    assert choose('', 'nbws.core.made_now') == (made, '')


def test_what_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expect_log) -> None:
    (tmp_path/'made_elsewhere.py').write_text('raise ImportError("wrong ELF class")')
    monkeypatch.syspath_prepend(tmp_path)
    expect_log('wrong ELF class', times=1)
    assert choose('', 'made_elsewhere') == (interpreted, 'what is compiled cannot be used: wrong ELF class')


def test_it_can_be_switched_off() -> None:
    code = 'from nbws.core.engine import engine; print(engine())'
    run = subprocess.run([sys.executable, '-c', code], env={**os.environ, 'NBWS_PURE': '1'}, capture_output=True,
                         text=True, timeout=BOUND, check=True)
    assert run.stdout == 'Rendering runs in Python: NBWS_PURE=1.\n'
