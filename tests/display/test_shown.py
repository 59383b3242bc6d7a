"Whatever Jupyter can show, wherever a component may stand: whole pages, pieces, messages, rooms, streams."
from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pandas
import pytest
from bound import BOUND
from logs import ExpectLog
from starlette.testclient import TestClient as Starlette

from nbws.app import App
from nbws.common import Div, EventStream, FtResponse, P, Titled, render, sse_message
from nbws.display.formats import LIMIT
from nbws.display.shown import shown
from nbws.testing import Client


class Gauge:
    def _repr_html_(self) -> str: return '<meter value=".5"></meter>'


class Table(UserDict[str, Any]):
    "A mapping with a display, as xarray's `Dataset` is."
    def _repr_html_(self) -> str: return '<table></table>'


GAUGE = '<meter value=".5"></meter>'
FRAME = pandas.DataFrame({'tag': [1, 2], 'html': [3, 4], 'title': [5, 6]}) # Names that elements have, too


# Ways

def test_an_answer_is_a_page_and_a_piece() -> None:
    app = App()
    app.get('/')(lambda: Gauge())
    app.get('/frame')(lambda: FRAME)
    app.get('/mapping')(lambda: Table(a=1))
    app.get('/several')(lambda: (P('one'), FRAME, Gauge()))
    app.get('/status')(lambda: FtResponse(Gauge(), 404))
    with Client(app) as c:
        for path, content in [('/', GAUGE), ('/frame', '<th>html</th>'), ('/mapping', '<table></table>'),
                              ('/several', GAUGE), ('/status', GAUGE)]:
            page = c.get(path)
            assert page.text.startswith('<!doctype html>') and content in page.text, path
            piece = c.get(path, headers={'hx-request': 'true'})
            assert not piece.text.startswith('<!doctype') and content in piece.text, path
        assert page.status == 404


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_table_with_columns_called_as_an_element_is(wrapped: bool) -> None:
    app = App(body_wrap=(lambda content: Div(content, id='wrap')) if wrapped else None)
    app.get('/')(lambda: FRAME)
    with Client(app) as c: assert '<th>title</th>' in c.get('/').text


def test_a_generator_yields_it() -> None:
    app = App()
    @app.get('/')
    def stream() -> Iterator[Any]:
        yield P('first')
        yield FRAME
        yield Gauge()
    with Client(app) as c: assert [part in c.get('/').text for part in ('<p>first', '<th>tag', GAUGE)] == [True] * 3


def test_messages() -> None:
    "Returned, yielded, sent by the socket, by `send`, by `app.to`, by a room with a history; beside other components."
    app = App()
    room = app.room('all', history=5)
    @app.ws('/', conn=room.join)
    async def ws(msg: str, ws: Any, send: Any) -> Any:
        if msg == 'send': await send(FRAME)
        elif msg == 'ws': await ws.send(Gauge())
        elif msg == 'two': await ws.send(P('a'), Gauge())
        elif msg == 'room': await room.send(FRAME)
        elif msg == 'to': app.to('/', FRAME)
        else: return Gauge()
        return None
    @app.ws('/yield')
    def pieces(msg: str) -> Iterator[Any]:
        yield Gauge()
        yield FRAME
    with Client(app) as c, c.ws('/') as s:
        for msg, content in [('return', GAUGE), ('ws', GAUGE), ('two', f'<p>a</p>{GAUGE}'), ('send', '<th>tag'),
                             ('room', '<th>tag'), ('to', '<th>tag')]:
            s.send_json({'msg': msg})
            assert content in s.receive(), msg
        with c.ws('/') as late: assert '<th>tag' in late.receive()
        with c.ws('/yield') as y:
            y.send_json({'msg': ''})
            assert [y.receive() == GAUGE, '<th>tag' in y.receive()] == [True, True]


def test_event_streams() -> None:
    app = App()
    async def events() -> Any: yield sse_message(Gauge())
    app.get('/')(lambda: EventStream(events()))
    with Client(app) as c: assert c.get('/').text == f'data: {GAUGE}\n\n'


def test_under_asgi() -> None:
    app = App()
    @app.get('/')
    async def home() -> Any: return Titled('x', Div(Gauge()))
    with Starlette(app, base_url='http://localhost') as client: assert GAUGE in client.get('/').text


# What is data stays data

class Named(dict[str, Any]):
    def _repr_markdown_(self) -> str: return '# no'


@pytest.mark.parametrize(('data', 'text'), [
    (Named(a=1), '{"a":1}'), (numpy.array([0]), '[0]'), (numpy.array([1, 2]), '[1,2]'), (numpy.array([]), None),
    (numpy.int64(0), None), ([1, 2], '[1,2]')])
def test_data_is_sent_as_json(data: Any, text: str | None) -> None:
    from nbws.sockets.outbox import to_payload
    assert to_payload(data) == text


def test_an_object_that_answers_to_any_name_has_no_display() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Callable[..., str]: return lambda *a, **k: 'no'
    assert shown(Anything()) is None


def test_text_of_several_lines_keeps_them() -> None:
    app = App()
    app.get('/')(lambda: numpy.eye(2))
    with Client(app) as c: assert '<pre>[[1. 0.]\n [0. 1.]]</pre>' in c.get('/').text
    assert render(Div(numpy.eye(2))) == '<div><pre>[[1. 0.]\n [0. 1.]]</pre></div>'
    assert render(numpy.eye(2), P()).endswith('</pre><p></p>')


# What shows best

class Many:
    def __init__(self, **made: Any) -> None: self.made = made
    def _made(self, name: str) -> Any:
        made = self.made.get(name)
        if isinstance(made, Exception): raise made
        return made
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any: return self._made('bundle')
    def _repr_html_(self) -> Any: return self._made('html')
    def _repr_svg_(self) -> Any: return self._made('svg')
    def _repr_png_(self) -> Any: return self._made('png')
    def _repr_jpeg_(self) -> Any: return self._made('jpeg')
    def _repr_markdown_(self) -> Any: return self._made('markdown')
    def _repr_latex_(self) -> Any: return self._made('latex')
    def __repr__(self) -> str: return 'Many <of> them'


PLOTLY = {'application/vnd.plotly.v1+json': {'data': [], 'layout': {'title': '</script>'}}, 'text/html': 'no'}


@pytest.mark.parametrize(('made', 'html'), [
    ({'html': '<b>', 'svg': '<svg/>', 'png': b'1', 'bundle': {'text/plain': 'x', 'image/png': 'MQ=='}}, '<b>'),
    ({'svg': '<?xml version="1.0"?><svg></svg>', 'png': b'1', 'jpeg': b'2'}, '<svg id='),
    ({'png': b'1', 'jpeg': b'2', 'markdown': 'x'}, '<img alt="Many" src="data:image/png;base64,MQ=="'),
    ({'png': (b'1', {'width': 20, 'height': 10.0})}, 'MQ==" width="20" height="10"'),
    ({'png': 'MQ==\n', 'jpeg': b'2'}, 'base64,MQ=="'),
    ({'jpeg': b'2', 'markdown': '# x'}, 'src="data:image/jpeg;base64,Mg=="'),
    ({'markdown': '# x <i>', 'latex': '$x$'}, '<h1>x &lt;i&gt;</h1>'),
    ({'latex': r'$\displaystyle \frac{a}{b}$'}, '<mfrac>'),
    ({'latex': r'\unknown{'}, 'unknown{</code>'),
    ({'bundle': ({'image/png': 'MQ=='}, {'image/png': {'width': 7}})}, 'width="7"'),
    ({'bundle': {'application/json': {'a': 1}}}, '<pre>{\n  "a": 1\n}</pre>'),
    ({'bundle': PLOTLY}, '\\u003c/script>'),
    ({'bundle': {'text/plain': 'in the bundle'}}, '<pre>in the bundle</pre>'),
    ({'bundle': None}, '<div>Many &lt;of&gt; them</div>'), ({}, '<div>Many &lt;of&gt; them</div>')])
def test_the_best_display(made: dict[str, Any], html: str) -> None:
    assert html in render(Div(Many(**made)))


# Bad displays

@pytest.mark.parametrize(('made', 'text', 'error'), [
    ({'html': ZeroDivisionError('secret')}, 'Many cannot be shown: ZeroDivisionError, see the log', 'secret'),
    ({'html': 42}, 'its text/html is int, where text is expected', 'text is expected'),
    ({'png': 42}, 'its image/png is int', 'bytes are expected'),
    ({'png': 'not base 64!'}, 'and not base64', 'base64'),
    ({'svg': 'no drawing'}, 'ValueError', 'no svg element'),
    ({'bundle': {}}, 'Many._repr_mimebundle_ returned {}', 'has printed why'),
    ({'bundle': 'text'}, 'returned str, where a dict', 'a dict'),
    ({'bundle': RuntimeError('boom')}, 'RuntimeError, see the log', 'boom'),
    ({'html': 'x' * 100 * 2**20}, 'its text/html has 100 MiB, and a page gets at most 16', 'at most 16'),
    ({'png': b'x' * 100 * 2**20}, 'its image/png has 100 MiB', 'at most 16')])
def test_a_bad_display_is_told_and_the_rest_arrives(made: Any, text: str, error: str, expect_log: ExpectLog) -> None:
    expect_log('has a display that failed', times=3)
    app = App()
    app.get('/')(lambda: (P('before'), Div(Many(**made)), P('after')))
    @app.ws('/ws')
    async def ws(msg: str) -> Any: return P('before'), Many(**made), P('after')
    with Client(app) as c, c.ws('/ws') as s:
        page = c.get('/').text
        assert text.replace('{}', '{}') in page and 'secret' not in page and '<p>before</p>' in page
        assert page.endswith('<p>after</p></body></html>')
        s.send_json({'msg': ''})
        message = s.receive()
        assert isinstance(message, str) and text in message and message.endswith('<p>after</p>')
        s.send_json({'msg': ''}) # It is open, and the next one comes
        assert s.receive() == message


def test_of_several_displays_one_that_works_is_shown_and_the_other_told(expect_log: ExpectLog) -> None:
    expect_log('has a display that failed', times=2)
    assert 'base64,MQ==' in str(shown(Many(html=ValueError('no'), png=b'1')))
    assert '<svg' in str(shown(Many(html='x' * (LIMIT + 1), svg='<svg/>')))


def test_it_ends_nothing_but_the_display() -> None:
    class Ends:
        def _repr_html_(self) -> str: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): shown(Ends())


# The rest

def test_nothing_of_these_libraries_is_imported() -> None:
    names = 'pandas polars numpy matplotlib plotly altair bokeh PIL sympy vl_convert markdown_it latex2mathml IPython'
    code = f'import sys, nbws.common; print([m for m in {names.split()} if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=BOUND, check=True)
    assert run.stdout.strip() == '[]'


def test_the_json_of_a_figure_is_whole() -> None:
    html = str(shown(Many(bundle=PLOTLY)))
    text = html.partition('application/json">')[2].partition('</script>')[0]
    assert json.loads(text) == PLOTLY['application/vnd.plotly.v1+json']


@pytest.mark.parametrize('made', [lambda g: g, lambda g: Div(P('x'), g), lambda g: [P(), (Div(g), 'text')]])
def test_a_sync_handlers_objects_are_drawn_in_its_thread(made: Any) -> None:
    "From the second one on: an app that shows none pays nothing."
    threads: list[str] = []
    class Slow:
        def _repr_html_(self) -> str:
            threads.append(threading.current_thread().name)
            return '<i>slow</i>'
    app = App()
    app.get('/')(lambda: made(Slow()))
    @app.ws('/ws')
    def ws(msg: str) -> Any: return made(Slow())
    shown(Slow())
    threads.clear()
    with Client(app) as c, c.ws('/ws') as s:
        assert c.get('/').text.count('<i>slow</i>') == 1
        s.send_json({'msg': ''})
        assert str(s.receive()).count('<i>slow</i>') == 1
    assert len(threads) == 2 and all(name.startswith('nbws-worker') for name in threads)


def test_an_element_that_is_kept_is_drawn_anew_each_time() -> None:
    class Count:
        n = 0
        def _repr_html_(self) -> str:
            self.n += 1
            return f'<i>{self.n}</i>'
    page = Div(Count(), cls='kept', hx_get='/')
    shown(Gauge())
    app = App()
    app.get('/')(lambda: page)
    with Client(app) as c:
        first, second = (c.get('/').text for _ in range(2))
    assert '<div class="kept" hx-get="/"><i>1</i></div>' in first and '<i>2</i>' in second
