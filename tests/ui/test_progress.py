"Bars that handlers show in pages, files that they give."
from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from live import BOUND, live
from logs import ExpectLog

from nbws.app import App
from nbws.core.errors import HTTPException, NbwsError
from nbws.sockets.dispatch import STOP
from nbws.ui.downloads import Download
from nbws.ui.progress import progress, tqdm_class
from nbws.ui.toasts import toast


def messages(ws: Any, last: str) -> list[str]:
    got = [ws.recv(BOUND)]
    while last not in got[-1]: got.append(ws.recv(BOUND))
    return got


@pytest.mark.parametrize('kind', ['def', 'generator', 'async generator', 'async def'])
def test_a_handler_shows_how_far_it_is(kind: str) -> None:
    "Whatever it is."
    app = App()
    def work(n: int) -> str:
        for _ in progress(range(n), 'Work'): pass
        return 'done'
    def generator(n: int) -> Any:
        for _ in progress(range(n), 'Work'): pass
        yield 'done'
    async def async_generator(n: int) -> Any:
        for _ in progress(range(n), 'Work'): await asyncio.sleep(0)
        yield 'done'
    async def async_def(n: int, ws: Any) -> str:
        for _ in progress(range(n), 'Work', to=ws): await asyncio.sleep(0)
        return 'done'
    app.ws('/')({'def': work, 'generator': generator, 'async generator': async_generator, 'async def': async_def}[kind])
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"n": 3}')
        got = messages(ws, 'done')
        assert 'beforeend:body' in got[0] and '0 of 3' in got[0]
        assert '3 of 3' in got[-3] and 'hx-swap-oob="delete"' in got[-2]


def test_whose_page_it_is_has_to_be_known(expect_log: ExpectLog) -> None:
    expect_log('does not know whose page', 1)
    app = App(debug=True)
    @app.ws('/')
    async def work(n: int) -> str:
        for _ in progress(range(n)) if n else (): pass
        return 'done'
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"n": 3}')
        ws.send('{"n": 0}')
        assert ws.recv(BOUND) == 'done'
    with pytest.raises(NbwsError): progress([])


def test_a_loop_that_fails_takes_its_bar_away(expect_log: ExpectLog) -> None:
    expect_log('ZeroDivisionError', 1)
    app = App(debug=True)
    @app.ws('/')
    def work(n: int) -> None:
        with progress(total=3) as bar:
            bar.update()
            1/(n - n)
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"n": 3}')
        assert messages(ws, 'delete')


def test_a_loop_in_a_thread_is_stopped() -> None:
    "It ends where it would show how far it is."
    app, ended = App(), threading.Event()
    @app.ws('/')
    def work(n: int) -> None:
        try:
            for _ in progress(range(n)): threading.Event().wait(.02)
        finally: ended.set()
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"n": 100000}')
        ws.recv(BOUND)
        ws.send(STOP)
        assert ended.wait(BOUND)
        ws.send('{"n": 0}')
        assert messages(ws, '0')


def test_tqdm_in_a_page() -> None:
    app = App()
    @app.ws('/')
    def work(n: int) -> str:
        for _ in tqdm_class()(range(n), desc='Rows'): pass
        return 'done'
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"n": 3}')
        got = messages(ws, 'done')
        assert 'Rows' in got[0] and 'delete' in got[-2]


@pytest.mark.parametrize(('data', 'name', 'kind', 'body'), [
    ('a,b\n', 'x.csv', 'text/csv; charset=utf-8', b'a,b\n'), (b'\1', 'x.bin', 'application/octet-stream', b'\1'),
    ('hi', 'ü "b".txt', 'text/plain; charset=utf-8', b'hi'),
    ('x', '../../etc/passwd', 'text/plain; charset=utf-8', b'x'),
    ('x', 'a\r\nset-cookie: b=c', 'text/plain; charset=utf-8', b'x')])
def test_files_to_keep(data: Any, name: str, kind: str, body: bytes) -> None:
    app = App()
    @app.get('/')
    def give() -> Any: return Download(data, name)
    with live(app) as c:
        answer = c.get()
        assert (answer.content, answer.headers['content-type']) == (body, kind)
        assert answer.headers['content-disposition'].startswith("attachment; filename*=UTF-8''")
        assert '/' not in answer.headers['content-disposition'] and 'set-cookie' not in answer.headers


def test_a_path_to_keep(tmp_path: Path) -> None:
    (tmp_path/'a.txt').write_text('hello')
    app = App()
    @app.get('/')
    def give() -> Any: return Download(tmp_path/'a.txt')
    with live(app) as c:
        answer = c.get(headers={'range': 'bytes=1-2'})
        assert (answer.text, answer.status_code) == ('el', 206)
        assert 'a.txt' in answer.headers['content-disposition']
    with pytest.raises(HTTPException): Download(tmp_path/'none')


def test_what_is_no_file_and_no_toast() -> None:
    for wrong in (3, None, [1], {'a': 1}):
        with pytest.raises(NbwsError, match='no file'): Download(wrong)
    with pytest.raises(ValueError, match='no kind'): toast('x', 'loud')
