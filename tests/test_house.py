"""How the house is built, beyond who imports whom (test_floors.py): seams, names, sizes; each with a planted fault."""
from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from statistics import median
from typing import Any

from radon.complexity import cc_visit
from test_floors import MODULES, ROOT, source

# What the field itself uses for two things, and why both stay.
TWICE = {
    'HTTPException': "Tremolo's programs raise and subclass their own, which is also ours",
}
# Underscore names that are other libraries' to define: their classes call or keep them.
THEIRS = {
    '_finished': "tornado.web.RequestHandler's",
    '_replace': "a named tuple's",
    '_asdict': 'as well',
    '_fields': 'as well',
}
DEEPEST, DENSEST, MIDDLE, LONG = 4, 10.4, 12, 40
COMPILED = ('nbws.core.speedups', 'nbws.core._speedups') # Parts of classes elsewhere, in a form that C can read
# Where any application may come, ours or another's.
ANY = {'app', 'server.listener'}


@cache
def sources() -> dict[str, str]: return {name: source(name) for name in MODULES if not name.startswith('examples')}


def underscored(name: str) -> bool: return name.startswith('_') and not name.startswith('__') and len(name) > 1


def made(tree: ast.AST) -> Iterator[str]:
    "The names that a file gives: to functions, classes, variables, attributes and slots."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): yield node.name
        elif isinstance(node, ast.arg): yield node.arg
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def borrowed(texts: Mapping[str, str]) -> list[str]:
    "Uses of an underscore name that another file gives, and this one does not."
    trees = {name: ast.parse(text) for name, text in texts.items()}
    given = {name: set(made(tree)) for name, tree in trees.items()}
    anywhere = set().union(*given.values())
    found = set()
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('nbws')):
                found |= {(name, alias.name) for alias in node.names if underscored(alias.name)}
            elif isinstance(node, ast.Attribute) and underscored(node.attr) and node.attr not in THEIRS:
                if node.attr in anywhere - given[name]: found.add((name, node.attr))
    return sorted(f'{name} uses {what}' for name, what in found if (name, what) != ('jpserver', EXTENSION))


EXTENSION = '_jupyter_server_extension_points' # The name that Jupyter Server asks for


def test_no_underscore_name_of_another_file() -> None: assert not borrowed(sources())


def test_a_borrowed_name_is_found() -> None:
    inner = 'class A:\n    def _inner(self): ...\n    def run(self): self._inner()'
    texts = {'a': inner, 'b': 'from nbws.a import A\nA()._inner()'}
    assert borrowed(texts) == ['b uses _inner']
    assert borrowed({'a': '_X = 1', 'b': 'from .a import _X'}) == ['b uses _X']


def untyped(texts: Mapping[str, str]) -> list[str]:
    "Parameters and attributes called `app` that are `Any`."
    def is_any(node: ast.AST | None) -> bool: return isinstance(node, ast.Name) and node.id == 'Any'
    found = []
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            called = node.arg if isinstance(node, ast.arg) else getattr(getattr(node, 'target', None), 'id', '')
            if called == 'app' and is_any(getattr(node, 'annotation', None)): found.append(f'{name}:{node.lineno}')
    return found


def test_the_seam_is_typed() -> None:
    assert not untyped({name: text for name, text in sources().items() if name not in ANY})


def test_an_untyped_seam_is_found() -> None: assert untyped({'a': 'def f(app: Any) -> None: ...'}) == ['a:1']


def twice(texts: Mapping[str, str]) -> dict[str, list[str]]:
    "Classes that two files define by the same name, an underscore aside."
    where = defaultdict(list)
    for name, text in texts.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef): where[node.name.lstrip('_')].append(name)
    return {name: files for name, files in where.items() if len(files) > 1 and name not in TWICE}


def test_one_name_one_thing() -> None: assert not twice(sources())


def test_a_second_meaning_is_found() -> None:
    texts = {'a': 'class Room: ...', 'b': 'class _Room: ...', 'c': 'class HTTPException: ...'}
    assert twice(texts) == {'Room': ['a', 'b']}


def ladder(kind: type[Any], package: str = 'nbws') -> list[str]:
    "The longest line of classes of ours from this one up, less what it has from its compiled part."
    above = [ladder(base, package) for base in kind.__bases__
             if base.__module__.partition('.')[0] == package and base.__module__ not in COMPILED]
    return [kind.__qualname__, *max(above, key=len, default=[])]


def test_no_long_ladder() -> None:
    modules = [importlib.import_module(f'nbws.{name}') for name in sources()]
    kinds = {kind for module in modules for kind in vars(module).values()
             if inspect.isclass(kind) and kind.__module__ == module.__name__}
    long = sorted(' < '.join(ladder(kind)) for kind in kinds if len(ladder(kind)) > DEEPEST)
    assert not long


def test_a_long_ladder_is_found() -> None:
    class A: ...
    class B(A): ...
    class C(B): ...
    assert len(ladder(C, __name__.partition('.')[0])) == 3


def complex_ones(texts: Mapping[str, str]) -> list[str]:
    "Functions that radon grades D or worse: more than 20 ways through."
    return [f'{name}: {block.fullname} ({block.complexity})' for name, text in texts.items() for block in cc_visit(text)
            if block.letter in 'FM' and block.complexity > 20]


def test_no_function_is_complex() -> None:
    assert not complex_ones(sources())


def test_a_complex_function_is_found() -> None:
    ways = '\n'.join(f'    if x == {n}: return' for n in range(21))
    assert complex_ones({'a': f'def f(x):\n{ways}'}) == ['a: f (22)']


def density(texts: Mapping[str, str]) -> float:
    "Nodes of the syntax tree for each line of code: without empty lines, comments and docstrings."
    nodes = lines = 0
    for text in texts.values():
        tree, prose = ast.parse(text), set()
        for node in ast.walk(tree):
            nodes += 1
            value = node.value if isinstance(node, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                prose |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        lines += len([line for n, line in enumerate(text.splitlines(), 1)
                      if line.strip() and not line.lstrip().startswith('#') and n not in prose])
    return nodes / lines


def test_lines_are_not_dense() -> None: assert density(sources()) <= DENSEST


def test_dense_lines_are_found() -> None:
    assert density({'a': 'x = [f(y) for y in range(9) if y > 3 and y < 7]'}) > DENSEST


def lengths(notebook: Mapping[str, Any]) -> list[int]:
    "How many lines each exported cell has, without directives and empty ones."
    cells = [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code']
    return [len([line for line in cell.splitlines() if line.strip() and not line.startswith('#|')])
            for cell in cells if re.match(r'#\| *exporti?\b', cell)]


def test_exported_cells_are_short() -> None:
    notebooks = [path for path in (ROOT/'nbs').rglob('*_*.ipynb') if '.ipynb_checkpoints' not in path.parts]
    found = sorted(n for path in notebooks for n in lengths(json.loads(path.read_text('utf-8'))))
    assert len(found) > 300
    assert median(found) <= MIDDLE
    assert found[len(found) * 9 // 10] <= LONG


def test_lines_of_cells_are_counted() -> None:
    cell = {'cell_type': 'code', 'source': ['#| export\n', 'a = 1\n', '\n', 'b = 2']}
    test, hidden = {'cell_type': 'code', 'source': ['c = 3']}, {**cell, 'source': ['#| exporti\n', 'd = 4']}
    assert lengths({'cells': [cell, test, hidden]}) == [2, 1]


def test_the_tests_mirror_the_house() -> None:
    folders = {path.name for path in (ROOT/'nbws').iterdir() if (path/'__init__.py').exists()}
    tested = {path.name for path in (ROOT/'tests').iterdir() if path.is_dir() and list(path.glob('test_*.py'))}
    # JavaScript is no package; FastHTML's and Tremolo's programs need every folder
    assert tested <= {*folders, 'static', 'compat'}
    for path in (ROOT/'nbs').rglob('[0-9]*.ipynb'): assert path.parent.name in {*folders, 'nbs'}
