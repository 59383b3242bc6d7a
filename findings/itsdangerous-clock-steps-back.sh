#!/usr/bin/env bash
# itsdangerous 2.2.0. The guess: `TimestampSigner.unsign(value, max_age=...)` refuses what is older than `max_age` (its
# documentation: SignatureExpired "if the unsigning failed because the signature is expired"), and nothing else. What it
# does: a value that was signed a second "from now" is refused as well, as expired with an age below 0, and only if
# `max_age` is given; without it the same value is good. So a server whose clock is set back by ten seconds refuses the
# sessions of the last ten seconds (Starlette's and Flask's sessions pass max_age).
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check itsdangerous==2.2.0 2> pip.log || { cat pip.log; exit 1; }
venv/bin/python - <<'PY'
import time
from importlib.metadata import version
from itsdangerous import SignatureExpired, TimestampSigner
print('itsdangerous', version('itsdangerous'))
now = int(time.time())
class At(TimestampSigner):
    clock = now
    def get_timestamp(self): return self.clock
signer = At('a key')
value = signer.sign('ann')
def unsign(**options):
    try: return signer.unsign(value, **options).decode()
    except SignatureExpired as e: return f'refused: {e}'
found = {}
for step in (0, 10, -10):
    signer.clock = now + step
    found[step] = unsign(max_age=3600), unsign()
    print(f'clock {step:+d} s: with max_age=3600 {found[step][0]!r}, without {found[step][1]!r}')
assert found[0] == found[10] == ('ann', 'ann')
assert found[-10][0].startswith('refused') and found[-10][1] == 'ann'
PY
