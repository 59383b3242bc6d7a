"""Addresses, options and exceptions, as Tremolo's programs use them."""
from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import pytest
from live import BOUND, live
from processes import get, running
from raw import Raw

from nbws.core.errors import OptionError
from nbws.tremolo import Tremolo, utils
from nbws.tremolo.exceptions import Forbidden, HTTPException, InternalServerError, NotFound, RequestTimeout

PROGRAM = '''
    from nbws.tremolo import Application
    app, part = Application(), Application()

    @app.route('/')
    async def page(request, context, **server):
        return '%d %s' % (request.protocol.options['client_max_body_size'], context.options is request.server.options)
    @app.route('/body')
    async def body(request): return str(len(await request.body()))
    @app.on_worker_start
    async def start(**worker): print('it begins', flush=True)
    @app.on_worker_stop
    async def stop(**worker): print('it ends', flush=True)

    part.listen(0, '127.0.0.1', client_max_body_size=10)
    app.mount('/part', part)
    part.listen(0, 'localhost', client_max_body_size=30)
    app.listen(0)
    app.run(client_max_body_size=20, log_level='ERROR')
    '''


def program(folder: Path, source: str) -> list[str]:
    (path := folder/'program.py').write_text(textwrap.dedent(source))
    return [sys.executable, str(path)]


def post(port: int, size: int) -> int:
    import httpx
    return httpx.post(f'http://127.0.0.1:{port}/body', content=b'x' * size, timeout=BOUND, trust_env=False).status_code


def test_each_address_has_its_options(tmp_path: Path) -> None:
    "Those of a mounted app, too, before it was mounted and after it; the app begins and ends once."
    with running(program(tmp_path, PROGRAM)) as process:
        process.says('Ctrl-C')
        ports = [int(line.rpartition(':')[2]) for line in process.output.splitlines() if 'serves http' in line]
        assert len(ports) == 3
        found = {}
        for port in ports:
            limit, same = get(port, '/')[1].split()
            assert same == 'True'
            found[int(limit)] = port
        assert found.keys() == {10, 20, 30}
        for limit, port in found.items():
            assert (post(port, limit), post(port, limit + 1)) == (200, 413)
        assert process.stop() == 0
        assert (process.output.count('it begins'), process.output.count('it ends')) == (1, 1)


def test_a_handlers_time_is_its_addresses(tmp_path: Path) -> None:
    source = '''
        import asyncio
        from nbws.tremolo import Application
        app = Application()
        @app.route('/')
        async def page(**server): await asyncio.Event().wait()
        app.listen(0, '127.0.0.1', app_handler_timeout=0.05)
        app.run(log_level='CRITICAL')
        '''
    with running(program(tmp_path, source)) as process: assert process.serves().get('/')[0] == 503


def test_options_of_the_program_are_for_handlers() -> None:
    app = Tremolo()
    for wrong in 'client_max_bodysize', 'keepalive_timeouts', 'handler_timeout':
        with pytest.raises(OptionError, match='did you mean'): app.run('127.0.0.1', 0, **{wrong: 5})
        with pytest.raises(OptionError, match='did you mean'): app.listen(0, **{wrong: 5})


def test_workers_share_what_the_program_hands_to_run(tmp_path: Path) -> None:
    source = '''
        import multiprocessing
        from nbws.tremolo import Application
        app = Application()
        @app.route('/')
        def count(**server):
            state = server['globals'].options['state']
            state[multiprocessing.current_process().name] = 1
            return str(len(state))
        if __name__ == '__main__':
            with multiprocessing.Manager() as manager:
                app.run('127.0.0.1', 0, worker_num=2, state=manager.dict())
        '''
    with running(program(tmp_path, source)) as process:
        process.serves()
        until = time.monotonic() + BOUND
        while process.get('/')[1] != '2': assert time.monotonic() < until, process.output
        assert process.stop() == 0


def test_an_option_that_cannot_be_handed_on_is_said(tmp_path: Path) -> None:
    source = '''
        import threading
        from nbws.tremolo import Application
        app = Application()
        app.run('127.0.0.1', 0, worker_num=2, state=threading.Lock())
        '''
    with running(program(tmp_path, source)) as process:
        assert process.ends() != 0
        assert 'cannot hand state to other processes' in process.output


# Exceptions

def test_a_cause_chooses_the_class() -> None:
    late, wrong = TimeoutError('late'), ValueError('wrong')
    for made, kind, cause, args in [
            (HTTPException(cause=late), RequestTimeout, late, ('late',)),
            (HTTPException(cause=wrong), InternalServerError, wrong, ('wrong',)),
            (HTTPException('said', cause=wrong), InternalServerError, wrong, ('said',)),
            (Forbidden(cause=wrong), Forbidden, wrong, ('wrong',))]:
        assert (type(made), made.__cause__, made.args) == (kind, cause, args)
    lost = NotFound('no', x_a='1')
    assert HTTPException(cause=lost) is lost
    assert (lost.args, lost.options, lost.__cause__) == (('no',), {'x_a': '1'}, None)
    assert NotFound('other', cause=lost, x_b='2') is lost
    assert (lost.args, lost.options, lost.headers) == (('other',), {'x_b': '2'}, {'x-b': '2'})


def test_an_error_page_may_leave_the_text_alone() -> None:
    app = Tremolo()
    @app.error(404)
    async def lost(exc, response, **server): response.set_header('X-Lost', str(exc.code))
    with live(app) as c:
        r = c.get('/none')
        assert (r.status_code, r.text, r.headers['x-lost']) == (404, '404 Not Found', '404')


def test_close_ends_an_answer_that_was_not_begun() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(response):
        response.close()
        response.close()
    with live(app) as c:
        r = c.get()
        assert (r.content, r.headers['connection']) == (b'', 'close')


def test_a_redirect_to_a_client_of_http_1_0_is_302() -> None:
    app = Tremolo()
    @app.route('/')
    async def page(response): raise response.redirect('/new', code=303)
    with live(app) as c, Raw(c.server) as client:
        assert c.get().status_code == 303
        client.send(b'GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n')
        assert client.response()[0] == 302


# tremolo.utils

def test_utils() -> None:
    assert utils.html_escape('<a href="x">') == '&lt;a href=&quot;x&quot;&gt;'
    assert utils.html_escape(b'<\xff&"') == b'&lt;\xff&amp;&quot;'
    assert list(utils.parse_fields(b'text/html; Q="1"; a=%20b')) == [(b'a', b' b'), (b'q', b'1'), (b'text/html', b'')]
    assert list(utils.parse_fields(b'a, B', b',', None)) == [b'b', b'a']
    assert utils.parse_int(b'ff', 16) == 255
    for wrong in b'-1', b'01', b'1_0', b'':
        with pytest.raises(ValueError, match='number'): utils.parse_int(wrong)
    async def handler(request, a=1, **server): ...
    assert utils.getoptions(handler) == {'request': None, 'a': 1}
    assert (utils.is_async(handler), utils.is_async(print)) == (True, False)
    assert utils.server_date().endswith(b' GMT')


def test_serve_on_a_loop_of_the_programs_own() -> None:
    "In a thread, until its task is cancelled: at a port, and on a socket that is bound already."
    import asyncio
    import socket
    app, ends = Tremolo(), []
    @app.route('/')
    async def page(globals, **server): return str(globals.options['mine'])  # noqa: A002
    @app.on_worker_stop
    async def stop(**worker): ends.append('stop')
    async def main() -> bytes:
        with socket.socket() as bound:
            bound.bind(('127.0.0.1', 0))
            port = bound.getsockname()[1]
            task = asyncio.ensure_future(app.serve('127.0.0.1', port, sock=bound, mine=5))
            while not task.done():
                try: reader, writer = await asyncio.open_connection('127.0.0.1', port)
                except OSError: await asyncio.sleep(0.01)
                else: break
            writer.write(b'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n')
            answer = await asyncio.wait_for(reader.read(), BOUND)
            writer.close()
            await writer.wait_closed()
            task.cancel()
            with pytest.raises(asyncio.CancelledError): await task
        return answer
    answer = asyncio.run(main())
    assert answer.startswith(b'HTTP/1.1 200 ') and answer.endswith(b'\r\n\r\n5') and ends == ['stop']
    with pytest.raises(OptionError, match='keepalive_timeout'):
        asyncio.run(app.serve('127.0.0.1', 0, keepalive_timeouts=3))


def test_run_serves_an_application_of_another_kind(tmp_path: Path) -> None:
    with running(program(tmp_path, '''
        from nbws.tremolo import Application
        async def other(scope, receive, send):
            if scope['type'] != 'http': raise NotImplementedError
            await send({'type': 'http.response.start', 'status': 200, 'headers': []})
            await send({'type': 'http.response.body', 'body': b'of the other'})
        Application().run(app=other, host='127.0.0.1', port=0, log_level='ERROR')
        ''')) as process:
        process.says('Ctrl-C')
        port = int(process.output.split('serves http://127.0.0.1:')[1].split()[0])
        assert get(port, '/')[1] == 'of the other'
