"""The lowest versions that settings.ini allows, as pip's constraints: `python tests/lowest.py > constraints.txt`.

What users get with nbws, and its extras but for `demo`: of what only tests need, any version will do.
"""
from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

SETTINGS = Path(__file__).resolve().parent.parent/'settings.ini'
GROUPS = 'requirements', 'notebook_requirements', 'reload_requirements', 'speed_requirements'
LOWEST = re.compile(r'([A-Za-z0-9._-]+)\s*>=\s*([^,;\s]+)[^;]*(;.*)?')


def lowest(settings: Path = SETTINGS) -> list[str]:
    "A line for each requirement. Raises `ValueError` for one that names no lowest version."
    config = ConfigParser(interpolation=None)
    config.read(settings, 'utf-8')
    lines = [line.strip() for group in GROUPS for line in config['DEFAULT'][group].splitlines() if line.strip()]
    found = [(line, LOWEST.fullmatch(line)) for line in lines]
    if wrong := [line for line, match in found if not match]: raise ValueError(f'{wrong[0]!r} says no lowest version')
    return sorted(f'{match[1]}=={match[2]}{match[3] or ""}' for _, match in found if match)


if __name__ == '__main__': print('\n'.join(lowest()))
