"""What an idle socket, the import and the first page are made of: figures that one compares with another checkout's.

`python parts.py PORT` serves the bench's app and answers each line of its standard input with the bytes that Python has
allocated, by the file that asked for them."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from pathlib import Path

IMPORT = re.compile(r'import time: +(\d+) \| +\d+ \| +([\w.]+)')


def name_of(file: str) -> str:
    "`nbws/server/conn.py`, the package of somebody else's file, or the standard library."
    path = Path(file)
    for folder in ('site-packages', 'dist-packages'):
        if folder in path.parts: return path.parts[path.parts.index(folder) + 1]
    if 'nbws' in path.parts[:-1]: # The last one: a checkout may stand in a folder of that name
        return '/'.join(path.parts[len(path.parts) - 1 - path.parts[::-1].index('nbws'):])
    return 'bench' if path.parent == Path(__file__).parent else 'standard library'


def allocated() -> dict[str, int]:
    gc.collect()
    found: Counter[str] = Counter()
    for each in tracemalloc.take_snapshot().statistics('filename'):
        found[name_of(each.traceback[0].filename)] += each.size
    return dict(found)


def imported(report: str, bare: str) -> dict[str, float]:
    "Milliseconds by package, of ours by folder, in what `python -X importtime` writes; less a bare interpreter's."
    found: Counter[str] = Counter()
    has = {module for _, module in IMPORT.findall(bare)}
    for took, module in IMPORT.findall(report):
        names = module.split('.')
        if module not in has: found['.'.join(names[:2 if names[0] == 'nbws' else 1])] += int(took)
    return {name: took / 1e3 for name, took in found.items()}


def import_parts(python: str, module: str, env: dict[str, str]) -> dict[str, float]:
    def run(code: str) -> str:
        command = [python, '-X', 'importtime', '-c', code]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stderr
    return imported(run(f'import {module}'), run('pass'))


def start_parts(lines: list[str], begun: float, ended: float) -> dict[str, float]:
    """Milliseconds of each part, of what `start.py` prints, and of the first page behind them. The page may come before
    `serve()` has returned, and ends that."""
    found, at = {}, begun
    for line in [*lines, f'first page {ended}']:
        part, _, time = line.rpartition(' ')
        done = min(float(time), ended)
        found[part], at = (done - at) * 1e3, done
    return found


def answer() -> None:
    for _ in sys.stdin: print(json.dumps(allocated()), flush=True)


if __name__ == '__main__':
    tracemalloc.start()
    import nbws.common  # noqa: F401
    import servers
    threading.Thread(target=answer, daemon=True).start()
    servers.ours(int(sys.argv[1]))
