"""Files that the set-up did not bring."""
from __future__ import annotations

from pathlib import Path

import pytest
from logs import ExpectLog

from nbws.core.html import render
from nbws.web import assets as web


def test_what_is_not_in_the_package_comes_from_the_cdn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       expect_log: ExpectLog) -> None:
    "The log says so, once a file."
    (tmp_path/'ws.js').touch()
    monkeypatch.setattr(web, 'STATIC', tmp_path)
    web.warn_of_cdn.cache_clear()
    expect_log('htmx.min.js is not in the package', times=1)
    url = web.CDN['htmx.min.js']
    for _ in range(2): assert render(web.asset('htmx.min.js', '/lab')) == f'<script src="{url}"></script>'
    assert render(web.asset('ws.js', '/lab')) == '<script src="/lab/_nbws/ws.js"></script>'
