"""A script that serves, run as a person runs it: `python chat.py`, `python -m mychat.chat`."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from .processes import Child, listens, spawn
from .timeouts import wait_until


class Script:
    """A running script; `url` is where it listens, without a slash at the end."""

    def __init__(self, child: Child, port: int, stderr_may: str | None) -> None:
        self.child, self.port, self.url = child, port, f"http://127.0.0.1:{port}"
        self._stderr_may = stderr_may
        self._stopped = False

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self.child.stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to stderr so far."""
        return self.child.stderr.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGINT, code: int = 0) -> None:
        """End it, with Ctrl+C unless told otherwise; once is enough.

        Raises AssertionError if it ended with another exit code, left a process behind or complained on stderr.
        """
        if self._stopped:
            return
        self._stopped = True
        actual = self.child.stop(number)
        assert self.child.stragglers() == []
        assert actual == code, f"exit code {actual}, stderr:\n{self.stderr}"
        noise = [line for line in self.stderr.splitlines() if not self._expected(line)]
        assert noise == [], f"on stderr:\n{self.stderr}"

    def wait_listening(self, bound: float) -> None:
        """Wait until its port answers; raises RuntimeError if the script ends before."""
        wait_until(self._listens, f"port {self.port}", bound)

    def _listens(self) -> bool:
        if self.child.process.poll() is not None:
            self._stopped = True
            raise RuntimeError(f"the script ended with {self.child.process.returncode}:\n{self.stdout}{self.stderr}")
        return listens(self.port)

    def _expected(self, line: str) -> bool:
        return self._stderr_may is not None and re.search(self._stderr_may, line) is not None


def start_script(
    target: str | Path,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stderr_may: str | None = None,
    bound: float = 15,
) -> Script:
    """Start a file or a module (a name with no `.py`) with a free `PORT`, and wait until it listens.

    `folder` takes its log files; `cwd` is the file's own folder unless told. Lines on stderr that match
    `stderr_may` are expected. Raises RuntimeError, with what it wrote, if it ends before it listens.
    """
    port = free_port()
    is_file = str(target).endswith(".py")
    command = [sys.executable, *([str(Path(target).resolve())] if is_file else ["-m", str(target)]), *arguments]
    where = cwd or (Path(target).resolve().parent if is_file else folder)
    script = Script(spawn(command, where, folder, {"PORT": str(port), **(environment or {})}), port, stderr_may)
    try:
        script.wait_listening(bound)
    except TimeoutError:
        script.child.process.kill()
        raise
    return script


def free_port() -> int:
    """A port on 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
