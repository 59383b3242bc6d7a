"""What tests of sessions and of their key have in common."""
from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "A data folder of this test's own."
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path/'data'))
    monkeypatch.delenv('NBWS_SECRET_KEY', raising=False)
    return tmp_path/'data'/'nbws'
