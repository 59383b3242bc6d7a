"""A real JupyterHub: configurable-http-proxy in front, a server of its own for each user."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from playwright.sync_api import Page

from .jupyter import SETTINGS
from .notebook import Notebook, write_notebook
from .processes import Child, spawn
from .scripts import free_port
from .timeouts import milliseconds, seconds, wait_until

LOCAL = Path(sys.prefix) / "hub" / "node_modules" / ".bin" / "configurable-http-proxy"  # See `make hub`
PASSWORD = "only for this test"

CONFIG = """
import sys
c.JupyterHub.bind_url = {url!r}
c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{hub}'
c.JupyterHub.db_url = 'sqlite:///{home}/hub.sqlite'
c.JupyterHub.cookie_secret_file = '{home}/cookie_secret'
c.ConfigurableHTTPProxy.command = {proxy!r}
c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{api}'
c.ConfigurableHTTPProxy.pid_file = '{home}/proxy.pid'
c.ConfigurableHTTPProxy.check_running_interval = 5
c.JupyterHub.authenticator_class = 'dummy'
c.DummyAuthenticator.password = {password!r}
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = 'simple'
c.SimpleLocalProcessSpawner.home_dir_template = '{home}/{{username}}'
c.Spawner.cmd = [sys.executable, '-m', 'tests.lean', 'jupyterhub.singleuser']
c.Spawner.args = ['--allow-root', '--LabApp.news_url=None', '--LabApp.expose_app_in_browser=True',
                  '--LabApp.extension_manager=readonly']
c.Spawner.default_url = '/lab'
c.Spawner.env_keep = {keep!r}
c.Spawner.http_timeout = {patience}  # The default is 30
"""


def proxy_command() -> list[str] | None:
    """Where configurable-http-proxy is, if it is."""
    found = str(LOCAL) if LOCAL.exists() else shutil.which("configurable-http-proxy")
    return [found] if found and shutil.which("node") else None


class Hub:
    """A running hub; `url` ends with a slash."""

    def __init__(self, home: Path) -> None:
        """Start it in an empty folder and wait until its login page answers."""
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        keep = ["PATH", "LANG", "LC_ALL", "PYTHONPATH", "NBWS_E2E_MARK", "VIRTUAL_ENV"]
        config = home / "jupyterhub_config.py"
        config.write_text(
            CONFIG.format(
                url=self.url,
                hub=free_port(),
                api=free_port(),
                home=home,
                proxy=proxy_command(),
                password=PASSWORD,
                keep=keep,
                patience=round(seconds(60)),
            )
        )
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "tests.lean", "jupyterhub", "-f", str(config)]
        self.child: Child = spawn(command, home, home, {"PATH": path})
        wait_until(self._answers, "the hub", 30)

    def _answers(self) -> bool:
        if self.child.process.poll() is not None:
            raise RuntimeError(f"the hub ended at once:\n{self.log()}")
        try:
            return urllib.request.urlopen(f"{self.url}hub/login", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        """What the hub, its proxy and the users' servers said."""
        return self.child.stderr.read_text(errors="replace")

    def proxy(self) -> psutil.Process:
        """The process of configurable-http-proxy."""
        return psutil.Process(int((self.home / "proxy.pid").read_text()))

    def replaced(self, proxy: psutil.Process) -> bool:
        """Whether another proxy runs by now; until then the file names one that is gone, or is not there."""
        try:
            return self.proxy() != proxy
        except (psutil.Error, FileNotFoundError, ValueError):
            return False

    def user(self, page: Page, name: str) -> User:
        """Log in as a person does, and wait for the person's server."""
        home = self.home / name
        overrides = home / ".jupyter" / "labconfig" / "default_setting_overrides.json"
        overrides.parent.mkdir(parents=True)
        overrides.write_text(json.dumps(SETTINGS))
        page.goto(f"{self.url}hub/login")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**/user/{name}/**", timeout=milliseconds(60))
        return User(self, name, home)

    def stop(self) -> list[str]:
        """End everything, and return what was left.

        A hub that ends and looks after its proxy at the same moment starts a new one: that one is ended here.
        """
        self.child.stop(bound=30)
        try:
            self.proxy().kill()
        except (psutil.Error, FileNotFoundError):
            pass
        return [f"left behind by the hub: {command}" for command in self.child.stragglers(bound=10)]


class User:
    """A person's server, as far as `Notebook` wants to know it."""

    def __init__(self, hub: Hub, name: str, root: Path) -> None:
        """For a person who has logged in."""
        self.hub, self.name, self.root = hub, name, root
        self.url = f"{hub.url}user/{name}/"

    def notebook_url(self, path: str) -> str:
        """The address that opens a notebook."""
        return f"{self.url}lab/tree/{path}?reset"

    def restart(self, page: Page) -> None:
        """Stop the person's server, and with it its kernels, and start another, by the buttons of the hub's page."""
        page.goto(f"{self.hub.url}hub/home")
        page.get_by_role("button", name="Stop My Server").click()
        page.get_by_role("button", name="Start My Server").click(timeout=milliseconds(30))
        page.wait_for_url(f"**/user/{self.name}/**", timeout=milliseconds(60))
        page.close()

    def open(self, page: Page, cells: Any, output: Path) -> Notebook:
        """Open a copy of a notebook, or one with these cells."""
        if isinstance(cells, Path):
            path = Path(shutil.copy(cells, self.root))
        else:
            path = write_notebook(self.root / "notebook.ipynb", cells)
        return Notebook(page, self, path, output)  # type: ignore[arg-type]
