"""The key that signs sessions: where it is, who else may know it, and what is refused."""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from logs import ExpectLog

from nbws import App
from nbws.core.errors import NbwsError
from nbws.testing import Client
from nbws.web.keys import secret_key

pytestmark = pytest.mark.usefixtures('data')


@pytest.mark.parametrize(('content', 'mode', 'place', 'why'), [
    ('', 0o600, 0o700, 'it is empty'), ('  \n', 0o600, 0o700, 'it is empty'), ('short', 0o600, 0o700, 'too short'),
    ('k' * 40, 0o644, 0o700, 'its mode is 0644'), ('k' * 40, 0o640, 0o700, 'its mode is 0640'),
    ('k' * 40, 0o600, 0o770, 'its folder has the mode 0770'), ('k' * 40, 0o600, 0o777, 'its folder has the mode 0777'),
])
def test_a_key_that_is_none(content: str, mode: int, place: int, why: str, data: Path, expect_log: ExpectLog) -> None:
    "The request is refused, and the developer told why and what to do: no session is signed by it."
    data.mkdir(parents=True)
    file = data/'session.key'
    file.write_text(content)
    file.chmod(mode)
    data.chmod(place)
    with pytest.raises(NbwsError, match=why) as told: secret_key()
    for word in (str(file), 'NBWS_SECRET_KEY', 'secret_key'): assert word in str(told.value)
    expect_log(re.escape(str(file)))
    app = App()
    @app.get('/')
    async def log_in(session: dict[str, str]) -> None: session['auth'] = 'ann'
    with Client(app) as client:
        assert client.get('/').status == 500
        assert not client.cookies
    os.environ['NBWS_SECRET_KEY'] = 'from the environment'
    try: assert secret_key() == 'from the environment'
    finally: del os.environ['NBWS_SECRET_KEY']


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='only root can give a file away')
def test_a_key_of_somebody_else(data: Path) -> None:
    secret_key()
    os.chown(data/'session.key', 65534, 65534)
    with pytest.raises(NbwsError, match='belongs to another user'): secret_key()
    os.chown(data/'session.key', 0, 0)
    os.chown(data, 65534, 65534)
    with pytest.raises(NbwsError, match='its folder belongs to another user'): secret_key()
    os.chown(data, 0, 0)
    assert secret_key()


def test_a_key_of_our_own(data: Path) -> None:
    key = secret_key()
    assert secret_key() == key
    assert len(key) > 30
    assert data.stat().st_mode & 0o777 == 0o700
    (data/'session.key').chmod(0o400)
    assert secret_key() == key


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         expect_log: ExpectLog) -> None:
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path/'file'))
    expect_log('sessions last as long as this process')
    assert secret_key()
