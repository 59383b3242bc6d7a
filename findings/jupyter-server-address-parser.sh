#!/usr/bin/env bash
# jupyter_server 2.21.1 (with jupyter_events, jsonschema 4.26.0 and rfc3987-syntax 1.1.0). The guess: importing
# nbformat or jupyter_server costs what their own modules do, since a check of IRIs is made when a schema asks for one.
# What it does: jupyter_events depends on `jsonschema[format-nongpl]` for its schemas of events, and with that extra
# jsonschema imports rfc3987_syntax (jsonschema/_format.py), which makes a parser of Lark's at import
# (rfc3987_syntax/syntax_helpers.py). That is most of a Jupyter server's start, and of each `import nbformat` beside it.
# Exits 0 while making the parser is more than half of each, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check jupyter_server==2.21.1 jsonschema==4.26.0 rfc3987-syntax==1.1.0 \
  2> pip.log || { cat pip.log; exit 1; }
seconds() {  # of CPU time that an import takes, the best of three
  for _ in 1 2 3; do venv/bin/python -c "import sys, time; $1; t = time.process_time(); import $2
print(f'{time.process_time() - t:.2f}')"; done | sort -n | head -1
}
for module in nbformat jupyter_server.serverapp; do
  with=$(seconds pass $module); without=$(seconds "sys.modules['rfc3987_syntax'] = None" $module)
  echo "import $module: $with s, without rfc3987_syntax $without s"
  awk "BEGIN { exit !($without < $with / 2) }"
done
