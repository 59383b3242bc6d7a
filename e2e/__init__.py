"""Browser tests: nbws as a person meets it, in a real JupyterLab or Notebook and a real Chromium.

`conftest.py` has the fixtures, one module each holds what they hand out:
`jupyter` (the server), `notebook` (an open notebook), `scripts` (a script that serves),
`watch` (what the browser did besides), `chromium`, `processes` and `timeouts`.
"""
