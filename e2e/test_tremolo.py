"""Tremolo's chat, as its page has it but for the import lines: in a cell, and as a script in an ordinary tab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from .notebook import Notebook
from .scripts import Script

SEED = r'''
#!/usr/bin/env python3

import time

from nbws.tremolo import Tremolo
from nbws.tremolo.exceptions import BadRequest

app = Tremolo()


@app.on_request
async def middleware_handler(**server):
    for char in b'&<>"\'':
        if char in server['request'].host:
            raise BadRequest('illegal host')

    # add more validations, CORS headers, etc if needed


@app.route('/')
async def ws_handler(websocket=None, request=None, stream=False, **_):
    """A hybrid handler.

    Normally, you should separate http:// and ws:// respectively.
    """
    if websocket is not None:
        # an upgrade request is received.
        # accept it by sending the "101 Switching Protocols"
        await websocket.accept()

        while True:
            message = await websocket.receive()
            # send back the received message
            await websocket.send(
                '[{:s}] Guest{:d}: {:s}'.format(
                    time.strftime('%H:%M:%S'), request.client[1], message)
            )

    # not an upgrade request. show the html page
    yield b"""\
    <!DOCTYPE html><html lang="en"><head><title>WebSocket Chat</title></head>
    <body>
        <h1>WebSocket Chat</h1>
        <form>
            <input type="text" id="message" autocomplete="off" />
            <button type="button" id="send">Send</button>
        </form>
        <ul id="messages"></ul>
        <script>
    """
    ws_scheme = b'ws'

    if request.scheme == b'https':
        ws_scheme = b'wss'

    yield b"\
        var socket = new WebSocket('%s://%s/');" % (ws_scheme, request.host)
    yield b"""
            var messages = document.getElementById('messages');
            var sendButton = document.getElementById('send');

            socket.onmessage = function(event) {
                var message = document.createElement('li');
                message.textContent = event.data;
                messages.insertBefore(message, messages.firstChild);
            };

            sendButton.onclick = function() {
                var message = document.getElementById('message');

                if (message) {
                    socket.send(message.value);
                    message.value = '';
                }
            };
        </script>
    </body>
    </html>
    """

if __name__ == '__main__':
    # don't forget to disable debug and reload on production!
    app.run('0.0.0.0', 8000, debug=True, reload=True)
'''


def talk(page: Page | FrameLocator, text: str) -> None:
    """Type, send, and read the answer."""
    page.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("listitem").first).to_contain_text(f": {text}")


@pytest.mark.parametrize("jupyter", ["lab", "notebook"], indirect=True)
def test_in_a_cell(open_notebook: Callable[..., Notebook]) -> None:
    nb = open_notebook([SEED])
    nb.run(0)
    expect(nb.output(0)).to_contain_text("ignored")  # Host, port and reload, which mean nothing here
    talk(nb.frame(0), "hello")
    talk(nb.frame(0), "<b>bold</b>")
    nb.edit(0, SEED.replace("[{:s}] Guest", "<{:s}> Guest"))
    talk(nb.frame(0), "again")
    expect(nb.frame(0).get_by_role("listitem").first).to_contain_text("<")


def test_as_a_script(run_script: Callable[..., Script], page: Page, tmp_path: Path) -> None:
    path = tmp_path / "chat.py"
    # A port of our own, and nothing else: the machine may have something at 8000
    path.write_text("import os\n" + SEED.replace("8000, debug=True, reload=True", "int(os.environ['PORT'])"))
    script = run_script(str(path))
    page.goto(script.url)
    talk(page, "hello")
