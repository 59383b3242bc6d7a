"""What users are meant to use is explained: `?` in JupyterLab shows a docstring and says what each parameter is for.

Users write `from nbws.common import *`; so every function and class in that list which is ours, and of a class every
attribute that Tab offers, has a docstring, and each of its parameters a comment beside it (`nbws.core.docments`).
"""
from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any

from nbws import common
from nbws.core.html import FT
from nbws.core.docments import hide, parameter_comments


def ours(thing: Any) -> bool: return (getattr(thing, '__module__', None) or '').partition('.')[0] in ('nbws', __name__)


def undescribed(name: str, function: Any, described: Collection[str], method: bool = True) -> Iterator[str]:
    "The parameters of a function that are not among the described ones; a method's first one is what it belongs to."
    for parameter in list(inspect.signature(function).parameters)[method:]:
        if parameter not in described: yield f'{name}({parameter}) is not described'


def of_function(name: str, function: Any, method: bool = False) -> Iterator[str]:
    "What is missing of a function: its docstring, the comments of parameters."
    if not inspect.getdoc(function): yield f'{name} has no docstring'
    yield from undescribed(name, function, parameter_comments(function), method)


def of_init(name: str, kind: type[Any]) -> Iterator[str]:
    "What is missing of what a class is made of: of a dataclass, its fields."
    if is_dataclass(kind): described: Collection[str] = re.findall(r'^ +(\w+):.*# ', inspect.getsource(kind), re.M)
    else: described = parameter_comments(kind.__init__)
    yield from undescribed(name, kind.__init__, described)


def offered(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    "The public attributes of a class that are ours, but for those that Tab leaves out."
    hidden = getattr(kind.__dir__, 'hidden', frozenset())
    found = {name: value for base in reversed(kind.__mro__) if ours(base) for name, value in vars(base).items()}
    for name, value in found.items():
        if name[0] != '_' and name not in hidden: yield f'{kind.__name__}.{name}', value


def missing(name: str, thing: Any) -> Iterator[str]:
    "What is missing of something public."
    if not inspect.isclass(thing):
        yield from of_function(name, thing)
        return
    if not thing.__doc__: yield f'{name} has no docstring'
    if '__init__' in vars(thing) and not getattr(thing, '_is_protocol', False): yield from of_init(name, thing)
    for attribute, value in offered(thing):
        method, value = not isinstance(value, staticmethod), getattr(value, '__func__', value)
        if inspect.isfunction(value): yield from of_function(attribute, value, method)
        elif isinstance(value, (property, cached_property)) and not value.__doc__:
            yield f'{attribute} has no docstring'


def public() -> dict[str, Any]:
    "What of nbws a star import gives; `FastHTML` is `App`."
    found = {name: getattr(common, name) for name in common.__all__ if not isinstance(getattr(common, name), FT)}
    return {name: thing for name, thing in found.items() if callable(thing) and ours(thing) and name != 'FastHTML'}


def test_what_users_use_is_explained() -> None:
    found = public()
    assert len(found) > 150 and {'App', 'WebSocket', 'Room', 'serve', 'Div', 'fast_app'} <= found.keys()
    assert not [m for name, thing in found.items() for m in missing(name, thing)]


def test_what_is_not_explained_is_found() -> None:
    class Planted:
        "A class."
        def __init__(self, size: int) -> None: ...
        def told(self, to: str, # Who is told
                 how: str) -> None: ...
        @property
        def state(self) -> int: return 0
        def inner(self, x: int) -> None: ...

    hide(Planted, ['inner'])
    assert list(missing('Planted', Planted)) == [
        'Planted(size) is not described', 'Planted.told has no docstring', 'Planted.told(how) is not described',
        'Planted.state has no docstring']
    @dataclass
    class Fields:
        "A class."
        told: int # How much
        untold: int

    assert list(missing('Fields', Fields)) == ['Fields(untold) is not described']
    assert list(missing('f', lambda x: x)) == ['f has no docstring', 'f(x) is not described']
