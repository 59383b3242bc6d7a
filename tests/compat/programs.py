"""Servers that run beside a comparison, each with a log of its own."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def started(command: list[str], port: int, # Where it is to listen
            log: Path, cwd: Path, env: dict[str, str], # More variables
            ) -> subprocess.Popen[bytes]:
    "A server that listens. Ends the program where it does not start."
    with log.open('w') as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **env}, cwd=cwd)
    until = time.monotonic() + 60
    while True:
        try: socket.create_connection(('127.0.0.1', port), 1).close(); return process
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                end(process)
                sys.exit(f'{log.stem} does not start: {log.read_text()}')
            time.sleep(0.05)


def end(*processes: subprocess.Popen[bytes]) -> None:
    "End all of them."
    for p in processes: p.terminate()
    for p in processes:
        try: p.wait(10)
        except subprocess.TimeoutExpired: p.kill(); p.wait(10)
