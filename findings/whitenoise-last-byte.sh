#!/usr/bin/env bash
# whitenoise 6.12.0. The guess: `Range: bytes=9-` of a file of ten bytes is its last byte, 206, and `bytes=0-0` its first one ("byte offsets
# start at zero", and the range of one byte is RFC 9110's own example: section 14.1.2). What it does: 416, as if the range began behind the
# end, since it takes a first position that equals the last one for an empty range; two bytes are fine. A download that was cut off
# before its last byte can never be completed (`curl -C -`, a browser's "resume"), and players that ask for `bytes=0-0` to learn
# whether ranges are known, and how long the file is, are told that the file has nothing of that.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check whitenoise==6.12.0 2> pip.log || { cat pip.log; exit 1; }
mkdir files; printf 0123456789 > files/ten.txt
venv/bin/python - <<'PY'
from importlib.metadata import version
from wsgiref.util import setup_testing_defaults
from whitenoise import WhiteNoise
app = WhiteNoise(None, root='files')
def asked(wanted):
    environ = {'PATH_INFO': '/ten.txt', 'HTTP_RANGE': wanted}
    setup_testing_defaults(environ)
    started = []
    body = b''.join(app(environ, lambda status, headers: started.append((status, dict(headers).get('Content-Range')))))
    return int(started[0][0][:3]), started[0][1], body
print('whitenoise', version('whitenoise'))
found = {wanted: asked(wanted) for wanted in ('bytes=8-', 'bytes=9-', 'bytes=-1', 'bytes=0-0', 'bytes=0-1')}
for wanted, answer in found.items(): print(wanted, *answer)
assert found['bytes=8-'] == (206, 'bytes 8-9/10', b'89') and found['bytes=0-1'] == (206, 'bytes 0-1/10', b'01')
assert {found[wanted] for wanted in ('bytes=9-', 'bytes=-1', 'bytes=0-0')} == {(416, 'bytes */10', b'')}
PY
