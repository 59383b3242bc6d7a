"""Exceptions of Tremolo's style, and the pages for them."""
from __future__ import annotations

import pytest
from live import live
from logs import ExpectLog

from nbws.core.errors import HTTPException as OurHTTPException
from nbws.tremolo import Tremolo, exceptions
from nbws.tremolo.exceptions import NotFound


def test_error_pages(expect_log: ExpectLog) -> None:
    app = Tremolo()
    @app.error(404)
    async def lost(request, exc, **_):
        assert isinstance(exc, NotFound | OurHTTPException)
        return f'nothing at {request.path}'
    @app.error(500)
    async def broken(exc, response, **_):
        response.set_header('X-Broken', type(exc.__cause__).__name__)
        return b'sorry'
    @app.route('/broken')
    async def fails(**_): return 1 / 0
    @app.route('/missing')
    async def missing(**_): raise NotFound
    expect_log('ZeroDivisionError', 1)
    with live(app) as c:
        assert ((r := c.get('/none')).status_code, r.text) == (404, 'nothing at /none')
        assert c.get('/missing').text == 'nothing at /missing'
        r = c.get('/broken')
        assert (r.status_code, r.text, r.headers['x-broken']) == (500, 'sorry', 'ZeroDivisionError')
    for code in (399, 512):
        with pytest.raises(ValueError, match='supported range: 400-511'): app.error(code)


STATUS = {'HTTPException': 500, 'HTTPRedirect': 302, 'BadRequest': 400, 'Unauthorized': 401, 'Forbidden': 403,
          'NotFound': 404, 'MethodNotAllowed': 405, 'RequestTimeout': 408, 'PreconditionFailed': 412,
          'PayloadTooLarge': 413, 'RangeNotSatisfiable': 416, 'ExpectationFailed': 417, 'TooManyRequests': 429,
          'InternalServerError': 500, 'ServiceUnavailable': 503}


@pytest.mark.parametrize('name', STATUS)
def test_exceptions(name: str, expect_log: ExpectLog) -> None:
    if name == 'InternalServerError': expect_log('InternalServerError', 2)
    kind = getattr(exceptions, name)
    assert issubclass(kind, exceptions.TremoloException)
    app = Tremolo()
    @app.route('/')
    async def fails(**_): raise kind('because', x_why='that')
    @app.route('/stream')
    async def stream(**_):
        if app: raise kind
        yield b''
    with live(app) as c:
        r = c.get()
        assert (r.status_code, r.headers['x-why']) == (STATUS[name], 'that')
        assert 'because' in r.text
        assert c.get('/stream').status_code == STATUS[name]
