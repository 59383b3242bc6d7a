#!/usr/bin/env bash
# whitenoise 6.12.0. The guess: a browser that has a file and asks for it again gets 304, also behind a proxy. Proxies that compress make
# the etag weak (nginx: `"a"` becomes `W/"a"`), which costs nothing, for If-None-Match is compared weakly, and is a list (RFC 9110, sections
# 13.1.2 and 8.8.3.2). What it does: it compares the field as text with its own etag. `W/"a"`, a list, and `*` are no match, and
# If-Modified-Since, which would be, does not count beside If-None-Match. So behind nginx with gzip every file is sent again at each
# visit, where without it none is: what was switched on to send less sends more.
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
def asked(**fields):
    environ = {'PATH_INFO': '/ten.txt', **fields}
    setup_testing_defaults(environ)
    started = []
    b''.join(app(environ, lambda status, headers: started.append((int(status[:3]), dict(headers)))))
    return started[0]
print('whitenoise', version('whitenoise'))
_, first = asked()
etag, since = first['ETag'], first['Last-Modified']
found = {}
for name, known in (('as it was sent', etag), ('weak', f'W/{etag}'), ('one of two', f'"other", {etag}')):
    found[name] = asked(HTTP_IF_NONE_MATCH=known, HTTP_IF_MODIFIED_SINCE=since)[0]
    print(f'If-None-Match: {known} ({name}): {found[name]}')
assert list(found.values()) == [304, 200, 200]
PY
