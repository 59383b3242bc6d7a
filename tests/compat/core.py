"""FastHTML's own assertions on its core, with nbws in its place: `python tests/compat/core.py nbws|fasthtml NOTEBOOK`.

The cells of its notebook that export nothing run one statement after the other, in the notebook's folder. An assertion
about FastHTML's inner functions does not apply; the others are counted, and those that fail are listed.
"""
from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import os
import signal
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sources import renamed

# What the notebook defines for itself and no page uses; a name with a line in front of it is left out, too.
INNER = {'form2dict', 'parse_form', 'nested_name', 'snake2hyphens'}
BOUND = 20 # Seconds for one statement
# What the notebook imports in cells that it exports, beside FastHTML's own.
BEFORE = '''
import asyncio, inspect, json, os, re, time, uuid
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime, timedelta
from functools import partial, update_wrapper, wraps
from http import cookies
from inspect import Parameter, get_annotations
from pathlib import Path
from types import FunctionType, GenericAlias, SimpleNamespace as ns, UnionType
from typing import Any, List, Literal, Mapping, Optional, Tuple, TypedDict, Union
from urllib.parse import parse_qs, quote, unquote, urlencode
from warnings import warn
'''


def is_assertion(node: ast.AST) -> bool:
    "assert, test_eq(...), `with ExceptionExpected()`."
    if isinstance(node, ast.Assert): return True
    if isinstance(node, ast.withitem): return 'ExceptionExpected' in ast.unparse(node)
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ''
    return name.startswith('test_') and name != 'test_request'


def cells(notebook: Path) -> list[tuple[int, str]]:
    "The cells that export nothing: number, source without magics."
    found = []
    for n, cell in enumerate(json.loads(notebook.read_text())['cells']):
        lines = ''.join(cell['source']).splitlines()
        if cell['cell_type'] != 'code' or any(line.replace(' ', '').startswith('#|export') for line in lines): continue
        found.append((n, '\n'.join(line for line in lines if not line.startswith(('%', '!', '#|')))))
    return found


def exported(notebook: Path) -> set[str]:
    "The private names that the notebook's exported cells define."
    names: set[str] = set()
    for cell in json.loads(notebook.read_text())['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or '#|export' not in source.replace(' ', ''): continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): names.add(node.id)
    return {n for n in names if n.startswith('_')} | INNER


def ignored(statement: ast.stmt, inner: set[str], gone: set[str]) -> bool:
    "Whether a statement is about FastHTML's inside; what it would have defined is gone then, too."
    used = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    used -= {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        used -= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if not used & (inner | gone): return False
    for n in ast.walk(statement):
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store): gone.add(n.id)
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): gone.add(statement.name)
    return True


def run(statement: ast.stmt, names: dict[str, Any]) -> None:
    "One statement, as a notebook runs it."
    code = compile(ast.Module([statement], []), '<cell>', 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                   dont_inherit=True)
    waits = eval(code, names)
    if inspect.isawaitable(waits): asyncio.run(waits) # type: ignore[arg-type]


def main(side: str, notebook: Path) -> None:
    inner, gone = exported(notebook), set[str]()
    os.chdir(notebook.parent)
    names: dict[str, Any] = {'__name__': '__main__'}
    exec(BEFORE + f'from starlette.applications import Starlette\nfrom {side}.common import *\n', names)
    if side == 'fasthtml': exec('from fasthtml.core import *', names)
    passed = failed = 0

    def late(*args: Any) -> None: raise TimeoutError(f'more than {BOUND} s')
    signal.signal(signal.SIGALRM, late)
    for number, source in cells(notebook):
        try: tree = ast.parse(renamed(source, side))
        except SyntaxError as e: print(f'cell {number}: {e}'); continue
        for statement in tree.body:
            bound = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if ignored(statement, inner, gone): continue
            gone -= bound | {getattr(statement, 'name', '')}
            count = sum(is_assertion(n) for n in ast.walk(statement))
            signal.alarm(BOUND)
            try:
                with redirect_stdout(io.StringIO()): run(statement, names)
                passed += count
            except BaseException as e:
                failed += count
                mark = f'FAIL {count}' if count else 'raises'
                first = ast.unparse(statement).splitlines()
                print(f'{mark}: cell {number}: {" | ".join(first)[:200]}')
                print(f'      {type(e).__name__}: {" ".join(str(e).split())[:300]}')
                if isinstance(e, (SystemExit, KeyboardInterrupt)): traceback.print_exc()
            finally: signal.alarm(0)
    print(f'{passed} of {passed + failed} assertions hold under {side}')


if __name__ == '__main__': main(sys.argv[1], Path(sys.argv[2]).resolve())
