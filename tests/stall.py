"""pytest, while its processes are stopped for a moment, again and again: finds tests that count on a quick machine.

`python -m tests.stall tests/sockets -n 4` takes what pytest takes. Which process is stopped, and for how long, is
random: a busy machine does the same to them, more rarely. Only Pythons are, for tests stop others themselves.
"""
from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress

import psutil

AT_ONCE, LONGEST, STEP = 3, 0.4, 0.02 # Processes; seconds of a stop, and between two looks


def stall(root: psutil.Process) -> None:
    "Stop processes below this one and let them go on, until it has ended."
    stopped: dict[psutil.Process, float] = {}
    try:
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            for process in [p for p, until in stopped.items() if time.monotonic() > until]:
                del stopped[process]
                with suppress(psutil.Error): process.resume()
            below = root.children(recursive=True)
            if below and len(stopped) < AT_ONCE and (process := random.choice(below)) not in stopped:
                with suppress(psutil.Error):
                    if 'python' in process.name() and process.status() != psutil.STATUS_STOPPED:
                        process.suspend()
                        stopped[process] = time.monotonic() + random.uniform(0, LONGEST)
            time.sleep(STEP)
    finally:
        for process in stopped:
            with suppress(psutil.Error): process.resume()


def main() -> int:
    run = subprocess.Popen([sys.executable, '-m', 'pytest', *sys.argv[1:]])
    with suppress(psutil.NoSuchProcess): stall(psutil.Process(run.pid))
    return run.wait()


if __name__ == '__main__': sys.exit(main())
