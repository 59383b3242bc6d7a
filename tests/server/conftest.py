"What the tests of the server share."
from __future__ import annotations

import pytest


@pytest.fixture(scope='module', params=['asyncio', 'uvloop'])
def uvloop(request: pytest.FixtureRequest) -> bool:
    "Each test on asyncio's own loop and on uvloop, where it is installed."
    if request.param == 'uvloop': pytest.importorskip('uvloop')
    return bool(request.param == 'uvloop')
