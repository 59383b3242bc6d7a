"""A soak, outside CI: what flows over the kernel's own messages and over a widget's, at length.

    python -m tests.soak_lines [--mebibytes 100] [--seconds 60]

Up and down, 10,000 events, a page that stops reading, and 2,000 messages a second into one page. Ends with exit code 1
if something is lost or comes out of order, if messages come faster than a Jupyter server takes, or if the kernel's
memory grows by more than 32 MiB after the first round.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import flows
from kernels import running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mebibytes', type=int, default=100)
    parser.add_argument('--seconds', type=int, default=60)
    o, grown = parser.parse_args(), False
    for way in 'comm', 'widget':
        with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as kernel:
            page = flows.FlowPage(kernel, way)
            flows.down(page, 2**24) # The first round
            flows.up(page, 2**24)
            before = flows.memory(page)
            for name, flow in (('down', lambda p=page: flows.down(p, o.mebibytes * 2**20)),
                               ('up', lambda p=page: flows.up(p, o.mebibytes * 2**20)),
                               ('10,000 events', lambda p=page: flows.ticks(p, 10_000)),
                               ('a page that stops', lambda p=page: flows.unread(p)),
                               ('2,000 a second', lambda p=page: flows.ticks(p, 2000 * o.seconds, 2000))):
                began = time.monotonic()
                flow()
                more = (flows.memory(page) - before) / 2**20
                grown |= more > 32
                print(f'{way}: {name}: {time.monotonic() - began:.1f} s, {more:+.1f} MiB, at most {page.fastest()} '
                      'messages in 3 s', flush=True)
                page.heard.clear()
    sys.exit(grown)


if __name__ == '__main__': main()
