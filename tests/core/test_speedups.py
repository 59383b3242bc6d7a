"""What is compiled does what the same source does in Python; and is used only where it is of that source."""
from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bound import BOUND

from nbws.core.engine import WHY, choose, engine, interpreted, source_id, speedups

CASES = Path(__file__).with_name('speedups_cases.py')
compiled = pytest.mark.skipif(bool(WHY), reason=f'in Python alone: {WHY}')


def said(cases: int, seed: int, pure: str) -> list[str]:
    "What the cases print."
    run = subprocess.run([sys.executable, str(CASES), str(cases), str(seed)], capture_output=True, timeout=3 * BOUND,
                         env={**os.environ, 'NBWS_PURE': pure, 'PYTHONIOENCODING': 'utf-8:backslashreplace'})
    assert run.returncode == 0, run.stderr.decode()
    return re.sub('0x[0-9a-f]+', '0x', run.stdout.decode()).splitlines() # Addresses of objects


@compiled
@pytest.mark.parametrize('seed', [1, None], ids=['1', 'any'])
def test_both_say_the_same(seed: int | None) -> None:
    if seed is None: seed = random.randrange(10**9)
    pure, fast = said(400, seed, '1'), said(400, seed, '')
    assert (pure[0], fast[0], pure[-1]) == ('Python', 'compiled', 'too deep')
    assert len(pure) > 300
    for a, b in zip(pure[1:], fast[1:], strict=True): assert a == b, f'seed {seed}'


FIRST = [0x81, 0x82, 0x01, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x91, 0x83]
DATA = [b'', b'hi', b'{"msg": "x"}', 'grün'.encode(), b'\xff\xfe', b'x' * 125, b'x' * 126, b'y' * 700, b'z' * 70_000]


def unmask(mask: bytes, data: bytes) -> bytes: return bytes(b ^ mask[i & 3] for i, b in enumerate(data))


def stream(r: random.Random) -> bytes:
    "Frames of a client, most of them right; one byte of some is another."
    sent = b''
    for _ in range(r.randrange(1, 5)):
        payload, mask = r.choice(DATA[:7] if r.random() < 0.9 else DATA), r.randbytes(4)
        made = bytearray(interpreted.encode(0, payload))
        made[0] = r.choice(FIRST if r.random() < 0.4 else FIRST[:2])
        made[1] |= 0x80
        head = len(made) - len(payload)
        sent += bytes(made[:head]) + mask + unmask(mask, payload)
    if r.random() < 0.3:
        at = r.randrange(len(sent))
        sent = sent[:at] + r.randbytes(1) + sent[at + 1:]
    return sent[:r.randrange(len(sent)) + 1] if r.random() < 0.3 else sent


def taken(module: Any, data: bytes, budget: int, limit: int) -> tuple[Any, ...]:
    "What comes out of `take_usual`, and out of `feed`."
    events: list[Any] = []
    try: at: Any = module.take_usual(data, 0, events, budget, limit, unmask)
    except UnicodeDecodeError as e: at = str(e)
    class Reader(module.ShortReader):
        def feed_others(self, data: bytes, budget: int) -> list[Any]: return ['others', data, budget]
    reader = Reader(limit, unmask)
    found = [reader.feed(data), reader.feed(data, budget), Reader(3.5, unmask).feed(data)] # A limit is any number
    reader.idle = False
    return at, events, found, reader.feed(data)


@compiled
def test_frames_are_the_same() -> None:
    seed = random.randrange(10**9)
    r = random.Random(seed)
    for _ in range(3000):
        data, budget, limit = stream(r), r.choice([0, 1, 2, 64]), r.choice([0, 1, 100, 125, 10**6, 2**70])
        assert taken(speedups, data, budget, limit) == taken(interpreted, data, budget, limit), f'seed {seed}: {data!r}'
    for size in 0, 1, 125, 126, 65535, 65536:
        for thing in b'b' * size, 't' * size, bytearray(size), 'ü' * (size // 2):
            assert speedups.frame(thing) == interpreted.frame(thing)
        if size < 126: assert speedups.encode(9, b'b' * size) == interpreted.encode(9, b'b' * size)
        assert speedups.encode(1, b'b' * size, True) == interpreted.encode(1, b'b' * size, True)
    for module in speedups, interpreted:
        with pytest.raises(UnicodeEncodeError): module.frame('\ud83d')


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
