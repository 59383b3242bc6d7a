"State that outlives its process: two processes at once, one that is killed, files that cannot be used."
from __future__ import annotations

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
