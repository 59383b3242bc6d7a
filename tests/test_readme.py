"""The texts that people read first."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXTS = 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'


@pytest.mark.parametrize('name', TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT/name).read_text('utf-8')
    links = re.findall(r'(?:\]\(|\b(?:src|href)=")([^)"\s#]+)', text)
    assert not [link for link in links if '://' not in link and not (ROOT/link).exists()]


def test_contributing_names_every_dependency() -> None:
    settings = (ROOT/'settings.ini').read_text('utf-8')
    names = re.findall(r'^    ([\w-]+)[>=<]', settings, re.M)
    text = (ROOT/'CONTRIBUTING.md').read_text('utf-8')
    assert not [name for name in names if f'`{name}`' not in text]
