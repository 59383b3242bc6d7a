"""A short run of the fuzzer with every test run; `python tests/fuzz.py` for a long one."""
from __future__ import annotations

import pytest
from fuzz import fuzz


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('what', ['frames', 'http'])
def test_fuzz(what: str, seed: int) -> None:
    runs, _, _ = fuzz(what, 1.0, seed)
    assert runs > 5  # some hundreds on an idle machine
