"`app.shared`: a dict that all processes of an app have together."
from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from bound import until
from live import live, replace
from redises import Make, redis_server

from nbws import App
from nbws.core.errors import NbwsError
from nbws.core.protocols import Broker
from nbws.parts import shared
from nbws.sockets.redis_broker import RedisBroker


def quiz(broker: Broker | None = None, number: int = 1) -> Any:
    app: Any = App()
    app.broker, app.origin = broker, app.origin._replace(number=number)
    app.quiz = app.shared('quiz', {'question': 0})
    return app


def test_one_process() -> None:
    app = quiz()
    app.quiz['who'] = ['Ada']
    app.quiz[3] = None
    assert app.shared('quiz', {'question': 7}) == {'question': 0, 'who': ['Ada'], 3: None}
    assert (app.quiz.pop('who'), app.quiz.get('who'), len(app.quiz)) == (['Ada'], None, 2)
    with pytest.raises(KeyError): del app.quiz['who']
    with pytest.raises(NbwsError): app.quiz['x'] = object()
    with pytest.raises(NbwsError): app.quiz[1, 2] = 1
    with pytest.raises(NbwsError): app.shared('list', [])
    assert app.shared('other', {}) == {}


def test_all_processes_agree(make: Make) -> None:
    "Whoever sets what at the same time; who comes later has it all, and a deleted key stays deleted."
    with live(quiz(make())) as one, live(quiz(make())) as two:
        dicts: list[Any] = [one.app.quiz, two.app.quiz] # type: ignore[attr-defined]

        def change(number: int) -> None:
            for n in range(100): dicts[number % 2]['question' if n % 2 else f'{n % 5} {number}'] = [number, n]
        threads = [threading.Thread(target=change, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        dicts[0]['end 0'] = dicts[1]['end 1'] = True
        until(lambda: dicts[0] == dicts[1] and 'end 0' in dicts[1] and 'end 1' in dicts[0])
        del dicts[0]['question']
        until(lambda: 'question' not in dicts[1])
        with live(quiz(make())) as late:
            until(lambda: late.app.quiz == dicts[0]) # type: ignore[attr-defined]


def test_a_redis_that_was_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('nbws.sockets.peers.PULSE', .1)
    with redis_server() as redis, live(quiz(RedisBroker(redis.url))) as one:
        one.app.quiz['question'] = 5 # type: ignore[attr-defined]
        redis.says(b'FLUSHALL\r\n')
        with live(quiz(RedisBroker(redis.url))) as two:
            until(lambda: two.app.quiz == {'question': 5}) # type: ignore[attr-defined]


def test_an_app_that_takes_another_ones_place(make: Make) -> None:
    with live(quiz(make())) as one, live(quiz(make())) as two:
        one.app.quiz['question'] = 5 # type: ignore[attr-defined]
        new = quiz()
        one.wait(replace(one.server, new))
        assert new.quiz == {'question': 5}
        new.quiz['question'] = 6
        until(lambda: two.app.quiz == {'question': 6}) # type: ignore[attr-defined]


def test_a_process_that_has_forgotten_what_was_deleted_agrees(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(quiz(make())) as one, live(quiz(make())) as two:
        dicts: list[Any] = [one.app.quiz, two.app.quiz] # type: ignore[attr-defined]
        for n in range(5): dicts[0]['x'] = n
        del dicts[0]['x']
        dicts[0]['sign'] = 1
        until(lambda: 'sign' in dicts[1])
        dicts[0]._values._forget_deleted()
        dicts[0]['x'] = 'back'
        dicts[0]['sign'] = 2
        until(lambda: dicts[1]['sign'] == 2)
        assert dicts[1].get('x') == 'back'


def test_it_is_read_while_another_thread_changes_it() -> None:
    app = quiz()
    app.quiz.update({str(n): n for n in range(300)})
    changes = threading.Thread(target=lambda: [app.quiz.pop(str(n)) for n in range(300)])
    iterators: list[Any] = [iter(app.quiz), iter(app.quiz.items()), iter(app.quiz.values())]
    for iterator in iterators: next(iterator)
    changes.start()
    while changes.is_alive(): assert 'question' in repr(app.quiz)
    changes.join()
    assert [len(list(iterator)) for iterator in iterators] == [300] * 3
    app.quiz.clear()
    assert app.quiz == {}


def test_what_it_takes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, 'MOST', 1000)
    app = quiz()
    for n in range(200): # Deleted ones make room
        app.quiz[f'visitor {n}'] = 'here'
        del app.quiz[f'visitor {n}']
    with pytest.raises(NbwsError, match='1000 characters'):
        for n in range(200): app.quiz[f'visitor {n}'] = 'here'
    assert 30 < len(app.quiz) < 100
    app.quiz['question'] = 1


@pytest.mark.parametrize('kind', ['shared', 'saved'])
def test_a_copy_is_what_was_there_at_one_moment(kind: str, tmp_path: Path) -> None:
    "Also where another thread deletes meanwhile, between the keys and their values."
    app: Any = App()
    found = app.shared('quiz', {}) if kind == 'shared' else app.saved('quiz', {}, tmp_path/'quiz.db')
    both = {str(n): n for n in range(5)}
    found.update(both)
    keys = type(found).keys

    def named(self: Any) -> Any:
        "Somebody empties it when the keys are known."
        known = keys(self)
        thread = threading.Thread(target=lambda: [self.__delitem__(key) for key in known])
        thread.start()
        thread.join()
        return known
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(found), 'keys', named)
        assert dict(found) == both
    assert (dict(found), '1' in found, len(found)) == ({}, False, 0)
    found['1'] = 1
    found.keys()
    del found['1']
    with pytest.raises(KeyError): found['1']
