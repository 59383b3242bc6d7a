"""A short run of the fuzzers with every test run; `make fuzz` for a long one."""
from __future__ import annotations

import pytest
from fuzz import SEEDS, fuzz


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize(('what', 'runs'), [('frames', 5000), ('http', 200)])
def test_fuzz(what: str, runs: int, seed: int) -> None:
    done, kept, _ = fuzz(what, runs, seed)
    assert done == runs
    assert kept > len(SEEDS[what])  # It found ways that no seed took
