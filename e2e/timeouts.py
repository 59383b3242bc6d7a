"""Every wait of the browser tests has a bound, and one knob scales them all.

The bounds are written for an idle machine, and five times as long for a busy one: only what fails takes them. To see
what is slow where nothing else runs: `NBWS_TEST_TIMEOUT_SCALE=1 pytest e2e`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

SCALE = float(os.environ.get("NBWS_TEST_TIMEOUT_SCALE", "5"))

Found = TypeVar("Found")


def seconds(number: float) -> float:
    """A bound in seconds, scaled."""
    return number * SCALE


def milliseconds(number: float) -> float:
    """A bound given in seconds, scaled, in the milliseconds that Playwright counts in."""
    return seconds(number) * 1000


def wait_until(look: Callable[[], Found | None], what: str, bound: float = 10) -> Found:
    """Look again and again until there is something, and return it; `bound` is in seconds, before scaling.

    For what cannot be awaited (a file, a port, another process). Raises TimeoutError naming `what`.
    """
    end = time.monotonic() + seconds(bound)
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds(bound):g} s")
        time.sleep(0.02)
