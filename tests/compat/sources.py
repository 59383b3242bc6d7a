"""The applications that applications.txt names: where they come from, and their copies for nbws."""
from __future__ import annotations

import io
import re
import shutil
import subprocess
import tokenize
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name('applications.txt')
NBWS = Path(__file__).parents[2]


class Application(NamedTuple):
    repository: str
    commit: str
    path: str
    on_purpose: str = '' # What differs, and why

    @property
    def name(self) -> str: return f'{self.repository}/{self.path}'


def applications() -> list[Application]:
    "What the list names."
    found, repository, commit = [], '', ''
    for line in LIST.read_text().splitlines():
        if not line.strip() or line.startswith('#'): continue
        if line.startswith(' '):
            path, _, why = line.strip().partition(' | ')
            found.append(Application(repository, commit, path, why))
        else: repository, commit = line.split()
    return found


def on_purpose(kind: str, # raw or suite
               ) -> dict[str, str]:
    "What of Tremolo differs on purpose, by its name, and how: the row of the table in front."
    found: dict[str, str] = {}
    for line in Path(__file__).with_name('tremolo.txt').read_text().splitlines():
        what, _, how = line.partition(' | ')
        if what.startswith(f'{kind}: '): found[what.removeprefix(f'{kind}: ').strip()] = how
    return found


def bring(repository: str, commit: str, work: Path, mirrors: str) -> Path | None:
    "The files of a repository at a commit; None where the network has it not."
    name = repository.replace('/', '+')
    to = work / 'src' / f'{name}@{commit[:12]}'
    if to.exists(): return to
    git = Path(mirrors, name, 'repo') if mirrors else work / 'git' / name
    if not mirrors and not git.exists():
        url = f'https://github.com/{repository}.git'
        code = subprocess.run(['git', 'clone', '-q', '--bare', url, str(git)], timeout=300).returncode
        if code: return None
    if not git.exists(): return None
    part = to.with_suffix('.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    archive = subprocess.Popen(['git', '--git-dir', str(git), 'archive', commit], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    subprocess.run(['tar', 'x', '-C', str(part)], stdin=archive.stdout, stderr=subprocess.DEVNULL, timeout=120)
    archive.wait(10)
    if not any(part.iterdir()): return None
    part.rename(to)
    return to


def is_tremolos(source: str) -> bool:
    "Whether a module imports Tremolo."
    return bool(re.search(r'^\s*(from|import) tremolo\b', source, re.M))


def renamed(source: str, name: str = 'nbws') -> str:
    "A module's source in which FastHTML, or Tremolo, has another name."
    if is_tremolos(source):
        source = re.sub(r'^(\s*)import tremolo$', r'\1import nbws.tremolo as tremolo', source, flags=re.M)
        return re.sub(r'^(\s*(?:from|import)) tremolo\b', r'\1 nbws.tremolo', source, flags=re.M)
    if 'fasthtml' not in source: return source
    try: tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError, IndentationError): return source
    lines = source.splitlines(keepends=True)
    for t in reversed(tokens):
        if t.type == tokenize.NAME and t.string == 'fasthtml':
            (row, start), (_, end) = t.start, t.end
            lines[row - 1] = lines[row - 1][:start] + name + lines[row - 1][end:]
    return ''.join(lines)


def rename(folder: Path) -> None:
    "The import lines of a copy."
    for file in folder.rglob('*.py'):
        try: text = file.read_text()
        except (UnicodeDecodeError, OSError): continue
        file.write_text(renamed(text))
