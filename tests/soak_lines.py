"""A soak, outside CI: what flows over the kernel's own messages, a widget's, and the HTTP line, at length.

    python -m tests.soak_lines [--mebibytes 100] [--seconds 60]

Up and down, 10,000 events, a page that stops reading, and 2,000 messages a second into one page. Ends with exit code 1
if something is lost or comes out of order, if messages come faster than a Jupyter server takes, if 2,000 a second take
more than a tenth longer than they should, or if the memory of the kernel or the server grows by more than 32 MiB after
the first round.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import flows
import line_flows
from kernels import running
from processes import asgi_server


@contextmanager
def page_of(way: str, folder: Path) -> Iterator[tuple[ModuleType, Any]]:
    "A page of an app of its own, and the flows that it knows."
    if way in flows.PIECES:
        with running(folder) as kernel: yield flows, flows.FlowPage(kernel, way)
        return
    (folder/'flow_app.py').write_text(line_flows.APP)
    with asgi_server('nbws', 'flow_app:app', folder) as process, \
            line_flows.LinePage(f'http://127.0.0.1:{process.port}', way) as page: yield line_flows, page


def timed(flow: Callable[..., None], *how: Any) -> float:
    began = time.monotonic()
    flow(*how)
    return time.monotonic() - began


def soak(way: str, of: ModuleType, page: Any, size: int, seconds: int) -> bool:
    "Whether all is well."
    of.down(page, 2**24) # The first round
    of.up(page, 2**24)
    before, well = of.memory(page), True
    for name, flow, *how in (('down', of.down, size), ('up', of.up, size), ('10,000 events', of.ticks, 10_000),
                             ('a page that stops', of.unread), ('2,000 a second', of.ticks, 2000 * seconds, 2000)):
        took = timed(flow, page, *how)
        more = (of.memory(page) - before) / 2**20
        well &= more <= 32 and not (len(how) == 2 and took > 1.1 * seconds + 1)
        fastest = f', at most {page.fastest()} messages in 3 s' if of is flows else ''
        print(f'{way}: {name}: {took:.1f} s, {more:+.1f} MiB{fastest}', flush=True)
        if of is flows: page.heard.clear()
    return well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mebibytes', type=int, default=100)
    parser.add_argument('--seconds', type=int, default=60)
    o, well = parser.parse_args(), True
    for way in 'comm', 'widget', 'polls', 'stream':
        with tempfile.TemporaryDirectory() as folder, page_of(way, Path(folder)) as (of, page):
            well &= soak(way, of, page, o.mebibytes * 2**20, o.seconds)
    sys.exit(not well)


if __name__ == '__main__': main()
