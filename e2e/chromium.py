"""Find Chromium and start it so that it talks to nobody but this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Route

# The same engine without a window's machinery: JupyterLab loads with a third less CPU time.
SHELL = "chromium-headless-shell"
NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
)


def launch_arguments(playwrights_own: str, headed: bool = False) -> dict[str, Any]:
    """Arguments for Playwright's `launch`: its own browser where it was installed, else the system's.

    Raises FileNotFoundError where there is neither.
    """
    options: dict[str, Any] = {"args": list(ARGUMENTS)}
    if not Path(playwrights_own).exists():
        found = next(filter(None, map(shutil.which, NAMES if headed else (SHELL, *NAMES))), None)
        if found is None:
            raise FileNotFoundError("no Chromium: run `playwright install chromium`, or install the system's package")
        options["executable_path"] = found
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options["args"].append("--no-sandbox")  # Chromium refuses to run as root with its sandbox
    return options


def reach_only(context: BrowserContext, url: str) -> None:
    """Let pages reach no other port of this machine than what begins with `url`."""

    def refuse(route: Route) -> None:
        if route.request.url.startswith(url):
            route.continue_()
        else:
            route.abort()

    context.route(re.compile(r"^http://127\.0\.0\.1:\d+/"), refuse)
