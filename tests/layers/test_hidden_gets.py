"""A GET that another site's page hides from the visitor, by an image, a fetch or a frame, runs no handler of POST."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from bound import BOUND
from jupyters import Jupyter, Kernel, ask

from nbws.layers.gate import Gate, NotebookGate
from nbws.core.request import Request
from nbws.server.listener import Server
from nbws.tremolo import Tremolo

from nbws import App

RAN: list[str] = []


def made(**options: Any) -> App:
    "An app by FastHTML's default: one function for GET and POST; and others for one method each."
    app = App(secret_key='a test', **options)
    @app.route('/both')
    async def both() -> str:
        RAN.append('both')
        return 'both'
    @app.route('/any', methods=['get', 'delete'])
    async def several() -> str:
        RAN.append('several')
        return 'several'
    @app.get('/only')
    async def only() -> str:
        RAN.append('only')
        return 'only'
    @app.post('/only')
    async def changes() -> str:
        RAN.append('changes')
        return 'changed'
    return app


def fields(site: str, mode: str, dest: str, **more: str) -> dict[str, str]:
    "The header fields of a browser: Fetch Metadata, and more."
    return {'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest, 'accept': '*/*',
            **{k.replace('_', '-'): v for k, v in more.items()}}


EVIL = 'https://evil.example'
HIDDEN = {
    'an image': fields('cross-site', 'no-cors', 'image', referer=f'{EVIL}/page'),
    'an image of a sibling': fields('same-site', 'no-cors', 'image'),
    'a script': fields('cross-site', 'no-cors', 'script'), 'a style': fields('cross-site', 'no-cors', 'style'),
    'a film': fields('cross-site', 'no-cors', 'video'), 'a font': fields('cross-site', 'cors', 'font', origin=EVIL),
    'fetch, no-cors': fields('cross-site', 'no-cors', 'empty'),
    'fetch': fields('cross-site', 'cors', 'empty', origin=EVIL),
    'fetch of a file': fields('cross-site', 'cors', 'empty', origin='null'),
    'an old browser that says only the origin': {'origin': EVIL},
    'a frame': fields('cross-site', 'navigate', 'iframe', referer=f'{EVIL}/'),
    'a frame of a sibling': fields('same-site', 'navigate', 'frame'),
    'an object': fields('cross-site', 'navigate', 'object'), 'embed': fields('cross-site', 'navigate', 'embed'),
    'fetched before a click': fields('cross-site', 'navigate', 'document', sec_purpose='prefetch'),
}
OPEN = {
    'curl': {}, 'a link': fields('cross-site', 'navigate', 'document', referer=f'{EVIL}/', sec_fetch_user='?1'),
    'back from a login': fields('cross-site', 'navigate', 'document'),
    'the address bar': fields('none', 'navigate', 'document'),
    'its own image': fields('same-origin', 'no-cors', 'image'),
    'htmx': fields('same-origin', 'cors', 'empty', hx_request='true'),
    'its own frame': fields('same-origin', 'navigate', 'iframe'),
}


class Way:
    "A way to an app: `get(path, fields)` is the status."
    def __init__(self, get: Callable[[str, str, dict[str, str]], httpx.Response]) -> None: self.get = get


@pytest.fixture(params=['own', 'asgi', 'mounted', 'tremolo'])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    app: Any = made()
    if request.param == 'tremolo':
        app = Tremolo()
        @app.route('/both')
        async def both(**_: Any) -> str:
            RAN.append('both')
            return 'both'
    elif request.param == 'mounted':
        outer = App()
        outer.mount('/below', app)
        app = outer
    prefix = '/below' if request.param == 'mounted' else ''
    if request.param == 'asgi':
        async def once(method: str, path: str, headers: dict[str, str]) -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url='http://localhost') as client:
                return await client.request(method, path, headers=headers)
        yield Way(lambda *a: asyncio.run(once(*a)))
    else:
        with Server(app) as server, \
                httpx.Client(base_url=server.url + prefix, trust_env=False, timeout=BOUND) as client:
            yield Way(lambda method, path, headers: client.request(method, path, headers=headers))
    RAN.clear()


@pytest.mark.parametrize('who', HIDDEN)
def test_a_hidden_get_of_what_takes_post_is_refused(way: Way, who: str) -> None:
    for method in 'GET', 'HEAD':
        assert way.get(method, '/both', HIDDEN[who]).status_code == 403
    assert way.get('GET', '/any', HIDDEN[who]).status_code in (403, 404)
    assert not RAN


@pytest.mark.parametrize('who', OPEN)
def test_what_a_visitor_opens_or_its_own_page_asks_is_answered(way: Way, who: str) -> None:
    assert way.get('GET', '/both', OPEN[who]).text == 'both'


def test_what_takes_get_only_is_anybodys_to_embed() -> None:
    with Server(made()) as server:
        for who in HIDDEN.values(): assert httpx.get(f'{server.url}/only', headers=who, trust_env=False).text == 'only'
    RAN.clear()


def test_who_is_allowed_may_embed_it() -> None:
    image, frame = HIDDEN['an image'], HIDDEN['a frame']
    hosts = ['evil.example', 'localhost']
    for app in made(allowed_origins=[EVIL]), made(allowed_hosts=hosts), outer(allowed_origins=[EVIL]):
        with Server(app) as server:
            at = f'{server.url}/below/both' if app.mounts else f'{server.url}/both'
            for headers in image, frame, HIDDEN['fetch']:
                assert httpx.get(at, headers=headers, trust_env=False).text == 'both'
            assert httpx.get(at, headers=HIDDEN['a frame of a sibling'], trust_env=False).status_code == 403
    RAN.clear()


def outer(**options: Any) -> App:
    "An app with `made()` mounted in it."
    app = App(**options)
    app.mount('/below', made())
    return app


def test_a_frame_has_a_link_that_opens_it() -> None:
    with Server(made()) as server:
        answer = httpx.get(f'{server.url}/both?x=1', headers=HIDDEN['a frame'], trust_env=False)
        assert (answer.status_code, '<a href="">' in answer.text, 'allowed_origins' in answer.text) == (403, True, True)
        assert httpx.get(f'{server.url}/both?x=1', headers=OPEN['its own frame'], trust_env=False).text == 'both'
    RAN.clear()


def gated(gate: Gate, target: str, headers: dict[str, str]) -> int:
    "What an app behind a notebook's gate answers."
    request = Request('GET', target, {'host': '127.0.0.1:7', **headers}, server=('127.0.0.1', 7))
    refusal = gate.enter(request)
    return (refusal or asyncio.run(made().http(request))).status_code


def test_a_notebooks_frames_and_sandboxed_pages_are_its_own() -> None:
    gate, cookie = NotebookGate(token='t0ken'), {'cookie': 'nbws-7=t0ken'}
    assert gated(gate, '/both', {**HIDDEN['a frame'], **cookie}) == 200  # VS Code's and Colab's
    assert gated(gate, '/both', {**HIDDEN['an image of a sibling'], **cookie}) == 403  # Another notebook's page
    assert gated(gate, '/~t0ken/both', fields('cross-site', 'cors', 'empty', origin='null')) == 200
    assert gated(gate, '/~t0ken/both', fields('cross-site', 'no-cors', 'image')) == 200
    forwarded = {'x-nbws-secret': 's', 'x-forwarded-prefix': '/nbws/k'}
    proxied = NotebookGate(secret='s')
    assert gated(proxied, '/both', {**HIDDEN['an image of a sibling'], **forwarded}) == 403
    assert gated(proxied, '/both', {**OPEN['htmx'], **forwarded}) == 200
    sandboxed = {**forwarded, 'x-forwarded-prefix': '/nbws/k/~ticket'}
    assert gated(proxied, '/both', {**fields('cross-site', 'no-cors', 'image'), **sandboxed}) == 200
    RAN.clear()


APP = """
from nbws.common import *
app, rt = fast_app()
@rt('/both')
def both(): return 'both'
serve()
"""


@pytest.mark.usefixtures('clients_loop')
def test_through_jupyter(tmp_path: Any) -> None:
    jupyter = Jupyter(tmp_path, '/')
    try:
        kernel = Kernel(jupyter)
        kernel.run(APP)
        login = {'cookie': jupyter.log_in()}
        def status(who: dict[str, str]) -> int:
            said = {k.replace('-', '_'): v for k, v in {**who, **login}.items()}
            with ask(jupyter.port, 'GET', kernel.base + '/both', **said) as answer: return answer.status
        hidden = 'an image', 'an image of a sibling', 'fetch, no-cors', 'a frame'
        assert [status(HIDDEN[who]) for who in hidden] == [403] * 4
        assert [status(OPEN[w]) for w in ('curl', 'a link', 'htmx', 'its own frame')] == [200] * 4
    finally: jupyter.stop()
