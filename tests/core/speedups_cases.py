"""Renders random elements and prints what comes out, a line each: `python speedups_cases.py CASES SEED`.

`both_forms` runs it twice, compiled and in Python, and compares. Nothing here may depend on more than the seed.
"""
from __future__ import annotations

import pickle
import random
import sys
from copy import deepcopy
from typing import Any

from nbws.core.data import Fields
from nbws.core.engine import WHY
from nbws.core.html import FT, NotStr, Safe, document, fragment, ft, render

TEXTS = ['', 'a', 'plain text', 'a < b', '&amp;', '"', "'", '\'"', '</script>', 'é', '\U0001f600', '\ud83d', 'x' * 80,
         '\n']
TAGS = ['div', 'p', 'b', 'br', 'input', 'script', 'style', 'pre', 'textarea', '', 'svg:g', 'Custom-Tag', 'a b', '<',
        '!doctype']
KEYS = ['cls', 'klass', 'id', 'hx_get', 'get', 'for_', '_for', 'fr', 'data_x', '@click', 'a b', 'style', 'aria_label',
        'hx_boost', 'hidden', 'name', 'target_id', 'link', 'value', '_', '__']


class Text(str): pass
class Number(int): pass
class Many(list): pass


class Component:
    def __init__(self, child: Any) -> None: self.child = child
    def __ft__(self) -> Any: return ft('i', self.child)


class Html:
    def __html__(self) -> str: return '<hr>'


class Broken:
    def __html__(self) -> str: raise ZeroDivisionError('broken')


def text(r: random.Random) -> str: return r.choice(TEXTS)


def value(r: random.Random) -> Any:
    return r.choice([lambda: text(r), lambda: text(r), lambda: True, lambda: False, lambda: None, lambda: 3,
                     lambda: 1.5, lambda: [text(r), None, 'b'], lambda: {'a': text(r)}, dict,
                     lambda: iter(['a', text(r)]), lambda: Safe(text(r)), lambda: Text(text(r)), lambda: b'bytes',
                     lambda: ft('b', id='it')])()


def attributes(r: random.Random) -> dict[str, Any]:
    made = {r.choice(KEYS): value(r) for _ in range(r.choice([0, 0, 1, 1, 2, 4]))}
    return {k: v for k, v in made.items() if not (k == 'id' and v is True)} # Asks for a random one


def child(r: random.Random, depth: int) -> Any:
    if depth > 0 and r.random() < 0.4: return element(r, depth - 1)
    def more() -> list[Any]: return [child(r, depth - 1) for _ in range(r.randrange(3))]
    return r.choice([lambda: text(r), lambda: text(r), lambda: None, lambda: True, lambda: 7, lambda: -0.5,
                     lambda: 10**30, lambda: Safe(text(r)), lambda: NotStr('<b>'), lambda: Text(text(r)),
                     lambda: Number(4), lambda: b'\xff', more, lambda: tuple(more()), lambda: Many(more()),
                     lambda: iter(more()), lambda: {'title': text(r)}, lambda: Fields({'onclick': 'x'}),
                     lambda: {1, }, lambda: range(3), lambda: Component(text(r)), Html,
                     lambda: Broken() if r.random() < 0.1 else Html()])()


def element(r: random.Random, depth: int) -> FT:
    tag = r.choice(TAGS if r.random() < 0.5 else TAGS[:3])
    el = ft(tag, *[child(r, depth) for _ in range(r.randrange(4))], **attributes(r))
    if r.random() < 0.1: el.attrs.update({r.choice(KEYS): text(r)})
    if r.random() < 0.1: el.children.append(text(r))
    if r.random() < 0.05: el = el(text(r), cls='more')
    return el


def outcome(function: Any, *args: Any) -> str:
    try: return repr(function(*args))
    except Exception as e: return f'{type(e).__name__}: {e}'


def main(cases: int, seed: int) -> None:
    print('Python' if WHY else 'compiled')
    r = random.Random(seed)
    for _ in range(cases):
        el = outcome_of = None
        try: el = element(r, 4)
        except ValueError as e: outcome_of = f'not made: {e}'
        if el is None:
            print(outcome_of)
            continue
        print(outcome(render, el), outcome(render, el), outcome(lambda el=el: render(deepcopy(el))), # Twice: iterators
              outcome(fragment, (el, text(r))), outcome(document, (el, 'x')), outcome(render, el, [el], (1, None)),
              outcome(lambda el=el: render(pickle.loads(pickle.dumps(el)))))
    deep: Any = ft('p')
    for _ in range(5000): deep = ft('p', [deep])
    try: render(deep)
    except RecursionError: print('too deep')


if __name__ == '__main__': main(int(sys.argv[1]), int(sys.argv[2]))
