"""The log records that tests announce, and those that came.

A module of its own: there is a `conftest` in more than one folder, so none of them can be imported by that name.
"""
from __future__ import annotations

import logging
import re

WATCHED = 'nbws', 'tornado', 'asyncio'  # loggers whose records at WARNING and above must be announced


class Records(logging.Handler):
    "Keeps the records of the watched loggers until a test takes them."
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None: self.kept.append(record)

    def take(self) -> list[logging.LogRecord]:
        kept, self.kept = self.kept, []
        return kept


RECORDS = Records()


def text(record: logging.LogRecord) -> str:
    "A record in one line, and the traceback that it carries."
    line = f'{record.levelname} {record.name}: {record.getMessage()}'
    return line + ('\n' + logging.Formatter().formatException(record.exc_info) if record.exc_info else '')


class ExpectLog:
    "The log records that a test announces."
    def __init__(self) -> None:
        self.expected: list[tuple[str, int | None]] = []
        self.possible: list[str] = []

    def __call__(self,
                 pattern: str, # Searched in `LEVEL logger: message` and in the traceback below it
                 times: int | None = None, # How often it must come; None: at least once
                 ) -> None:
        "Announce a record at WARNING or above. The test fails if it does not come."
        self.expected.append((pattern, times))

    def may_come(self, pattern: str) -> None:
        "Announce a record that comes on a busy machine only."
        self.possible.append(pattern)

    def check(self, lines: list[str]) -> None:
        "Fail on a line that nothing announced and on an announced one that did not come."
        patterns = [*(pattern for pattern, _ in self.expected), *self.possible]
        others = [line for line in lines if not any(re.search(pattern, line) for pattern in patterns)]
        assert not others, 'unexpected log records (announce them with expect_log):\n' + '\n'.join(others)
        for pattern, times in self.expected:
            n = sum(bool(re.search(pattern, line)) for line in lines)
            assert n if times is None else n == times, f'{n} log records matched {pattern!r}, not {times or "one"}'
