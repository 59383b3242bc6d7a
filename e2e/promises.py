"""What a script in a page answers later: bounded, and held by its window meanwhile."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Frame, Locator, Page

from .timeouts import milliseconds

# `evaluate` alone would wait for ever. And V8 may collect a promise that only its inspector waits for, and says so
# instead of the result: the window holds it.
HELD = """{
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('not within ' + bound + ' ms')), bound);
    });
    const calls = window.promised ??= new Set();
    const call = Promise.race([%s, late]).finally(() => { clearTimeout(timer); calls.delete(call); });
    calls.add(call);
    return call;
}"""


def promised(place: Page | Frame | Locator, function: str, argument: Any = None, bound: float = 10) -> Any:
    """Call an async function of JavaScript's with an argument, and wait for its result, at most `bound` seconds.

    Of a `Locator`, the function gets the element first. Raises Playwright's Error where it is too late.
    """
    element = "element, " if isinstance(place, Locator) else ""
    call = f"({function})({element}argument)"
    return place.evaluate(f"({element}[argument, bound]) => {HELD % call}", [argument, milliseconds(bound)])
