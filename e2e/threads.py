"""Run code beside Playwright, whose sync API keeps a running loop in the main thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .timeouts import seconds


def in_thread(function: Callable[..., Any], *args: Any, bound: float = 30) -> Any:
    """Call a function in a thread of its own and return its result, or raise what it raised.

    A coroutine function runs there under `asyncio.run`, which the main thread would refuse.
    Raises TimeoutError after `bound` seconds (scaled); the thread is then left to itself.
    """
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            result = function(*args)
            outcome.set_result(asyncio.run(result) if inspect.iscoroutine(result) else result)
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=f"in_thread {function}", daemon=True).start()
    return outcome.result(timeout=seconds(bound))
