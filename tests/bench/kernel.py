"""A busy kernel: a server on a thread beside a pure-Python main thread, as JupyUvi and nbws's `serve` have it.

`python kernel.py nbws|fasthtml PORT` prints `ready`, then works, and prints `time rounds cpu` for each 10 ms: when
it began, what it did, and the CPU seconds that the thread had had before."""

from __future__ import annotations

import sys
import time

import servers


def serve(name: str, port: int) -> None:
    "As in a notebook, less the iframe."
    if name == 'nbws':
        try: from nbws.notebook.served import ListenOptions, start_server
        except ImportError: # An older checkout, without folders
            from nbws.notebook import _start  # type: ignore[attr-defined]
            return _start(servers.components(), '127.0.0.1', port)
        start_server(servers.components(), ListenOptions('127.0.0.1', port))
    else:
        import fasthtml.jupyter
        fasthtml.jupyter.htmx_config_port = lambda port: None # Shows a script, which needs IPython
        fasthtml.jupyter.JupyUvi(servers.components(), port=port, daemon=True)


def work(until: float) -> int:
    "A cell's loop; how many rounds it made."
    rounds = n = 0
    while time.monotonic() < until:
        for i in range(500): n += i % 7
        rounds += 1
    return rounds


if __name__ == '__main__':
    if sys.argv[1] == 'nbws': import nbws.server  # noqa: F401
    serve(sys.argv[1], int(sys.argv[2]))
    print('ready', flush=True)
    slices = []
    while True:
        begun = time.monotonic()
        cpu = time.thread_time()
        slices.append(f'{begun:.6f} {work(begun + 0.01)} {cpu:.6f}\n')
        if len(slices) == 20: # Seldom, since each line may cost the GIL
            sys.stdout.write(''.join(slices))
            sys.stdout.flush()
            slices.clear()
