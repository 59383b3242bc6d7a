"""The Autobahn test suite's 517 cases against nbws, compiled and in Python: `python tests/autobahn.py`. Outside CI.

The suite is Python 2.7's, and so is its venv (`.venv-autobahn`): `--python2` names such a Python. Strict: a case that
is answered in another way than the suite would have it, though RFC 6455 allows that, is a failure, too. Exit code 1.
What echoes is the receiver of the conformance tests, at once: a handler that is a task answers in a later turn of the
loop, and 3.2 wants the answer to a message that has a wrong frame behind it in the same read."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from raw import App

from nbws.core.engine import engine
from nbws.server.limits import Limits
from nbws.server.listener import Server

ROOT = Path(__file__).parents[1]
VENV = ROOT / '.venv-autobahn'
SUITE, MAKES_VENV = 'autobahntestsuite==0.8.2', 'virtualenv==20.21.1' # The last ones for Python 2.7
GOOD = 'OK', 'INFORMATIONAL' # Informational: 7.1.6 and 7.13, to which RFC 6455 has no answer


def suite(python2: str) -> Path:
    "Its command; installed where it is missing."
    command = VENV / 'bin/wstest'
    if not command.exists():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--target', folder, MAKES_VENV], check=True)
            subprocess.run([sys.executable, '-m', 'virtualenv', '-q', '-p', python2, VENV], check=True,
                           env={**os.environ, 'PYTHONPATH': folder})
        subprocess.run([VENV / 'bin/pip', 'install', '-q', SUITE], check=True)
    return command


def run(command: Path, cases: list[str], takes_over: bool) -> dict[str, str]:
    "What the suite says of each case, by its number; and of how the connection was closed, where that was wrong."
    limits = Limits(max_message=2**25)
    with tempfile.TemporaryDirectory() as folder, Server(App(), limits=limits, context_takeover=takes_over) as server:
        spec = {'outdir': folder, 'cases': cases, 'exclude-cases': [], 'exclude-agent-cases': {},
                'servers': [{'agent': 'nbws', 'url': f'ws://127.0.0.1:{server.port}/', 'options': {'version': 18}}]}
        (Path(folder) / 'spec.json').write_text(json.dumps(spec))
        subprocess.run([command, '-m', 'fuzzingclient', '-s', 'spec.json'], cwd=folder, check=True, timeout=3600,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = json.loads((Path(folder) / 'index.json').read_text())['nbws']
    return {case: each['behavior'] if each['behavior'] not in GOOD or each['behaviorClose'] in GOOD
            else f'closed {each["behaviorClose"]}' for case, each in found.items()}


def main() -> int:
    options = argparse.ArgumentParser(prog='python tests/autobahn.py', description=__doc__)
    options.add_argument('--python2', default='python2.7', help='a Python 2.7')
    options.add_argument('--cases', nargs='*', default=['*'], help="such as '9.*'")
    o = options.parse_args()
    command, wrong = suite(o.python2), False
    if 'NBWS_PURE' not in os.environ: # Each in a process of its own, as it is chosen at import
        ran = [subprocess.run([sys.executable, __file__, *sys.argv[1:]],
                              env={**os.environ, 'NBWS_PURE': pure}).returncode for pure in ('', '1')]
        return max(ran)
    for takes_over in (False, True):
        found = run(command, o.cases, takes_over)
        counts = ', '.join(f'{n} {what}' for what, n in Counter(found.values()).most_common())
        print(f'{engine()} Context takeover {"allowed" if takes_over else "refused"}: {len(found)} cases: {counts}')
        for case, what in found.items():
            if what not in GOOD: print(f'  {case}: {what}')
        wrong = wrong or not found or not set(found.values()) <= set(GOOD)
    return int(wrong)


if __name__ == '__main__': sys.exit(main())
