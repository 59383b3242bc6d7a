"""The texts that people read first."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXTS = 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'


def lost(text: str, folder: Path) -> list[str]:
    "The links of a text in this folder to files that are not there."
    links = re.findall(r'(?:\]\(|\b(?:src|href)=")([^)"\s#]+)', text)
    def there(link: str) -> bool: # A page of the site is made of a notebook, whose name begins with a number
        return (folder/link).exists() or any((folder/link).parent.glob(f'[0-9]*_{Path(link).stem}.ipynb'))
    return [link for link in links if '://' not in link and not there(link)]


@pytest.mark.parametrize('name', TEXTS)
def test_links_lead_somewhere(name: str) -> None: assert not lost((ROOT/name).read_text('utf-8'), ROOT)


def test_links_of_notebooks_lead_somewhere() -> None:
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        for cell in json.loads(path.read_text('utf-8'))['cells']:
            prose = re.sub(r'(`+).*?\1', '', ''.join(cell['source']), flags=re.S) # What is code shows links of others
            assert cell['cell_type'] != 'markdown' or not lost(prose, path.parent), path


def test_a_lost_link_is_found() -> None:
    assert lost('[a](README.md), ![b](no/such.png), <img src="c.gif"> [d](https://example.com)', ROOT) == [
        'no/such.png', 'c.gif']


def test_contributing_names_every_dependency() -> None:
    settings = (ROOT/'settings.ini').read_text('utf-8')
    names = re.findall(r'^    ([\w-]+)[>=<]', settings, re.M)
    text = (ROOT/'CONTRIBUTING.md').read_text('utf-8')
    assert not [name for name in names if f'`{name}`' not in text]
