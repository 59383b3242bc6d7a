"State that outlives its process: two processes at once, one that is killed, files that cannot be used."
from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bound import BOUND

from nbws.common import App, NbwsError

COUNT = '''
import sys
from nbws.app import App
app = App()
scores, rows = app.saved('scores', {'n': 0}, sys.argv[1]), app.saved('rows', [], sys.argv[1])
for n in range(100):
    with scores: scores['n'] += 1
    rows.append(n)
'''
KILLED = '''
import os, signal, sys
from nbws.app import App
rows = App().saved('rows', [], sys.argv[1])
rows.append('kept')
with rows:
    rows.append('lost')
    os.kill(os.getpid(), signal.SIGKILL)
'''


def start(code: str, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, str(file)])


def test_two_processes_and_threads(tmp_path: Path) -> None:
    file = tmp_path/'a.db'
    others = [start(COUNT, file) for _ in range(2)]
    scores = App().saved('scores', {'n': 0}, file)
    def count() -> None:
        for _ in range(50):
            with scores: scores['n'] += 1
    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(BOUND)
    assert [other.wait(BOUND) for other in others] == [0, 0]
    assert scores['n'] == 300
    assert sorted(App().saved('rows', [], file)) == sorted([*range(100), *range(100)])
    scores.file.close()


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path/'a.db'
    assert start(KILLED, file).wait(BOUND) == -9
    rows = App().saved('rows', [], file)
    assert rows == ['kept']
    rows.append('again')
    assert [f.stat().st_mode & 0o777 for f in tmp_path.iterdir()] == [0o600]
    rows.file.close()


def test_the_usual_file_is_the_apps_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    first, second = App(), App()
    for app in first, second: app.saved('x', {})['a'] = id(app)
    found = first.saved('x', {})
    assert found['a'] == id(first)
    files = list((tmp_path/'nbws'/'saved').iterdir())
    assert len(files) == 2 and {f.stat().st_mode & 0o777 for f in files} == {0o600}
    assert (tmp_path/'nbws'/'saved').stat().st_mode & 0o077 == 0
    for app in first, second: app.saved('x', {}).file.close()


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path/'no.db').write_text('this is no database, and long enough to be seen as none' * 100)
    with pytest.raises(NbwsError, match='cannot be saved in'): App().saved('x', {}, tmp_path/'no.db')
    found = App().saved('x', {}, tmp_path/'a.db')
    with pytest.raises(NbwsError, match='a set cannot be saved'): found['a'] = {1}
    with pytest.raises(NbwsError, match='a float cannot be saved'): found['a'] = float('nan')
    assert dict(found) == {}
    found.file.close()


def test_names_and_keys_that_look_alike(tmp_path: Path) -> None:
    "What comes back is what was saved, or it is refused."
    app, file = App(), tmp_path/'a.db'
    names = ['scores', 'Scores', 'SCORES', 'ΣΑΣ', 'a"b; --', '', 'TABLE']
    for n, name in enumerate(names): app.saved(name, {}, file)['n'] = n
    assert [app.saved(name, {}, file)['n'] for name in names] == [*range(len(names))]
    for name in ('a\0b', 'a\udcff', 'a\nb', 5):
        with pytest.raises(NbwsError, match='is no name'): app.saved(name, {}, file) # type: ignore[arg-type]
    found = app.saved('scores', {}, file)
    with pytest.raises(NbwsError, match='cannot be a key'): found['a', 'b'] = 1
    for wrong in ({1: 2}, [{'a': {None: 1}}]):
        with pytest.raises(NbwsError, match='would come back as text'): found['x'] = wrong
    found[1], found[None], found['1'] = 'a', 'b', 'c'
    assert dict(found) == {'n': 0, 1: 'a', None: 'b', '1': 'c'}
    found.file.close()


def test_a_change_that_cannot_be_committed(tmp_path: Path) -> None:
    "Another reader keeps it from the disk: it is taken back, and the next one goes."
    rows = App().saved('rows', ['a'], tmp_path/'a.db')
    rows.run('PRAGMA busy_timeout = 10')
    other = sqlite3.connect(tmp_path/'a.db', isolation_level=None)
    other.execute('BEGIN')
    other.execute('SELECT count(*) FROM sqlite_master').fetchall()
    with pytest.raises(sqlite3.OperationalError, match='locked'), rows: rows.append('lost')
    other.execute('ROLLBACK')
    other.close()
    with rows: rows.append('b')
    assert rows == ['a', 'b']
    rows.file.close()


def test_a_file_that_was_deleted(tmp_path: Path) -> None:
    "The cell that is run again begins a new one."
    app, file = App(), tmp_path/'a.db'
    rows = app.saved('rows', [], file)
    rows.append('old')
    file.unlink()
    again = app.saved('rows', [], file)
    again.append('new')
    assert (rows, again, file.exists()) == (['new'], ['new'], True)
    rows.file.close()
