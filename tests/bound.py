"""How long a test waits for what should come soon. Only what fails takes it, so it is long enough for a busy machine.

What a machine does besides is no test's matter. So tests wait for events, and not for some time to pass; an upper bound
of a time is this one, or a fraction of it; and a test of what something costs compares CPU time, or counts.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

BOUND = 120.0  # seconds
Found = TypeVar('Found')


def until(look: Callable[[], Found], what: str = 'it', bound: float = BOUND) -> Found:
    "Look again and again until there is something, which is returned. For what no event tells."
    end = time.monotonic() + bound
    while not (found := look()):
        assert time.monotonic() < end, f'{what}: not within {bound:g} s'
        time.sleep(.005)
    return found
