"""Starts Jupyter without what takes it seconds and no test looks at: `python -m tests.lean jupyterlab --no-browser`.

Schemas of events and notebooks need no addresses of other alphabets, for which `rfc3987_syntax` makes a parser as soon
as jsonschema imports it: two seconds of each start. And JupyterLab asks Node twice where npm's registry is, for half a
second. A process of tests imports this file before nbformat, for the same.
"""
import runpy
import sys

sys.modules['rfc3987_syntax'] = None  # type: ignore[assignment]  # Importing it is an ImportError, which is suppressed

if __name__ == '__main__':
    module = sys.argv[1]
    if module in ('jupyterlab', 'notebook'):
        from jupyterlab import commands
        commands._yarn_config = lambda logger: {'yarn config': {}, 'npm config': {}}
    del sys.argv[:1]
    runpy.run_module(module, run_name='__main__', alter_sys=True)
