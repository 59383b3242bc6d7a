"""A real Jupyter server with JupyterLab or Notebook 7, in a process and folders of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from .processes import Child, listens, spawn
from .timeouts import seconds, wait_until

FrontEnd = Literal["lab", "notebook"]

# All cells stay in the page, nothing is fetched or pops up, and nothing is saved behind a test's back.
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/apputils-extension:notification": {
        "checkForUpdates": False,
        "fetchNews": "false",
        "doNotDisturbMode": True,
    },
}

FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "IPYTHONDIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
)

# A kernel that has to be killed is a bug of ours, so killing comes long after a test has given up.
KERNEL_ENDS_WITHIN = 5
KILLED_AFTER = 30

# What the kernels do first, in the user's namespace, so it leaves no name there. One in some hundred sends output
# when the thread that would pass it on is just ending (ipykernel 7.4: `Kernel.process_control` beside
# `IPKernelApp.close`): it waits for `flush_timeout`, else 10 s, or for ever, until it is killed. Here it gives up soon.
# A kernel that hangs all the same is asked for its threads' stacks.
KERNEL_START = """exec('''
import faulthandler, os, signal, zmq
from ipykernel.iostream import IOPubThread, OutStream

def schedule(self, function, schedule=IOPubThread.schedule):
    try:
        if self.thread.is_alive(): self._event_pipe.sndtimeo = 1000
        schedule(self, function)
    except zmq.ZMQError: pass

IOPubThread.schedule, OutStream.flush_timeout = schedule, 2
faulthandler.register(signal.SIGUSR1, open(os.path.join(os.environ["NBWS_TEST_STACKS"], str(os.getpid())), "w"))
''', {})
"""

TROUBLE = re.compile(
    r"^\[[EC] |\b(ERROR|CRITICAL)\b|Traceback \(most recent call last\)"
    r"|exception was never retrieved|was never awaited|Task was destroyed|ResourceWarning|^Exception "
)

# What Jupyter itself says in the best of worlds: it does not look whether a page that it writes to has just left, nor
# await it; a kernel that is shut down in the middle of a cell cannot answer any more; one that has just started may be
# asked before its control thread has its lock (Python 3.10, which has no ipykernel that knows better); and JupyterLab
# may ask for all kernels while one starts (findings/jupyter-server-list-while-a-kernel-starts.sh).
NOISE = re.compile(
    r"^\[E [^\n]*\] (?:Uncaught exception in (?:ZMQS|zmqs)tream callback|Exception in callback [^\n]*ZMQStream)[^\n]*\n"
    r" +Traceback(?:(?!^\[).)+?^ +tornado\.websocket\.WebSocketClosedError$"
    r"|^Exception in callback BaseAsyncIOLoop\._handle_events[^\n]*\nhandle: [^\n]*\n"
    r"Traceback(?:(?!^\[).)+?^tornado\.websocket\.WebSocketClosedError$"
    r"|^Task exception was never retrieved\n[^\n]*WebSocketProtocol13\.write_message[^\n]*\n"
    r"Traceback(?:(?!^\[).)+?^tornado\.websocket\.WebSocketClosedError$"
    r"|^\[IPKernelApp\] ERROR \| Exception in message handler:\n"
    r"Traceback(?:(?!^\[).)+?^zmq\.error\.ZMQError: Socket operation on non-socket$"
    r"|^ERROR:tornado\.general:Uncaught exception in ZMQStream callback\n"
    r"Traceback(?:(?!^(?:\[|ERROR)).)+?^traitlets\.traitlets\.TraitError: The '_control_lock' trait[^\n]*$"
    r"|^\[E [^\n]*\] Uncaught exception GET [^\n]*/api/kernels\b[^\n]*\n(?:(?!^\[).)+?"
    r"^ +traitlets\.traitlets\.TraitError: The 'last_activity' trait [^\n]* NoneType None\.\n"
    r"(?:^\[W [^\n]*\n)?^\[E [^\n]*\] \{\n(?:(?!^\[).)+?^\[E [^\n]*\] 500 GET [^\n]*/api/kernels\b[^\n]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class JupyterSettings:
    """What a Jupyter server is started with. Servers with equal settings are shared by all tests of a session."""

    front_end: FrontEnd = "lab"
    base_url: str = "/"
    flags: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


# Servers that tests may start again: nobody else's kernels run there.
RESTARTED_LAB = JupyterSettings(environment=(("RESTARTED", "yes"),))
RESTARTED_NOTEBOOK = JupyterSettings("notebook", "/user/alice/", environment=(("RESTARTED", "yes"),))


class JupyterServer:
    """A running server. `root` is its folder of notebooks, `url` ends with the base URL."""

    def __init__(self, settings: JupyterSettings, home: Path) -> None:
        """Start the server in the empty folder `home` and wait until it listens."""
        self.settings, self.home, self.root = settings, home, home / "root"
        # Where the server and the kernels leave connection files, and sockets, whose paths have to be short
        self.runtime_folder = Path(tempfile.mkdtemp(prefix="nbws-", dir="/tmp"))
        self.token, self.port, self._earlier = secrets.token_hex(16), 0, b""
        self.child: Child = spawn(self._command(), self.root, home, self._environment())
        self.url: str = wait_until(self._listening, "Jupyter server", 30)["url"]

    def _command(self) -> list[str]:
        module = "jupyterlab" if self.settings.front_end == "lab" else "notebook"
        flags = [
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.base_url={self.settings.base_url}",
            "--LabApp.news_url=None",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            f"--KernelManager.shutdown_wait_time={seconds(KILLED_AFTER)}",
            "--KernelManager.transport=ipc",  # A port that Jupyter looks for may be taken when the kernel comes to it
        ]
        if self.settings.front_end == "notebook":
            flags.append("--JupyterNotebookApp.expose_app_in_browser=True")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--allow-root")
        return [sys.executable, "-m", "tests.lean", module, *flags, *self.settings.flags]

    def _environment(self) -> dict[str, str]:
        folders = {name: self.home / name.lower() for name in FOLDERS}
        for folder in (self.root, *folders.values()):
            folder.mkdir(exist_ok=True)
        overrides = folders["JUPYTER_CONFIG_DIR"] / "labconfig" / "default_setting_overrides.json"
        overrides.parent.mkdir(exist_ok=True)
        overrides.write_text(json.dumps(SETTINGS))
        startup = folders["IPYTHONDIR"] / "profile_default" / "startup" / "flush.py"
        startup.parent.mkdir(parents=True, exist_ok=True)
        startup.write_text(KERNEL_START)
        self.stacks.mkdir(exist_ok=True)
        ours = {name: str(folder) for name, folder in folders.items()}
        ours["JUPYTER_RUNTIME_DIR"] = str(self.runtime_folder)
        return {**ours, "NBWS_TEST_STACKS": str(self.stacks), **dict(self.settings.environment)}

    def _listening(self) -> dict[str, Any] | None:
        if self.child.process.poll() is not None:
            raise RuntimeError(f"the Jupyter server ended at once:\n{self.log()}")
        return listening_server(self.runtime_folder / f"jpserver-{self.child.process.pid}.json")

    def restart(self) -> None:
        """End the server, and with it its kernels, and start another in the same place: port, folders and token."""
        self.port = urlsplit(self.url).port or 0
        self.child.stop(bound=2 * KILLED_AFTER)
        self._earlier += self.child.stderr.read_bytes()
        self.child = spawn(self._command(), self.root, self.home, self._environment())
        self.url = wait_until(self._listening, "Jupyter server", 30)["url"]

    @property
    def stacks(self) -> Path:
        """Where kernels write what their threads do when asked by SIGUSR1, each in a file called by its pid."""
        return self.home / "stacks"

    def notebook_url(self, path: str) -> str:
        """The address that opens a notebook, given relative to `root`, in the front end; it logs in."""
        page = "lab/tree" if self.settings.front_end == "lab" else "notebooks"
        return f"{self.url}{page}/{path}?reset&token={self.token}"

    @property
    def lab_url(self) -> str:
        """The address of JupyterLab with no document; it logs in."""
        return f"{self.url}lab?reset&token={self.token}"

    def api(self, path: str, method: str = "GET") -> Any:
        """Call Jupyter's REST API: `api('api/kernels')`. Returns the JSON, or None for an empty answer."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=seconds(KILLED_AFTER)) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def kernels(self) -> list[str]:
        """The ids of the kernels that run."""
        return [kernel["id"] for kernel in self.api("api/kernels")]

    def shut_kernels_down(self) -> list[str]:
        """End all kernels as a person would, and return what did not end by itself or was left behind."""
        complaints = []
        for kernel in self.kernels():
            began = time.monotonic()
            late = threading.Timer(seconds(KERNEL_ENDS_WITHIN), self._ask_for_stacks)
            late.start()
            self.api(f"api/kernels/{kernel}", "DELETE")
            late.cancel()
            late.join()
            if (took := time.monotonic() - began) > seconds(KERNEL_ENDS_WITHIN):
                stacks = "".join(path.read_text() for path in self.stacks.iterdir())
                complaints.append(f"kernel {kernel} took {took:.1f} s to end. Its threads before that:\n{stacks}")
        return complaints + [f"left behind by a kernel: {command}" for command in self.child.stragglers()]

    def _ask_for_stacks(self) -> None:
        for path in self.stacks.iterdir():
            with contextlib.suppress(OSError):  # most have ended
                if b"ipykernel" in Path(f"/proc/{path.name}/cmdline").read_bytes():
                    os.kill(int(path.name), signal.SIGUSR1)

    def log(self, start: int = 0) -> str:
        """What the server and its kernels wrote to the terminal, from a position in bytes on."""
        return (self._earlier + self.child.stderr.read_bytes())[start:].decode(errors="replace")

    def log_size(self) -> int:
        """The log's length in bytes, to read on from there later."""
        return len(self._earlier) + self.child.stderr.stat().st_size

    def stop(self) -> list[str]:
        """End the server and everything below it, and return what went wrong on the way."""
        start = self.log_size()
        code = self.child.stop(bound=2 * KILLED_AFTER)
        complaints = [f"left behind by Jupyter: {command}" for command in self.child.stragglers()]
        if code not in (0, -15):
            complaints.append(f"Jupyter's exit code is {code}")
        shutil.rmtree(self.runtime_folder)
        return complaints + trouble_in(self.log(start), ("received signal 15, stopping",))


def listening_server(file: Path) -> dict[str, Any] | None:
    """What a Jupyter server says of itself in its file, once it listens: it writes that file before it does."""
    try:
        server: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None  # not there yet, or half written
    return server if listens(server["port"]) else None


class JupyterServers:
    """The servers of a test session, one for each `JupyterSettings`, started when first asked for."""

    def __init__(self, new_folder: Any) -> None:
        self._new_folder = new_folder
        self._servers: dict[JupyterSettings, JupyterServer] = {}

    def get(self, settings: JupyterSettings) -> JupyterServer:
        """The server with these settings."""
        if settings not in self._servers:
            self._servers[settings] = JupyterServer(settings, self._new_folder())
        return self._servers[settings]

    def stop(self) -> list[str]:
        """End all of them, and return what went wrong."""
        return [complaint for server in self._servers.values() for complaint in server.stop()]


def trouble_in(log: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Lines of a log that tell of an error, apart from those that match an allowed pattern."""
    return [
        line
        for line in NOISE.sub("", log).splitlines()
        if TROUBLE.search(line) and not any(re.search(pattern, line) for pattern in allowed)
    ]
