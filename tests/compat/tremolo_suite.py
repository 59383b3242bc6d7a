"""Tremolo's own tests, with nbws.tremolo as the server.

    python tests/compat/tremolo_suite.py [--mirrors FOLDER] [--list]

The pinned repository is brought as applications are, and a copy of its tests is adapted: import lines, ports, and
the few lines of its server that are about Tremolo's inside. A test goes on behind an assertion that does not hold,
so that all of it is compared; what came in place of what it wants is what tremolo.txt says of it, or it fails.
`--list` writes the lines for tremolo.txt. Its tests of the command line and of the header parser are about
Tremolo's inside, and left out.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import socket
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from programs import end, started
from sources import NBWS, bring, on_purpose

REPOSITORY, COMMIT = 'nggit/tremolo', '1ea8ec4c70898358deb66eb6623f4dc1ce0470fc' # 0.5.2
MODULES = ('asgi', 'exceptions', 'http', 'http_malformed', 'http_range', 'http_websocket', 'tremolo_objects')
PORTS = 11 # In a row
# What the tests' server does with Tremolo's inside, and what stands for it: patterns of a file, replacements.
SERVER = [(r'    # MultiThreadExecutor.*?(?=@app\.on_worker_start\(priority=1\))', '\n\n'),
          (r'\b(\w+)\.routes\.add\(', r'\1.add_route('), (r'app\.middlewares\b', 'app.stages'),
          (r'request\.socket\.family\.name', "'AF_INET'"), (r"(\['worker_stop'\])\[-1\]", r'\1[0]')]
SERVE_HTTP = ('from tests.http_server import app\n'
              'app.run("127.0.0.1", PORT, limit_memory=51200, debug=False, shutdown_timeout=5, '
              'client_max_body_size=1048576, ws_max_payload_size=73728, forwarded_allow_ips="127.0.0.1")\n')
SERVE_ASGI = ('import nbws.tremolo\nfrom tests.asgi_server import app\n'
              'nbws.tremolo.run(app, "127.0.0.1", PORT + 10, debug=False, request_timeout=2)\n')


def adapt(source: Path, folder: Path, port: int) -> None:
    "Copy the tests, for nbws."
    shutil.copytree(source / 'tests', folder / 'tests')
    shutil.copytree(source / 'tremolo', folder / 'tremolo') # Its `lib` makes frames for the client
    for file in (folder / 'tests').rglob('*.py'):
        text = file.read_text()
        text = re.sub(r'\bfrom tremolo(?!\.lib)\b', 'from nbws.tremolo', text)
        text = re.sub(r'^import tremolo\b', 'import nbws.tremolo as tremolo', text, flags=re.M)
        text = text.replace('sys.path.insert(', '(').replace('28000', str(port)).replace("'::'", "'127.0.0.1'")
        text = text.replace('timeout=10, retries=10', 'timeout=3, retries=3')
        if file.name == 'http_server.py':
            for pattern, new in SERVER: text = re.sub(pattern, new, text, flags=re.S)
        file.write_text(text)


def free_ports() -> int:
    "The first of a row of ports that nobody has."
    for first in range(28000, 60000, PORTS):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + PORTS):
                s = stack.enter_context(socket.socket())
                s.bind(('127.0.0.1', port))
            return first
    raise OSError('no free ports')


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    "The tests' two servers."
    env = {'PYTHONPATH': os.pathsep.join((str(NBWS), str(folder)))}
    servers = []
    try:
        for name, code, at in (('http', SERVE_HTTP, port), ('asgi', SERVE_ASGI, port + 10)):
            command = [sys.executable, '-c', code.replace('PORT', str(port))]
            servers.append(started(command, at, folder / f'{name}.log', folder, env))
        yield
    finally: end(*servers)


came: list[str] = [] # In place of what the test that runs wants


def noted(name: str) -> Any:
    "An assertion that notes what came, and goes on."
    wanted = getattr(unittest.TestCase, name)
    def check(self: unittest.TestCase, first: Any, *rest: Any) -> None:
        try: wanted(self, first, *rest)
        except AssertionError: came.append(shown(first))
    return check


def shown(value: Any) -> str:
    "A value, for a line."
    text = bytes(value).decode('latin-1') if isinstance(value, (bytes, bytearray)) else str(value)
    return repr(text.partition('\r')[0].partition('\n')[0])[1:-1][:48].replace(', ', ' ')


def tell(test: str, rows: dict[str, str], listing: bool) -> str:
    "What a test's run comes to: passes, on purpose, fails. Prints where it does not pass."
    if not came: return 'passes'
    values = ', '.join(came)
    row, _, known = rows.get(test, '').partition(' | ')
    if listing: print(f'suite: {test} | {row} | {values}')
    elif known != values: print(f'FAILS: {test}: {values}' + (f' (known: {known})' if known else ''))
    return 'on purpose' if known == values else 'fails'


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument('--mirrors', default=os.environ.get('NBWS_COMPAT_MIRRORS', ''))
    parse.add_argument('--work', type=Path, default=Path(tempfile.gettempdir(), 'nbws-compat'))
    parse.add_argument('--list', action='store_true')
    parse.add_argument('--keep', action='store_true', help='the folder with the copy')
    o = parse.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    source = bring(REPOSITORY, COMMIT, o.work, o.mirrors)
    if source is None: sys.exit(f'{REPOSITORY} is not to be had here')
    rows = on_purpose('suite')
    folder, port = Path(tempfile.mkdtemp(prefix='nbws-tremolo-')), free_ports()
    adapt(source, folder, port)
    os.chdir(folder)
    sys.path[:0] = [str(NBWS), str(folder)]
    for name in ('assertEqual', 'assertTrue', 'assertFalse'): setattr(unittest.TestCase, name, noted(name))
    counts = {'passes': 0, 'on purpose': 0, 'fails': 0}
    try:
        with serving(folder, port):
            for module in MODULES:
                with contextlib.redirect_stdout(io.StringIO()):
                    suite = unittest.defaultTestLoader.loadTestsFromName(f'tests.test_{module}')
                tests = [t for case in suite for t in case] # type: ignore[union-attr]
                for test in tests:
                    came.clear()
                    with contextlib.redirect_stdout(io.StringIO()): result = test.run() # type: ignore[union-attr]
                    for _, trace in [*result.errors, *result.failures]: # type: ignore[union-attr]
                        came.append(trace.strip().splitlines()[-1].partition(':')[0])
                    counts[tell(f'{module}.{test.id().rpartition(".")[2]}', rows, o.list)] += 1
    finally:
        if o.keep: print(folder)
        else: shutil.rmtree(folder, ignore_errors=True)
    total = sum(counts.values())
    print(f'of {total} of Tremolo\'s tests {counts["passes"]} pass, {counts["on purpose"]} differ on purpose, '
          f'{counts["fails"]} fail')


if __name__ == '__main__': main()
