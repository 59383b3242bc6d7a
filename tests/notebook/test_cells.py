"""A real ipykernel, without a browser: what cells start, keep and leave behind."""
from __future__ import annotations

import json
import queue
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from bound import BOUND, until
from kernels import Kernel, secret
from live import ended
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.usefixtures('clients_loop')
ROOT = Path(__file__).resolve().parents[2]


APP = """
from nbws.common import *
app = FastHTML(ws_hdr=True)
@app.get('/')
def home(): return 'a page'
serve(port=0)
"""
COUNT = """
version = globals().get('version', 0) + 1
@app.ws('/count')
{} count(n: int, v=version): return {{'n': n, 'v': v}}
"""
THREADS = "import threading; print(*sorted(t.name for t in threading.enumerate() if 'nbws' in t.name))"


def dial(port: int, path: str = '/count') -> ClientConnection:
    url = f'ws://127.0.0.1:{port}{path}?{secret(port)}'
    return connect(url, open_timeout=BOUND, close_timeout=BOUND, compression=None)


def page(port: int) -> str:
    return page_at(port, '').decode()


def refused(port: int) -> bool:
    with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) != 0


def test_serve_at_another_place(kernel: Kernel) -> None:
    "A running app is asked to listen elsewhere: it does, and says so; where it cannot, all is as it was."
    first = kernel.run(APP, 'app')
    kernel.run(COUNT.format('async def'), 'count')
    port = kernel.port()
    assert 'Open to the network' not in first.html
    with socket.create_server(('127.0.0.1', 0)) as other, dial(port) as ws:
        wish = other.getsockname()[1]
        failed = kernel.run(f'serve(port={wish})', 'again', fails=True)
        assert f'port {wish}' in failed.error
        assert page(port) == 'a page'
        assert ended(ws)[0] == 1012 # Its page comes back by itself
    kernel.run(f'serve(port={wish})', 'again')
    assert kernel.port() == wish
    assert page(wish) == 'a page'
    assert refused(port)
    kernel.run('serve()', 'again')
    assert kernel.port() == wish, 'no wish is no change'
    kernel.run("import os; del os.environ['NBWS_ALLOWED_HOSTS']")  # that of these tests
    shared = kernel.run('serve(share=True)', 'again')
    assert kernel.port() == wish
    assert 'until stop_sharing()' in shared.html or 'no address on a network' in shared.html
    with urlopen(Request(f'http://127.0.0.1:{wish}/?{secret(wish)}', headers={'Host': '192.0.2.7'})) as answer:
        assert answer.read() == b'a page'
    with pytest.raises(HTTPError) as away: urlopen(Request(f'http://127.0.0.1:{wish}/', headers={'Host': '192.0.2.7'}))
    assert away.value.code == 403
    away.value.close()
    with dial(wish) as ws:
        ws.send('{"n": 1}')
        assert json.loads(ws.recv(BOUND))['n'] == 1
        assert '127.0.0.1:' in kernel.run('print(app.conns._repr_html_())').stdout
    with dial(wish):
        assert "address='127.0.0.1'" in kernel.run('print(visitors())').stdout
    kernel.run('stop_sharing()')
    with pytest.raises(HTTPError) as away:
        urlopen(Request(f'http://127.0.0.1:{wish}/?{secret(wish)}', headers={'Host': '192.0.2.7'}))
    assert away.value.code == 403, 'for this machine only'
    away.value.close()
    assert page(wish) == 'a page'
    kernel.run('stop()')
    assert refused(wish)


def test_serve_again_and_stop(kernel: Kernel) -> None:
    "One server however often the cell is run; after stop() nothing of it is left, and serving starts anew."
    before = kernel.run(THREADS).stdout
    first = kernel.run(APP, 'app')
    port = kernel.port()
    assert f'"port":{port},' in first.html
    site = kernel.run('print(SERVED[0])').stdout
    kernel.run(COUNT.format('async def'), 'count')
    with dial(port) as ws:
        again = kernel.run(APP.replace('a page', 'another page'), 'app')
        assert kernel.port() == port
        assert again.html.count('<iframe') == 1
        assert kernel.run('print(SERVED[0])').stdout == site
        assert page(port) == 'another page'
        assert kernel.run('print(len(SERVED))').stdout == '1\n'
        kernel.run('stop()')
        assert ended(ws)[0] in (1001, 1012)
    assert refused(port)
    assert kernel.run(THREADS).stdout == before
    kernel.run('stop()')
    kernel.run(APP, 'app')
    assert page(kernel.port()) == 'a page'


def test_a_traceback_in_a_page_calls_the_cell_by_its_number(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    kernel.run("@app.get('/broken')\ndef broken(): return 1 / 0", 'broken')
    port = kernel.port()
    with pytest.raises(HTTPError) as failed: urlopen(f'http://127.0.0.1:{port}/broken?{secret(port)}', timeout=BOUND)
    with failed.value as answer: told = answer.read().decode()
    for text in (told, kernel.run('print(app.log)').stdout):
        assert re.search(r'  Cell In\[2\], line 2, in broken', text), text


WHOLE = APP.replace('serve(', COUNT + 'serve(')
RUNS = {'async': COUNT.format('async def'), 'sync': COUNT.format('def'), 'whole app': WHOLE.format('async def')}


@pytest.mark.parametrize('code', RUNS.values(), ids=RUNS)
def test_1000_messages_in_100_runs(kernel: Kernel, code: str) -> None:
    "None lost, none out of order, on a socket that stays open."
    kernel.run(APP, 'app')
    cell = 'app' if code.startswith(APP[:20]) else 'count'
    kernel.run(code, cell)
    with dial(kernel.port()) as ws:
        for run in range(100):
            run_id = kernel.start(code, cell)
            for n in range(run * 10, run * 10 + 10): ws.send(json.dumps({'n': n}))
            assert not kernel.finish(run_id).error
        heard = [json.loads(ws.recv(BOUND)) for _ in range(1000)]
        assert [m['n'] for m in heard] == list(range(1000))
        versions = [m['v'] for m in heard]
        assert versions == sorted(versions)
        ws.send('{"n": 1000}')
        assert json.loads(ws.recv(BOUND)) == {'n': 1000, 'v': 101}


def test_a_failing_cell_leaves_the_handler(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    kernel.run(COUNT.format('def'), 'count')
    with dial(kernel.port()) as ws:
        kernel.run('1/0\n' + COUNT.format('def'), 'count', fails=True)
        ws.send('{"n": 1}')
        assert json.loads(ws.recv(BOUND)) == {'n': 1, 'v': 1}


def test_what_goes_wrong_is_told_in_its_cell(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    run_id = kernel.start(COUNT.format('def'), 'count')
    kernel.finish(run_id)
    kernel.run('"another cell"', 'other')
    with dial(kernel.port()) as ws:
        wrong = {'no json': 'is not JSON', '{"n": "x"}': "n='x' cannot be read as int", '{}': "no value for 'n'"}
        for message, told in wrong.items():
            ws.send(message)
            kernel.hear(told, run_id)
        ws.send('{"n": 1}')
        assert json.loads(ws.recv(BOUND)) == {'n': 1, 'v': 1}


BACKGROUND = """
go = asyncio.Event()
async def background():
    print('begun')
    await go.wait()
    print('goes on')
    return 1/0
running = app.run(background())
"""


def test_what_a_cell_runs_on_the_loop_speaks_in_that_cell(kernel: Kernel) -> None:
    "Also later, when other cells have run: what it prints, and an error that nobody waits for."
    kernel.run(APP, 'app')
    run_id = kernel.start(BACKGROUND, 'background')
    kernel.finish(run_id)
    told = kernel.run("app.loop.call_soon_threadsafe(go.set)", 'other')
    assert not told.stdout + told.stderr
    heard = kernel.hear('ZeroDivisionError', run_id)
    assert 'goes on' in heard
    assert 'return 1/0' in heard
    last = kernel.run('for e in app.log: print(e.kind, e.where, e.text[-30:])', 'log').stdout
    assert 'stdout app.run (background) goes on' in last
    assert 'error app.run (background)' in last


BEGINS = {
    'task': 'asyncio.create_task(soon())',
    'thread': 'threading.Thread(target=fails).start()',
    'pool': 'jobs.submit(says)',
    'executor': 'asyncio.get_running_loop().run_in_executor(None, says)'}
JOBS = """
import threading
from concurrent.futures import ThreadPoolExecutor
jobs = ThreadPoolExecutor(1)
"""
HANDLER = """
@app.get('/{0}')
async def {0}():
    def says():
        print('printed by', end=' ')
        print('{0}')
    def fails():
        says()
        raise ValueError('of {0}')
    async def soon():
        await asyncio.sleep(0)
        fails()
    {1}
"""


def test_what_a_handler_begins_speaks_as_the_handler(kernel: Kernel) -> None:
    "A task, a thread, a pool's job: in the handler's cell, in its newest run, after others have run; and in the log."
    kernel.run(APP + JOBS, 'app')
    runs = {}
    for name, code in BEGINS.items():
        for _ in range(2):
            runs[name] = kernel.start(HANDLER.format(name, code), name)
            kernel.finish(runs[name])
    port = kernel.port()
    ends_with = {'task': '(?s:.*)ValueError', 'thread': '(?s:.*)ValueError'}
    for name in [*BEGINS, *BEGINS]:  # by the second time the pools' threads are there
        with urlopen(f'http://127.0.0.1:{port}/{name}?{secret(port)}', timeout=BOUND): pass
        kernel.hear(f'printed by {name}\n' + ends_with.get(name, ''), runs[name])
    kernel.run('jobs.submit(print, "by a cell").result()')
    log = kernel.run('for e in app.log: print(e.kind, e.where, e.text.splitlines()[-1])').stdout
    assert 'by a cell' not in log
    for name in BEGINS: assert log.count(f'stdout /{name} ({name}) printed by {name}\n') == 2
    assert log.count('error /task (task) ValueError: of task\n') == 2
    assert log.count('error /thread (thread) ValueError: of thread\n') == 2


HOLDS = """
import time
go = False
@app.get('/slow')
async def slow():
    while not go: time.sleep(.01)
    return 'done'
"""


def test_a_handler_that_keeps_the_loop_for_itself_is_told(kernel: Kernel) -> None:
    "While it does, in its cell, with the line where it stands."
    kernel.run(APP, 'app')
    run_id = kernel.start(HOLDS, 'slow')
    kernel.finish(run_id)
    port = kernel.port()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(urlopen, f'http://127.0.0.1:{port}/slow?{secret(port)}', timeout=BOUND)
        told = kernel.hear('await asyncio.sleep', run_id)
        assert told.startswith('/slow (slow) keeps everybody waiting, at line 5: while not go: time.sleep(.01)\n')
        kernel.run('go = True')
        with asked.result() as answer: assert answer.read() == b'done'
    assert 'keeps everybody waiting' in kernel.run('print(app.log)').stdout


def test_what_a_cell_runs_may_keep_the_loop_for_itself_too(kernel: Kernel) -> None:
    "It is no route's: told in the cell that serves, and told again the next time."
    run_id = kernel.start(APP, 'app')
    kernel.finish(run_id)
    for _ in range(2):
        kernel.run('import time\ngo = False\nasync def holds():\n    while not go: time.sleep(.01)\n'
                   'r = app.run(holds())')
        told = kernel.hear('await asyncio.sleep', run_id)
        assert told.startswith('An async function keeps everybody waiting, at line 4: while not go: time.sleep(.01)\n')
        kernel.run('go = True\nr.result()')


def test_an_error_that_is_waited_for_is_told_once(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    code = "async def fails(): 1/0\ntry: {}\nexcept ZeroDivisionError: print('caught')"
    for wait in ('await app.run(fails())', 'app.run(fails()).result()'):
        assert kernel.run(code.format(wait), 'waits').stdout == 'caught\n'
    # An error that nobody waits for comes behind those that would have been told
    run_id = kernel.start("async def last(): {}['the last']\nrunning = app.run(last())", 'last')
    kernel.finish(run_id)
    kernel.hear('the last', run_id)
    assert kernel.run("print([e.text.split(':')[-1] for e in app.log])").stdout == """[" 'the last'"]\n"""


def test_what_runs_on_the_loop_can_be_ended(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    kernel.run("""
import threading
ended = threading.Event()
async def forever():
    try: await asyncio.Event().wait()
    finally: ended.set()
running = app.run(forever())
await app.run(asyncio.sleep(0))
running.cancel()
assert ended.wait(100)
""")


ROUTE = "@app.get('/{0}')\ndef {0}(): return '{0}'\n"
PATHS = "print(*sorted(r.path for r in app.routes))"
NESTED = {'run_cell': "get_ipython().run_cell({!r})", 'rerun': "get_ipython().run_line_magic('rerun', '2')"}


@pytest.mark.parametrize('code', NESTED.values(), ids=NESTED)
def test_a_cell_within_a_cell(kernel: Kernel, code: str) -> None:
    "What both define is the outer one's, and stays until its next run does not define it."
    kernel.run(APP, 'app')
    kernel.run(ROUTE.format('within'), 'source')
    for _ in range(2):
        kernel.run(ROUTE.format('before') + code.format(ROUTE.format('within')) + '\n' + ROUTE.format('after'), 'outer')
        assert kernel.run(PATHS).stdout == '/ /after /before /within\n'
    kernel.run(ROUTE.format('after'), 'outer')
    assert kernel.run(PATHS).stdout == '/ /after\n'


SLOWLY = ROUTE.format('first') + """
go.clear()
async def ticker(name):
    try: await asyncio.Event().wait()
    finally: ended.append(name)
app.run(ticker('outer'))
begun.set()
assert go.wait(100)
""" + ROUTE.format('last')


@pytest.mark.skipif(sys.version_info < (3, 11), reason='its ipykernel has no subshells')
def test_a_subshell_beside_a_cell(kernel: Kernel) -> None:
    "Each owns what it defines and begins, though they run at once."
    kernel.run(APP + 'import threading\nended = []\nbegun, go = threading.Event(), threading.Event()', 'app')
    kernel.client.control_channel.send(kernel.client.session.msg('create_subshell_request', {}))
    subshell = kernel.client.get_control_msg(timeout=BOUND)['content']['subshell_id']
    kernel.finish(kernel.start(ROUTE.format('mine'), 'mine', subshell))
    for n in range(3):
        outer = kernel.start(SLOWLY, 'outer')
        inner = kernel.start(f"begun.wait(10)\nbegun.clear()\napp.run(ticker('mine {n}'))\n{ROUTE.format('mine')}"
                             f"{ROUTE.format(f'only_{n}')}{PATHS}\ngo.set()", 'mine', subshell)
        told, left = '', {outer, inner}
        while left:
            message = kernel.client.get_iopub_msg(timeout=BOUND)
            told += message['content'].get('text', '') + '\n'.join(message['content'].get('traceback', []))
            if message['content'].get('execution_state') == 'idle': left.discard(message['parent_header'].get('msg_id'))
        assert '/ /first' in told, told
        paths = kernel.run(PATHS, 'other').stdout
        assert paths == f'/ /first /last /mine /only_{n}\n'
    until(lambda: kernel.run('print(sorted(ended))', 'other').stdout == "['mine 0', 'mine 1', 'outer', 'outer']\n",
         'a ticker of an earlier run goes on')


INTERRUPTED = """
async def forever():
    print('begun', flush=True)
    try: await asyncio.Event().wait()
    finally: ended.set()
{}
"""


@pytest.mark.parametrize('wait', ['await app.run(forever())', 'app.run(forever()).result(600)'])
def test_an_interrupt_ends_what_is_waited_for(kernel: Kernel, wait: str) -> None:
    "At once, though nothing else wakes the kernel's loop; and what runs on the server's loop ends, too."
    kernel.run(APP + 'import threading\nended = threading.Event()', 'app')
    run_id = kernel.start(INTERRUPTED.format(wait), 'waits')
    kernel.hear('begun', run_id)
    kernel.manager.interrupt_kernel()
    assert re.search('KeyboardInterrupt|CancelledError', kernel.finish(run_id).error)  # As for each cell that awaits
    assert kernel.run('print(ended.wait(10))').stdout == 'True\n'


TICKER = """
@app.on_startup
async def clock():
    try: await asyncio.Event().wait()
    finally: log.append('clock {0}')
async def ticker():
    log.append('begun {0}')
    try: await asyncio.Event().wait()
    finally: log.append('ended {0}')
app.run(ticker())
await app.run(asyncio.sleep(0))
{1}
"""


def test_a_cell_that_is_run_again_replaces_what_it_runs_on_the_loop(kernel: Kernel) -> None:
    "Once it has succeeded; what another cell runs goes on."
    kernel.run(APP, 'app')
    kernel.run('log = []\nasync def other():\n    try: await asyncio.Event().wait()\n    finally: log.append("other")\n'
               'app.run(other())', 'other')
    kernel.run(TICKER.format(1, ''), 'ticker')
    kernel.run(TICKER.format(2, '1/0'), 'ticker', fails=True)
    look = 'await app.run(asyncio.sleep(0)); await app.run(asyncio.sleep(0)); print(sorted(log)); log.clear()'
    assert kernel.run(look).stdout == "['begun 1', 'begun 2']\n"
    kernel.run(TICKER.format(3, ''), 'ticker')
    assert kernel.run(look).stdout == "['begun 3', 'clock 1', 'clock 2', 'ended 1', 'ended 2']\n"
    result = kernel.run('stop()\nlog.clear()', 'end')
    assert not result.stderr
    result = kernel.run('log.append("again")', 'ticker')
    assert not result.stderr


def test_it_answers_while_a_cell_sleeps(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    port = kernel.port()
    run_id = kernel.start("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    kernel.hear('begun', run_id)
    assert page(port) == 'a page'
    kernel.manager.interrupt_kernel()
    assert 'KeyboardInterrupt' in kernel.finish(run_id).error


@pytest.mark.parametrize('how', ['asked', 'killed'])
def test_a_kernel_that_ends_leaves_nothing(kernel: Kernel, how: str) -> None:
    "Neither a process nor a port; sockets are closed."
    kernel.run(APP, 'app')
    kernel.run(COUNT.format('async def'), 'count')
    port, family = kernel.port(), [kernel.process, *kernel.process.children(recursive=True)]
    with dial(port) as ws:
        kernel.manager.shutdown_kernel(now=how == 'killed')
        with pytest.raises(ConnectionClosed): ws.recv(BOUND)
    until(lambda: refused(port), f'port {port} still answers')
    assert not psutil.wait_procs(family, timeout=BOUND)[1]


def test_restart(kernel: Kernel) -> None:
    "A kernel that is restarted begins anew."
    kernel.run(APP, 'app')
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=BOUND)
    kernel.run('serve', fails=True)
    kernel.run(APP, 'app')
    assert page(kernel.port()) == 'a page'


def test_importing_in_a_kernel_starts_nothing(kernel: Kernel) -> None:
    kernel.run('import nbws.examples.chat, nbws.examples.llm')
    assert kernel.run(THREADS).stdout == '\n'


FOREIGN = {
    'asgi': """
from starlette.applications import Starlette
from starlette.routing import Route
async def home(request):
    print('printed')
    1/0
foreign = Starlette(routes=[Route('/', home)])""",
    'wsgi': """
from flask import Flask
foreign = Flask('foreign')
@foreign.route('/')
def home():
    print('printed')
    1/0""",
    'tornado': """
from tornado.web import Application, RequestHandler
class Home(RequestHandler):
    def get(self):
        print('printed')
        1/0
foreign = Application([('/', Home)])"""}


@pytest.mark.parametrize('code', FOREIGN.values(), ids=FOREIGN)
def test_other_peoples_applications_speak_in_the_cell_that_serves_them(kernel: Kernel, code: str) -> None:
    kernel.run(code, 'app')
    for _ in range(2): # Run again, the same app speaks in the new run of the cell
        run_id = kernel.start('from nbws import serve\nserve(foreign, port=0)', 'serve')
        assert not kernel.finish(run_id).error
        port = kernel.port()
        kernel.run('"another cell"', 'other')
        with pytest.raises(HTTPError, match='500'): page(port)
        told = kernel.hear('ZeroDivisionError', run_id)
        assert told.count('printed') >= 1
        assert '1/0' in told


FLOODED = 300  # More than the allowance comes to in a minute, which a busy machine may take
FLOOD = """
import threading
@app.get('/errors')
async def errors(n: int):
    async def fails(i): raise ValueError(f'number {i} ' + 'x' * 10**5)
    for i in range(n): asyncio.ensure_future(fails(i))
@app.get('/prints')
async def prints(n: int):
    for i in range(n): print(i, 'x' * 10**4)
@app.get('/shows')
def shows(n: int):
    from IPython.display import display, HTML
    for i in range(n): display(HTML('x' * 10**5))
"""


KINDS = {'errors': ('error', r'(\d+) errors? more than'), 'prints': ('stream', r'(\d+) lines? more than'),
         'shows': ('display_data', r'(\d+) displays? more than')}


@pytest.mark.parametrize('kind', KINDS)
def test_a_flood_is_bounded_and_told(kernel: Kernel, kind: str) -> None:
    "Not all of it is shown, how much is not is told, and what comes later is shown again."
    kernel.run(APP, 'app')
    run_id = kernel.start(FLOOD, 'flood')
    kernel.finish(run_id)
    port = kernel.port()
    seen, told = KINDS[kind]
    shown, missing, size, notice = 0, 0, 0, ''
    def ask(n: int) -> None:
        with urlopen(f'http://127.0.0.1:{port}/{kind}?n={n}&{secret(port)}', timeout=BOUND): pass
    ask(FLOODED)
    end = time.monotonic() + BOUND
    while shown + missing < FLOODED:
        message = kernel.client.get_iopub_msg(timeout=end - time.monotonic())
        if message['parent_header'].get('msg_id') != run_id: continue
        content = message['content']
        size += len(json.dumps(content))
        if left_out := re.findall(told, content.get('text', '')):
            missing += sum(map(int, left_out))
            notice = content['text']
        if message['msg_type'] != seen: continue
        shown += len(re.findall('^[0-9]+ x', content['text'], re.M)) if kind == 'prints' else 1
    assert shown + missing == FLOODED
    assert 0 < shown < FLOODED
    assert 'app.log' in notice
    assert size < 3 * 10**6
    def later() -> bool:
        ask(1)
        return again(kernel, run_id, seen)
    until(later, 'no more is shown, for ever')
    log = kernel.run('print(max([len(e.text) for e in app.log] + [0]), len(repr(app.log)))').stdout.split()
    assert int(log[0]) <= 10100
    assert int(log[1]) <= 300000


def again(kernel: Kernel, run_id: str, kind: str) -> bool:
    "Whether something of this kind is shown in the next half second."
    end = time.monotonic() + .5
    while time.monotonic() < end:
        try: message = kernel.client.get_iopub_msg(timeout=.5)
        except queue.Empty: return False
        shown = message['parent_header'].get('msg_id') == run_id and message['msg_type'] == kind
        if shown and 'more than' not in message['content'].get('text', ''): return True
    return False


DRAWS = """
@app.get('/draws')
{} draws():
    import matplotlib.pyplot as plt
    plt.figure()
    plt.plot([1, 2])
    return str(plt.get_fignums())
"""


@pytest.mark.parametrize('kind', ['async def', 'def'])
def test_a_handlers_figure_is_shown_in_its_cell(kernel: Kernel, kind: str) -> None:
    "And not under the cell that runs next, whose own figures it leaves alone."
    pytest.importorskip('matplotlib')
    kernel.run(APP, 'app')
    run_id = kernel.start(DRAWS.format(kind), 'draws')
    kernel.finish(run_id)
    port = kernel.port()
    for _ in range(2):  # The first time it imports matplotlib
        with urlopen(f'http://127.0.0.1:{port}/draws?{secret(port)}', timeout=BOUND) as answer:
            assert answer.read() == b'[1]'
        until = time.monotonic() + BOUND
        while True:
            message = kernel.client.get_iopub_msg(timeout=until - time.monotonic())
            if message['msg_type'] != 'display_data': continue
            assert message['parent_header']['msg_id'] == run_id
            assert 'image/png' in message['content']['data']
            break
        other = kernel.run("import matplotlib.pyplot as plt\nplt.plot([1])\nprint(plt.get_fignums())", 'other')
        assert other.stdout == '[1]\n'


ASKS = """
import getpass
@app.get('/asks')
async def asks(): return {}
"""


@pytest.mark.parametrize('kind', ['async def', 'def'])
@pytest.mark.parametrize(('call', 'told'), {
    'input()': r'input\(\) in a handler has nobody to ask',
    'getpass.getpass()': r'getpass\(\) in a handler has nobody to ask',
    'breakpoint()': r'breakpoint\(\) at line \d+ of asks was passed by',
}.items())
def test_a_handler_that_asks_is_told_what_to_do(kernel: Kernel, call: str, told: str, kind: str) -> None:
    kernel.run(APP, 'app')
    run_id = kernel.start(ASKS.format(call).replace('async def', kind), 'asks')
    kernel.finish(run_id)
    port = kernel.port()
    for _ in range(2):  # After another cell has run, too
        try:
            with urlopen(f'http://127.0.0.1:{port}/asks?{secret(port)}', timeout=BOUND): assert 'breakpoint' in call
        except HTTPError as e:
            with e: assert 'breakpoint' not in call
        kernel.hear(told, run_id)
        kernel.run('1')


def test_asyncio_run_in_an_async_handler(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    run_id = kernel.start("@app.get('/runs')\nasync def runs(): asyncio.run(asyncio.sleep(0))", 'runs')
    kernel.finish(run_id)
    port = kernel.port()
    with pytest.raises(HTTPError, match='500') as refused_: page_at(port, 'runs')
    refused_.value.close()
    kernel.hear('await there', run_id)
    assert 'await there' in kernel.run('print(app.log)').stdout


def page_at(port: int, path: str) -> bytes:
    with urlopen(f'http://127.0.0.1:{port}/{path}?{secret(port)}', timeout=BOUND) as answer: return bytes(answer.read())


def test_a_program_that_executes_a_notebook_hears_handlers(kernel: Kernel) -> None:
    "nbclient and nbconvert keep what has the running cell for its parent."
    import nbformat
    from nbclient import NotebookClient
    sources = [APP + "@app.get('/says')\nasync def says(): print('said by a handler'); 1/0",
               'from nbws.notebook.served import SERVED; from nbws.notebook.exposure import exposure_of\n'
               'from urllib.request import urlopen\n'
               'from urllib.error import HTTPError\n'
               "at = f'http://127.0.0.1:{SERVED[0].server.port}/says?nbws_token={exposure_of(SERVED[0].server).token}'",
               'try: urlopen(at, timeout=60)\nexcept HTTPError as e: print(e.code)', '"the last"']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    client = NotebookClient(notebook, km=kernel.manager, timeout=BOUND)
    client.kc = kernel.client
    kernel.client.allow_stdin = False
    for index, cell in enumerate(notebook.cells): client.execute_cell(cell, index)
    outputs = [str(cell.outputs) for cell in notebook.cells]
    assert ['said by a handler' in text for text in outputs] == [False, False, True, False]
    assert ['ZeroDivisionError' in text for text in outputs] == [False, False, True, False]
