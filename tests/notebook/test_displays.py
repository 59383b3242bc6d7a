"Objects that handlers show, in a kernel: their figures are shown in pages alone, and what fails is told in the cell."
from __future__ import annotations

from urllib.request import urlopen

import pytest
from bound import BOUND
from kernels import Kernel, secret

pytestmark = pytest.mark.usefixtures('clients_loop')

APP = """
from nbws.common import *
app = FastHTML()
class Gauge: pass
class Broken:
    def _repr_html_(self): return 1 / 0
serve(port=0)
"""
DRAWS = """
@app.get('/draws')
{} draws(how: str = 'pyplot'):
    if how == 'broken': return P('before'), Broken(), P('after')
    if how == 'registered': return Gauge()
    import matplotlib.pyplot as plt
    made, axes = plt.subplots()
    axes.plot([1, 2])
    return {{'pyplot': made, 'inside': Div(made), 'axes': axes, 'tuple': (P('x'), made)}}[how]
"""
NEXT = "import matplotlib.pyplot as plt\nplt.plot([1])\nprint(plt.get_fignums())"


def get(port: int, how: str) -> str:
    with urlopen(f'http://127.0.0.1:{port}/draws?how={how}&{secret(port)}', timeout=BOUND) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize('kind', ['async def', 'def'])
def test_a_figure_that_is_returned_is_in_the_page_alone(kernel: Kernel, kind: str) -> None:
    "Not in the handler's cell, and not under the cell that runs next, whose own figure is left alone."
    kernel.run(APP, 'app')
    run_id = kernel.start(DRAWS.format(kind), 'draws')
    kernel.finish(run_id)
    port = kernel.port()
    for how in ('pyplot', 'inside', 'axes', 'tuple'):
        assert '<svg ' in get(port, how), how
        seen: list[str] = []
        other = kernel.start(NEXT, 'other')
        while True: # What is shown is shown by then: a cell's end comes behind all of it
            message = kernel.client.get_iopub_msg(timeout=BOUND)
            parent = message['parent_header'].get('msg_id')
            if message['msg_type'] in ('display_data', 'error'): seen.append('cell' if parent == other else 'handler')
            if message['msg_type'] == 'stream' and parent == other: assert message['content']['text'] == '[1]\n'
            if parent == other and message['content'].get('execution_state') == 'idle': break
        assert seen == ['cell'], how


def test_what_fails_is_told_in_the_handlers_cell(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    run_id = kernel.start(DRAWS.format('def'), 'draws')
    kernel.finish(run_id)
    page = get(kernel.port(), 'broken')
    assert '<p>before</p>' in page and '<p>after</p>' in page and 'Broken cannot be shown: ZeroDivisionError' in page
    kernel.hear('ZeroDivisionError', run_id)


def test_in_a_cell_it_is_told_there(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    done = kernel.run("print(render(P('before'), Broken()))")
    assert done.stdout.startswith('<p>before</p><div role="alert"')
    assert 'ZeroDivisionError: division by zero' in done.stderr


def test_what_was_registered_with_ipython_is_used(kernel: Kernel) -> None:
    kernel.run(APP, 'app')
    kernel.run("get_ipython().display_formatter.formatters['text/html'].for_type(Gauge, lambda g: '<meter></meter>')")
    kernel.run(DRAWS.format('def'), 'draws')
    assert '<meter></meter>' in get(kernel.port(), 'registered')
