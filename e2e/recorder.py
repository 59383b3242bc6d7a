"""What a failed test leaves of its browsers: a trace of each context, and a picture of each page at the end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from playwright.sync_api import BrowserContext, Error

from .timeouts import milliseconds

# `steps`: the time, console and network of each. `pages`: the page before and after it, too, which costs a sixth of the
# CPU time of all that a test does. `off`: nothing, to run everything again and again.
TRACING = os.environ.get("NBWS_TEST_TRACING", "steps")


class Recorder:
    """Records one test's contexts into `folder`. How the test ends is known late, so it records every one."""

    def __init__(self, folder: Path, title: str, tracing: str = TRACING) -> None:
        self._folder, self._title, self._tracing = folder, title, tracing
        self._traces: list[Path] = []
        self._pictures: list[Path] = []

    @staticmethod
    def prepare(context: BrowserContext, tracing: str = TRACING) -> None:
        """For a new context, before its first page. No film: it costs a fifth of all that a test does."""
        if tracing != "off":
            context.tracing.start(snapshots=tracing == "pages", sources=True)

    def start(self, context: BrowserContext) -> None:
        """From here on it is this test that uses the context."""
        if self._tracing != "off":
            context.tracing.start_chunk(title=self._title)

    def stop(self, context: BrowserContext, failed: bool) -> None:
        """The end of the test in this context, before it is cleared or closed.

        Pictures are for a test that has failed by now: taken of all, they cost more than the trace, which is taken of
        all for what only goes wrong while a test is cleared up after.
        """
        for page in context.pages if failed else ():
            picture = self._folder / f"{len(self._pictures) + 1}.png"
            try:
                page.screenshot(path=picture, full_page=True, timeout=milliseconds(5))
            except Error:
                continue  # crashed, or it never came to rest: the trace has it
            self._pictures.append(picture)
        if self._tracing != "off":
            trace = self._folder / f"{len(self._traces) + 1}.zip"
            context.tracing.stop_chunk(path=trace)
            self._traces.append(trace)

    def keep(self, folder: Path) -> None:
        """Move what was recorded to where a person looks for it."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, trace in enumerate(self._traces, 1):
            shutil.move(trace, folder / ("trace.zip" if len(self._traces) == 1 else f"trace-{number}.zip"))
        for number, picture in enumerate(self._pictures, 1):
            shutil.move(picture, folder / f"test-failed-{number}.png")

    def drop(self) -> None:
        """Delete it."""
        shutil.rmtree(self._folder, ignore_errors=True)
