"""From nothing to the first page, as one writes it in a notebook's cell: `python start.py NAME PORT` serves one word.

The server runs in the background, as under a cell, and the process ends when its standard input does. Each line that
it prints is a part that is done, and the time of the system's monotonic clock."""

from __future__ import annotations

import sys
import time
from typing import Any


def done(part: str) -> None: print(part, time.monotonic(), flush=True)


def nbws(port: int) -> None:
    from nbws.common import fast_app
    try:
        from nbws.notebook.serve import serve_cell
        from nbws.notebook.served import ListenOptions
        options: dict[str, Any] = {'listen': ListenOptions(port=port)}
    except ImportError: # An older checkout, without folders
        from nbws.notebook import serve_cell  # type: ignore[no-redef]
        options = {'port': port}
    done('imports')
    app, rt = fast_app()
    rt('/')(lambda: 'hello')
    done('app')
    serve_cell(app, **options)
    done('serve()')


def fasthtml(port: int) -> None:
    from fasthtml.common import fast_app
    from fasthtml.jupyter import JupyUvi
    app, rt = fast_app()
    rt('/')(lambda: 'hello')
    JupyUvi(app, port=port)


def gradio(port: int) -> None:
    import gradio as gr
    page = gr.Interface(lambda word: word, 'text', 'text')
    page.launch(server_port=port, prevent_thread_lock=True, quiet=True)


if __name__ == '__main__':
    globals()[sys.argv[1]](int(sys.argv[2]))
    sys.stdin.read()
