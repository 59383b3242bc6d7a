"Real objects of the libraries that people have, and the JavaScript that draws them."
from __future__ import annotations

import gzip
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from typing import Any

import altair
import pandas
import plotly.graph_objects as go
import pytest
import sympy
from bokeh.models import Slider
from bokeh.plotting import figure
from bound import BOUND
from logs import ExpectLog
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from nbws.app import App
from nbws.common import Div, P, render
from nbws.display.libraries import address
from nbws.display.shown import shown
from nbws.testing import Client

FRAME = pandas.DataFrame({f'c{n}': range(100) for n in range(30)})


def html_of(thing: Any) -> str:
    html = shown(thing)
    assert html is not None
    return html


def drawing(points: int = 3, colour: str = 'red') -> Figure:
    made = Figure(figsize=(3, 2))
    made.subplots().plot(range(points), color=colour)
    return made


def plot() -> Any:
    made = figure(width=300, height=200)
    made.line([1, 2], [3, float('nan')])
    return made


# matplotlib

def ids(html: str) -> list[str]: return re.findall(r'\sid="([^"]*)"', html)


def test_two_figures_share_no_id_and_no_style() -> None:
    one, two = html_of(drawing()), html_of(drawing(colour='blue'))
    assert one.startswith('<svg ') and 'DOCTYPE' not in one
    assert len(ids(one)) > 20 and not set(ids(one)) & set(ids(two))
    for html in (one, two):
        root = ids(html)[0]
        assert len(ids(html)) == len(set(ids(html)))
        assert {*re.findall(r'(?:href="|url\()#([^")]*)', html)} <= {*ids(html)}
        assert re.search(r'<style[^>]*>([^{]*)\{', html)[1] == f'#{root}'  # type: ignore[index]


def test_the_same_figure_is_the_same_text_and_settings_stay() -> None:
    before = dict(rcParams)
    assert html_of(drawing()) == html_of(drawing())
    assert dict(rcParams) == before


def test_a_cloud_of_points_is_a_png() -> None:
    made = Figure(figsize=(3, 2))
    made.subplots().scatter(range(30_000), range(30_000), rasterized=False)
    html = html_of(made)
    assert html.startswith('<img alt="Figure" src="data:image/png;base64,') and 'width="288"' in html
    assert len(html) < 400_000


def test_no_figure_is_left_open() -> None:
    "Those that a handler makes by pyplot; and an `Axes`, which `df.plot()` returns, stands for its figure."
    import matplotlib
    matplotlib.use('agg')
    from matplotlib import pyplot
    app = App()
    def draw(n: int) -> Any:
        made, axes = pyplot.subplots(figsize=(2, 1))
        axes.plot(range(n))
        return Div(made) if n % 2 else axes
    app.get('/{n}')(draw)
    with Client(app) as c:
        assert all('<svg ' in c.get(f'/{n}').text for n in range(2, 6))
    assert pyplot.get_fignums() == []


def test_figures_from_many_threads() -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda n=n: found.append(html_of(drawing(n + 2)))) for n in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(set(found)) == 6 and all('svg' in html for html in found)


# Scripts draw

@pytest.mark.parametrize(('make', 'files'), [
    (lambda: go.Figure(go.Bar(y=[1, None])), ['plotly']), (plot, ['bokeh']),
    (lambda: Slider(start=0, end=1, value=0), ['bokeh', 'bokeh-widgets']),
    (lambda: altair.Chart(FRAME).mark_bar().encode(x='c1:Q'), ['vega'])])
def test_a_figure_is_data_and_names_its_libraries(make: Any, files: list[str]) -> None:
    made = make()
    html = html_of(made)
    found = re.fullmatch(r'<nbws-display data-draw="(\w+)" data-files="([^"]*)" style="[^"]*">'
                         r'<script type="application/json">(.*)</script></nbws-display>', html, re.S)
    assert found and found[1] == files[0]
    assert found[2].split(' ') == [address(name) for name in files]
    import json
    def refuse(name: str) -> None: raise AssertionError(f'{name} is no JSON')
    json.loads(found[3], parse_constant=refuse)
    assert '<' not in found[3] and 'https://cdn' not in html
    assert html_of(made) == html # So a page that shows it again has not changed


def test_the_element_is_closed_whatever_the_data_say() -> None:
    html = html_of(go.Figure(layout={'title': '</script><script>alert(1)</script><!--'}))
    scripts: list[str] = []
    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None: scripts.append(tag)
    Reader().feed(html)
    assert scripts == ['nbws-display', 'script']


def test_libraries_come_from_what_is_installed() -> None:
    app = App()
    app.get('/{rest:path}')(lambda: 'no')
    with Client(app) as c:
        for name in ('plotly', 'bokeh', 'bokeh-gl'):
            path = f'/_nbws/display/{address(name)}'
            plain, packed = (c.get(path, headers={'accept-encoding': coding}) for coding in ('', 'gzip'))
            assert plain.status == packed.status == 200
            assert gzip.decompress(packed.content) == plain.content and len(plain.content) > 100_000
            assert 'immutable' in plain.headers['cache-control'] and 'javascript' in plain.headers['content-type']
        for name in ('plotly-0.js', 'setup.py', '..%2fapp.py', '../app.py', 'vega-0-0.js', f'{address("plotly")}x'):
            assert c.get(f'/_nbws/display/{name}').status == 404, name


def test_vega_is_made_when_it_is_asked_for() -> None:
    "The address does not wait for it, and another process answers for it."
    name = address('vega')
    assert re.fullmatch(r'vega-\d+\.\d+-[0-9a-f]{16}\.js', name)
    code = f"from nbws.display.libraries import content as c; print(len(c({name!r})), b'vegaEmbed' in c({name!r}))"
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=BOUND, check=True)
    assert int(run.stdout.split()[0]) > 100_000 and run.stdout.split()[1] == 'True'


def test_without_what_draws_it(monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog) -> None:
    expect_log('has a display that failed', times=1)
    monkeypatch.setitem(sys.modules, 'vl_convert', None)
    assert 'pip install vl-convert-python' in html_of(altair.Chart(FRAME).mark_bar())


def test_a_wrong_chart_is_told(expect_log: ExpectLog) -> None:
    "Altair prints a traceback and gives `{}`."
    expect_log('Unable to determine data type for the field "missing"', times=1)
    app = App()
    app.get('/')(lambda: (P('before'), altair.Chart(FRAME).mark_bar().encode(x='missing')))
    with Client(app) as c: assert 'Chart cannot be shown: ValueError' in c.get('/').text


def test_a_page_without_the_usual_head_draws_too() -> None:
    from nbws.common import Body, Html
    made = go.Figure()
    for options in ({'default_hdrs': False}, {'htmx': False}, {}):
        app = App(**options)  # type: ignore[arg-type]
        app.get('/')(lambda: Div(made))
        app.get('/own')(lambda: Html(Body(Div(made))))
        app.get('/plain')(lambda: P('x'))
        with Client(app) as c:
            for path in ('/', '/own'): assert c.get(path).text.count('/fasthtml.js"') == 1, (options, path)
            assert c.get('/plain').text.count('/fasthtml.js"') == (not options)


# Tables, formulas, pictures

def test_pandas_is_the_same_in_every_process() -> None:
    "A process with a terminal shows all columns, a kernel 20."
    before = pandas.get_option('display.max_columns')
    found = []
    for columns in (0, 20):
        pandas.set_option('display.max_columns', columns)
        found.append(html_of(FRAME))
    pandas.set_option('display.max_columns', before)
    assert found[0] == found[1] and '100 rows × 30 columns' in found[0] and '<th>c15</th>' not in found[0]


def test_series_and_indexes_are_tables() -> None:
    assert '<th>c1</th>' in html_of(FRAME.c1) and '<table' in html_of(FRAME.index)


def test_a_style_is_its_own() -> None:
    assert '#T_mine_row1_col0' in html_of(FRAME.iloc[:2, :2].style.set_uuid('mine').highlight_max())


def test_formulas_are_mathml() -> None:
    x = sympy.Symbol('x')
    assert html_of(sympy.sqrt(x) / 2).startswith('<math display="block">') and '<mfrac>' in html_of(sympy.sqrt(x) / 2)
    assert '<mtable>' in html_of(sympy.Matrix([[x, 1]]))


def test_images() -> None:
    assert html_of(Image.new('RGB', (2, 2))).startswith('<img alt="Image" src="data:image/png;base64,')
    assert render(Div(Image.new('F', (2, 2)))).startswith('<div>&lt;PIL.Image.Image') # It has neither PNG nor JPEG
