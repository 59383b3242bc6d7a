"""What is compiled does what the same source does in Python; and is used only where it is of that source."""
from __future__ import annotations

import os
import random
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from both_forms import frames_agree, messages_agree, pages_agree, parsed_again, renderings_agree, sent
from both_steps import STEPS, steps_agree
from bound import BOUND

from nbws.core import speedups as interpreted
from nbws.core.engine import WHY, choose, engine, source_id, speedups
from nbws.core.html import RENDERER, Div
from nbws.web.tracebacks import is_users

compiled = pytest.mark.skipif(bool(WHY), reason=f'in Python alone: {WHY}')


@compiled
@pytest.mark.parametrize('seed', [1, None], ids=['1', 'any'])
def test_both_say_the_same(seed: int | None) -> None:
    renderings_agree(random.randrange(10**9) if seed is None else seed)


@compiled
def test_frames_are_the_same() -> None:
    frames_agree(random.randrange(10**9))
    for size in 0, 1, 125, 126, 65535, 65536:
        for thing in b'b' * size, 't' * size, bytearray(size), 'ü' * (size // 2):
            assert speedups.frame(thing) == interpreted.frame(thing)
        if size < 126: assert speedups.encode(9, b'b' * size) == interpreted.encode(9, b'b' * size)
        assert speedups.encode(1, b'b' * size, True) == interpreted.encode(1, b'b' * size, True)
    for module in speedups, interpreted:
        with pytest.raises(UnicodeEncodeError): module.frame('\ud83d')


@compiled
def test_messages_are_handled_the_same() -> None:
    for _ in range(5): messages_agree(random.randrange(10**9))


@compiled
def test_plain_messages_need_no_scanner() -> None:
    def scan(text: str, at: int) -> Any: raise AssertionError(text)
    message = '{"msg": "grün", "n": -12, "HEADERS": {"HX-Request": "true", "HX-Target": null}}'
    assert speedups.usual_fields(message, scan, 1000, 1, 100, True) == {
        'msg': 'grün', 'n': -12, 'HEADERS': {'HX-Request': 'true', 'HX-Target': None}}
    with pytest.raises(AssertionError): speedups.usual_fields(message, scan, 1000, 1, 100) # They are to be marked


@compiled
def test_pages_are_taken_and_sent_the_same() -> None:
    for _ in range(5): pages_agree(random.randrange(10**9))


HEADS = [b'7.t.3,8.B.1,9.T.2,10.b.0', b'7.t.6', b'7.t.3,7.t.3', b'8.t.3,7.t.3', b'7.t.5', b'7.t.7', b'7.t', b'7.t.x']

@compiled
@pytest.mark.parametrize('heads', HEADS)
@pytest.mark.parametrize('said', [b'abcdef', 'äbäb'.encode(), b'abc\xffde'])
def test_messages_of_rooms_are_the_same(heads: bytes, said: bytes) -> None:
    def found(module: Any) -> Any:
        try: messages = module.messages_apart(heads, said, '0123abcd', 10**15, tuple)
        except ValueError as e: return type(e)
        return messages, [module.parts_of(messages[1], resumes) for resumes in (False, True)]
    assert found(speedups) == found(interpreted)


def test_the_cases_of_pages_are_usual_and_others() -> None:
    "Else both forms would agree on nothing much."
    said = [case[1:] for case in parsed_again(interpreted, 1) if isinstance(case[0], bytes)]
    assert set(said) == {(True, True), (True, False), (False, False)}
    written = sent(interpreted, 1)
    assert any(isinstance(x, bytes) for x in written)
    assert any(x[0] == 'other' for x in written if isinstance(x, tuple))


@compiled
def test_steps_are_made_the_same() -> None:
    for _ in range(3): steps_agree(random.randrange(10**9))


LEFT = {'gated': {'enter_other'}, 'stacked': {'enter 0', 'leave 0', 'answer_own', 'http', 'begin', 'left', 'leave 9'},
        'relocated': {'relocated'},
        'stepped': {'through', 'answered', 'failed', 'answer_other', 'handle_within', 'handled_later', 'respond_later',
                    'refusal', 'in_background', 'page_other', 'fragment', 'respond', 'rest_of', 'awaited', 'mended',
                    'answer', 'match', 'around', 'save'},
        'connected': {'feed', 'read_on', 'let others', 'open_body', 'failed', 'answer', 'shut', 'send_other'},
        'heard': {'begin_later', 'rest_of', 'escaped', 'unpark', 'resume_later', 'steered', 'keep', 'behind_transport',
                  'write_other', 'control', 'answer', 'announce', 'partly_here', 'finish', 'fall_behind', 'let_others',
                  'fault', 'align', 'spend', 'message', 'write'}}


@pytest.mark.parametrize('case', STEPS, ids=lambda case: case.__name__)
def test_steps_leave_the_rest_to_the_others(case: Any) -> None:
    "Each way out of a usual case is taken; else both forms would agree on nothing much."
    done = [each for seed in range(4) for each in case(interpreted, seed)]
    names = [each if isinstance(each, str) else each[0] for each in done if each and isinstance(each, (str, tuple))]
    assert LEFT[case.__name__] <= set(names)


def test_frames_that_are_compiled_are_ours() -> None:
    "A developer reads a traceback from their own first frame on."
    class Broken:
        def __html__(self) -> str: raise ZeroDivisionError('broken')
    with pytest.raises(ZeroDivisionError) as raised: RENDERER.element_text(Div(Div(Broken())))
    files = [entry.filename for entry in traceback.extract_tb(raised.value.__traceback__)]
    assert [is_users(file) for file in files] == [True] + [False] * (len(files) - 2) + [True]
    assert len(files) > 4


def test_one_runs_and_says_so() -> None:
    says = f'Rendering and frames run in Python: {WHY}.' if WHY else 'Rendering and frames are compiled.'
    assert engine() == says


def test_other_source_is_not_run(monkeypatch: pytest.MonkeyPatch, expect_log) -> None:
    "A file that was built before the source changed, or of another version."
    monkeypatch.setitem(sys.modules, 'nbws.core.made_before', SimpleNamespace(SOURCE='0' * 16))
    expect_log('compiled from other source', times=1)
    module, why = choose('', 'nbws.core.made_before')
    assert module is interpreted and 'make setup' in why
    made = SimpleNamespace(SOURCE=source_id())
    monkeypatch.setitem(sys.modules, 'nbws.core.made_now', made)
    assert choose('', 'nbws.core.made_now') == (made, '')


def test_what_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expect_log) -> None:
    (tmp_path/'made_elsewhere.py').write_text('raise ImportError("wrong ELF class")')
    monkeypatch.syspath_prepend(tmp_path)
    expect_log('wrong ELF class', times=1)
    assert choose('', 'made_elsewhere') == (interpreted, 'what is compiled cannot be used: wrong ELF class')


def test_it_can_be_switched_off() -> None:
    code = 'from nbws.core.engine import engine; print(engine())'
    run = subprocess.run([sys.executable, '-c', code], env={**os.environ, 'NBWS_PURE': '1'}, capture_output=True,
                         text=True, timeout=BOUND, check=True)
    assert run.stdout == 'Rendering and frames run in Python: NBWS_PURE=1.\n'
