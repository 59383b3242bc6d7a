"""A real marimo, whose notebook is a file that the test writes: `marimo edit` runs what has changed in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .processes import listens, spawn
from .scripts import free_port
from .timeouts import seconds, wait_until

VERSION = "0.25.2"
ROOT = Path(__file__).parent.parent
INSTALLED = Path(sys.prefix) / f"marimo-{VERSION}"  # It is nobody's dependency: once, beside the environment
CONFIGURATION = """[runtime]
auto_instantiate = true
watcher_on_save = "autorun"
"""
HEAD = "import marimo\napp = marimo.App()\n"
TAIL = "\nif __name__ == '__main__':\n    app.run()\n"


def installed() -> Path:
    """The folder with marimo."""
    if not (INSTALLED / "marimo").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(INSTALLED), f"marimo=={VERSION}"]
        subprocess.run(pip, check=True, timeout=seconds(120), capture_output=True)
    return INSTALLED


class Marimo:
    """A notebook in marimo, at `url`."""

    def __init__(self, file: Path, port: int) -> None:
        """The notebook stands in this file."""
        self.file, self.port, self.url = file, port, f"http://127.0.0.1:{port}/"

    def write(self, cells: Sequence[tuple[str, str]]) -> None:
        """Let the notebook have these cells: names, and code."""
        write_notebook(self.file, cells)


def write_notebook(file: Path, cells: Sequence[tuple[str, str]]) -> None:
    """A notebook as marimo saves it, but for what cells take and return, which it finds out itself."""
    texts = []
    for name, code in cells:
        body = "\n".join(f"    {line}" for line in code.splitlines())
        texts.append(f"\n@app.cell\ndef {name}():\n{body}\n    return\n")
    whole = file.with_suffix(".new")  # In one step: marimo reads it as soon as it changes, and would meet half of it
    whole.write_text(HEAD + "".join(texts) + TAIL)
    whole.replace(file)


@contextmanager
def marimo(folder: Path, cells: Sequence[tuple[str, str]], edit: bool = True) -> Iterator[Marimo]:
    """Start marimo with a notebook; with `edit` off, each browser gets a session of its own, which soon ends."""
    port = free_port()
    file = folder / "notebook.py"
    write_notebook(file, cells)
    (folder / "config/marimo").mkdir(parents=True)
    (folder / "config/marimo/marimo.toml").write_text(CONFIGURATION)
    path = os.pathsep.join([str(installed()), str(ROOT)])
    environment = {"PYTHONPATH": path, "XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder), "PORT": "0"}
    how = ["edit", "--watch", "--skip-update-check"] if edit else ["run", "--session-ttl", "1"]
    command = [sys.executable, "-m", "marimo", *how, "--headless", "--no-token"]
    child = spawn([*command, "--port", str(port), str(file)], folder, folder, environment)
    try:
        wait_until(lambda: listens(port), "marimo", 60)
        yield Marimo(file, port)
    finally:
        child.stop()
        child.stragglers()
