"""Much at once, long, fast and unread, over the HTTP line: short forms of `tests.soak_lines`."""
from __future__ import annotations

from pathlib import Path

import line_flows
import pytest
from processes import asgi_server


@pytest.mark.parametrize('way', ['polls', 'stream'])
def test_flows(tmp_path: Path, way: str) -> None:
    (tmp_path/'flow_app.py').write_text(line_flows.APP)
    with asgi_server('nbws', 'flow_app:app', tmp_path) as process, \
            line_flows.LinePage(f'http://127.0.0.1:{process.port}', way) as page:
        line_flows.down(page, 2**23)
        line_flows.up(page, 2**22)
        line_flows.unread(page)
        line_flows.ticks(page, 10_000)
        line_flows.ticks(page, 2000, 2000)
