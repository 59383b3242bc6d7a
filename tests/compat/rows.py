"""A table of nbs/coming_from.ipynb, each of whose rows has a test."""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2]/'nbs'/'coming_from.ipynb'


class Rows:
    "The tests of a table's rows, by the names that these have there: a decorator that takes such a name."
    def __init__(self, mark: str, # Stands in the table's cell, and in no other
                 ) -> None:
        self.mark = mark
        self.tests: dict[str, Callable[..., None]] = {}

    def __call__(self, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def keep(test: Callable[..., None]) -> Callable[..., None]:
            self.tests[name] = test
            return test
        return keep

    def named(self) -> list[str]:
        "The names of the rows, in the table's order."
        cells = json.loads(NOTEBOOK.read_text('utf-8'))['cells']
        table = next(''.join(c['source']) for c in cells if self.mark in ''.join(c['source']))
        return re.findall(r'^\| ([^|]+?) \|', table, re.M)[1:]
