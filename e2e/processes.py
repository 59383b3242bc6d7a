"""Start child processes that can be found again, with all that they started, and ended for certain."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from .timeouts import seconds

REPOSITORY = Path(__file__).resolve().parent.parent

# Kernels and what they start get sessions of their own, but they all inherit this variable.
MARK = "NBWS_E2E_MARK"


def listens(port: int) -> bool:
    """Whether somebody does at this port of the machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started, its log files, and the mark that everything below it inherits."""

    process: subprocess.Popen[bytes]
    mark: str
    stdout: Path
    stderr: Path

    def family(self) -> list[psutil.Process]:
        """Everything that runs below this process, also what lost its parent on the way."""
        return [process for process in psutil.process_iter() if process.pid != self.process.pid and self._ours(process)]

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def stragglers(self, bound: float = 5) -> list[str]:
        """Wait for everything below to end; kill what is left after `bound` seconds and return its command lines."""
        _, alive = psutil.wait_procs(self.family(), timeout=seconds(bound))
        return [command for process in alive if (command := _kill(process))]

    def stop(self, number: signal.Signals = signal.SIGTERM, bound: float = 10) -> int:
        """Send the signal and return the exit code; raises TimeoutExpired, and kills, after `bound` seconds."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds(bound))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(seconds(bound))
            raise


def spawn(command: Sequence[str], cwd: Path, logs: Path, environment: Mapping[str, str]) -> Child:
    """Start a command that can import this checkout; both log files lie in `logs`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A test run started in the background of a shell ignores Ctrl+C, and children would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    mark = secrets.token_hex(8)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    full = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment, MARK: mark}
    stdout, stderr = logs / "stdout.log", logs / "stderr.log"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            list(command), cwd=cwd, env=full, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    return Child(process, mark, stdout, stderr)


def _kill(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
        process.kill()
        return f"{process.pid}: {command}"
    except psutil.NoSuchProcess:
        return ""
