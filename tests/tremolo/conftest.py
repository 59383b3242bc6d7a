"""What the tests of Tremolo's style share."""
from __future__ import annotations

import pytest

from nbws.tremolo import Tremolo


@pytest.fixture
def hybrid() -> Tremolo:
    app = Tremolo()

    @app.route('/')
    async def both(websocket=None, request=None, **_):
        if websocket is None: return b'page over %s' % request.scheme
        await websocket.accept()
        while True: await websocket.send(f'You said: {await websocket.receive()}')
    return app
