"""What nbws replaces in a kernel's process is there after the import, and gone after one call."""
from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.usefixtures('clients_loop')

PLACES = """
import builtins, getpass, logging, sys, threading
from concurrent.futures import ThreadPoolExecutor
ip = get_ipython()
logging.basicConfig() # A handler on the stream of now
def places():
    from nbws.web.app import WebApp
    kernel, pub, callbacks = ip.kernel, ip.display_pub, ip.events.callbacks
    return {'environment': WebApp.environment, 'stdout': sys.stdout, 'stderr': sys.stderr,
            'logging': logging.root.handlers[-1].stream,
            'Thread.start': threading.Thread.start, 'submit': ThreadPoolExecutor.submit,
            'breakpoint': sys.breakpointhook, 'input': builtins.input, 'getpass': getpass.getpass,
            'raw_input': kernel.raw_input, "kernel's getpass": kernel.getpass, 'kept input': kernel._sys_raw_input,
            'kept getpass': kernel._save_getpass, 'publish': pub.publish, 'clear_output': pub.clear_output,
            'errors': ip.custom_exceptions, 'before': list(callbacks['pre_run_cell']),
            'after': list(callbacks['post_run_cell']), 'interval': sys.getswitchinterval(), 'figures': figures()}
def figures():
    helpers = sys.modules.get('matplotlib._pylab_helpers')
    return helpers and type(helpers.Gcf.figs)
def attributes(): return [sorted(map(str, vars(thing))) for thing in (threading.Thread, ip.kernel, ip.display_pub)]
try: import matplotlib.pyplot
except ImportError: pass
before, own = places(), attributes()
"""
SERVE = """
from nbws.common import *
app = App()
@app.get('/')
def home(): return 'hello'
serve()
"""
SAME = "print([name for name, now in places().items() if now == before[name]])"
ASK = "import urllib.request\nprint('hello' in urllib.request.urlopen(str(show('/')), timeout=60).read().decode())"


def test_everything_is_undone_by_one_call(kernel: Kernel) -> None:
    kernel.run(PLACES)
    kernel.run(SERVE, 'serve')
    same = kernel.run(SAME).stdout
    assert same.strip() in ('[]', "['figures']")  # matplotlib may not be installed
    kernel.run('from nbws.notebook.cells import install, uninstall\nuninstall()')
    assert 'True' in kernel.run(ASK).stdout  # What is served goes on
    kernel.run('stop(); uninstall()')
    kernel.run('after = places()\nassert after == before, [k for k in after if after[k] != before[k]]')
    kernel.run('assert attributes() == own, attributes()')


def test_a_notebook_can_be_installed_again(kernel: Kernel) -> None:
    kernel.run(PLACES)
    kernel.run('from nbws.notebook.cells import install, uninstall\nimport nbws.common\nuninstall()\nuninstall()')
    kernel.run('cells = install(ip)\nassert install(ip) is cells')
    kernel.run(SERVE, 'serve')
    talk = "from nbws.common import *\n@app.get('/talk')\ndef talk():\n    print('from the handler')\n    return 'ok'"
    defined = kernel.start(talk, 'talk')
    kernel.finish(defined)
    kernel.start(ASK.replace("'/'", "'/talk'"))
    assert kernel.hear('from the handler', defined)
    kernel.run('stop()')
