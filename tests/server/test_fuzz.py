"""A short run of the fuzzer with every test run; `python tests/fuzz.py` for a long one."""
from __future__ import annotations

import pytest
from fuzz import SEEDS, fuzz


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize(('what', 'runs'), [('frames', 5000), ('http', 200)])
def test_fuzz(what: str, runs: int, seed: int) -> None:
    kept, _ = fuzz(what, runs, seed)
    assert kept > len(SEEDS[what])  # It found ways that no seed took
