"""`make compat`: public FastHTML and Tremolo applications, under these and under nbws, and what differs.

    python tests/compat [--only TEXT] [--mirrors FOLDER] [--against PYTHON ...] [--jobs 2] [--show]

applications.txt names them: a repository, a commit, and below it the files that hold an app; what stands behind a `|`
differs on purpose. Repositories are brought by git, or from a folder of mirrors (NBWS_COMPAT_MIRRORS,
`<owner>+<name>/repo` each), into a folder outside this one; nothing of them stays here. Under nbws a copy runs, where
the name `fasthtml` is `nbws` wherever it is imported, and `tremolo` is `nbws.tremolo`.
Under FastHTML the first of `--against` that answers everything is taken: names that old applications use are gone from
the newest version.
"""
from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from compare import differences
from sources import Application, applications, bring, is_tremolos, rename

HERE = Path(__file__).parent
NBWS = HERE.parents[1]
BOUND = 400 # Seconds for one run


class Result(NamedTuple):
    application: Application
    verdict: str # works, breaks, does not start, needs
    why: str
    details: list[tuple[str, str]]


class Driver:
    "A process that runs applications under one side, with one Python."
    def __init__(self, python: str, side: str, *folders: Path) -> None:
        path = [str(HERE), *map(str, folders)]
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join(path), 'PYTHONHASHSEED': '0', 'PYTHONDONTWRITEBYTECODE': '1'}
        self.process = subprocess.Popen([python, str(HERE / 'drive.py'), side], stdin=subprocess.PIPE, text=True,
                                        env=env)
        self.lock = threading.Lock()

    def run(self, task: dict[str, Any], folder: Path) -> dict[str, Any]:
        "What one run tells."
        (folder / 'task').write_text(json.dumps(task))
        told = folder / 'told'
        assert self.process.stdin
        with self.lock:
            self.process.stdin.write(f'{folder / "task"} {told}\n')
            self.process.stdin.flush()
        until = time.monotonic() + BOUND
        while not told.exists():
            if time.monotonic() > until: return {'failed': f'the run did not end in {BOUND} s', 'log': ''}
            time.sleep(0.1)
        found: dict[str, Any] = json.loads(told.read_text())
        return found


class Harness:
    "Runs applications; what FastHTML answered is kept between runs."
    def __init__(self, work: Path, mirrors: str, against: list[str], nbws: Path) -> None:
        self.work, self.mirrors, self.against = work, mirrors, against
        self.theirs = {python: Driver(python, 'fasthtml') for python in against}
        self.ours = Driver(sys.executable, 'nbws', nbws)

    def drive(self, driver: Driver, side: str, a: Application, at_root: bool, **more: Any) -> dict[str, Any]:
        "One run in a copy of the repository."
        source = bring(a.repository, a.commit, self.work, self.mirrors)
        assert source
        if side != 'nbws' and is_tremolos((source / a.path).read_text()): side = 'tremolo'
        with tempfile.TemporaryDirectory(prefix='compat-', dir=self.work, ignore_cleanup_errors=True) as temp:
            root, home = Path(temp, 'app'), Path(temp, 'home')
            shutil.copytree(source, root, symlinks=True, ignore=shutil.ignore_patterns('.git', 'node_modules'))
            home.mkdir()
            if side == 'nbws': rename(root)
            env = {'PATH': os.environ['PATH'], 'HOME': str(home), 'TMPDIR': temp, 'LANG': 'C.UTF-8'}
            cwd = root if at_root else (root / a.path).parent
            task = {'side': side, 'file': str(root / a.path), 'root': str(root), 'cwd': str(cwd), 'env': env, **more}
            return driver.run(task, Path(temp))

    def wanted(self, a: Application) -> dict[str, Any]:
        "What FastHTML answers, by the first of its versions that answers everything; by the best one, else."
        tried = []
        for python in self.against:
            tried.append(self.once(a, python))
            if not failures(tried[-1]): break
        return min(tried if 'steps' in tried[0] else reversed(tried), key=failures)

    def kept(self, a: Application, python: str) -> Path:
        key = hashlib.sha256(json.dumps([*a[:3], python]).encode()).hexdigest()[:24]
        return self.work / 'wanted' / f'{key}.json'

    def once(self, a: Application, python: str) -> dict[str, Any]:
        "What one version of FastHTML answers, from the cache or by a run."
        kept = self.kept(a, python)
        if kept.exists(): return json.loads(kept.read_text()) # type: ignore[no-any-return]
        told = self.drive(self.theirs[python], 'fasthtml', a, at_root=False)
        if 'failed' in told and ('No such file' in told['failed'] or 'does not exist' in told['failed']
                                 or 'No module' in told['failed'] or 'unable to open' in told['failed']):
            again = self.drive(self.theirs[python], 'fasthtml', a, at_root=True)
            if 'port' in again: told = {**again, 'at_root': True}
        told['python'] = python
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(told))
        return told

    def again(self, a: Application, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        "The same steps under FastHTML a second time: what differs there is chance."
        if not wanted.get('second'):
            python = wanted['python']
            wanted['second'] = self.drive(self.theirs[python], 'fasthtml', a, wanted.get('at_root', False),
                                          steps=wanted['steps']).get('steps', [])
            self.kept(a, python).write_text(json.dumps(wanted))
        second: list[dict[str, Any]] = wanted['second']
        return second

    def result(self, a: Application) -> Result:
        "One application under both."
        if not bring(a.repository, a.commit, self.work, self.mirrors):
            return Result(a, 'needs', 'the repository, which is not to be had here', [])
        wanted = self.wanted(a)
        if 'failed' in wanted: return Result(a, 'needs', f'the original does not start it: {wanted["failed"]}', [])
        if not any(s['status'] < 400 and s['status'] for s in wanted['steps']):
            return Result(a, 'needs', 'the original answers nothing of it: ' + last(wanted['log']), [])
        ours = self.drive(self.ours, 'nbws', a, wanted.get('at_root', False), steps=wanted['steps'],
                          name=wanted['name'])
        notes = f' [stand-ins: {", ".join(wanted["missing"])}]' if wanted['missing'] else ''
        if not ours.get('kind', 'nbws').startswith('nbws'): notes += f' [its app is {ours["kind"]}]'
        if 'failed' in ours: return Result(a, 'does not start', ours['failed'] + notes, [('log', ours['log'][-1500:])])
        steps = wanted['steps']
        found = differences(steps, None, ours['steps'])
        if found: found = differences(steps, self.again(a, wanted), ours['steps'])
        if not found: return Result(a, 'works', f'{len(steps)} answers{notes}', [])
        if a.on_purpose: return Result(a, 'works', f'but for what is on purpose: {a.on_purpose}{notes}', found)
        first = f'{found[0][0]} {" ".join(found[0][1].split())[:160]}'
        return Result(a, 'breaks', f'{len(found)} of {len(steps)}: {first}{notes}',
                      [*found, ('log', errors(ours['log'], wanted['log']))])


def failures(told: dict[str, Any]) -> int:
    "How much of an application did not work."
    return sum(s['status'] == 0 or s['status'] >= 500 for s in told['steps']) if 'steps' in told else 1_000


def last(log: str) -> str: return next((line for line in reversed(log.splitlines()) if line.strip()), '')


def errors(log: str, theirs: str) -> str:
    "The log's lines that name an error, but those that FastHTML has, too."
    lines = [line for line in log.splitlines() if line[:1].strip() and 'Error' in line.partition(':')[0]]
    return '\n'.join(line for line in dict.fromkeys(lines) if line not in theirs)


def table(results: list[Result]) -> Iterator[str]:
    "The lines of the table, worst first, and the sum."
    counts = collections.Counter(r.verdict for r in results)
    for verdict in ('needs', 'works', 'does not start', 'breaks'):
        for r in results:
            if r.verdict == verdict: yield f'{verdict:15} {r.application.name}: {r.why}'
    applicable = len(results) - counts['needs']
    yield (f'of {applicable} applications {counts["works"]} work, {counts["breaks"]} start and break, '
           f'{counts["does not start"]} do not start; {counts["needs"]} need what is not here')


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument('--only', default='', help='applications whose name holds this text')
    parse.add_argument('--mirrors', default=os.environ.get('NBWS_COMPAT_MIRRORS', ''))
    parse.add_argument('--work', type=Path, default=Path(tempfile.gettempdir(), 'nbws-compat'))
    parse.add_argument('--nbws', type=Path, default=NBWS, help='another checkout of it')
    parse.add_argument('--jobs', type=int, default=2)
    parse.add_argument('--against', nargs='+', default=[sys.executable], help='the Python of each FastHTML')
    parse.add_argument('--show', action='store_true', help='every difference, not the first alone')
    parse.add_argument('--json', type=Path, help='write the results there, too')
    o = parse.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    harness = Harness(o.work, o.mirrors, o.against, o.nbws.resolve())
    chosen = [a for a in applications() if o.only in a.name]
    for a in {a.repository: a for a in chosen}.values(): bring(a.repository, a.commit, o.work, o.mirrors)
    results = []
    with ThreadPoolExecutor(o.jobs) as pool:
        for n, r in enumerate(pool.map(harness.result, chosen)):
            print(f'{n + 1}/{len(chosen)} {r.verdict}: {r.application.name}: {r.why}', file=sys.stderr, flush=True)
            if o.show:
                for where, how in r.details: print(f'    {where}: {how}', file=sys.stderr, flush=True)
            results.append(r)
            if o.json: o.json.write_text(json.dumps([[*r.application[:3], *r[1:]] for r in results]))
    print('\n'.join(table(results)))


if __name__ == '__main__': main()
