"""Much at once, long, fast and unread, over the kernel's messages and a widget's: short forms of `tests.soak_lines`."""
from __future__ import annotations

from pathlib import Path

import flows
import pytest
from kernels import running

pytestmark = pytest.mark.usefixtures('clients_loop')


@pytest.mark.parametrize('way', ['comm', 'widget'])
def test_flows(tmp_path: Path, way: str) -> None:
    with running(tmp_path) as kernel:
        page = flows.FlowPage(kernel, way)
        flows.down(page, 2**23)
        flows.up(page, 2**22)
        flows.unread(page)
        flows.ticks(page, 10_000)
        flows.ticks(page, 2000, 2000)
