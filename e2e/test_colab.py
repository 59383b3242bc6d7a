"""The chat in a stand-in for Colab: a foreign output frame, its proxy without upgrades, a kernel without subshells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient
from playwright.sync_api import BrowserContext, expect

from .colab import Colab
from .kernels import kernel, restart
from .sockets import connected
from .test_channel import CELLS, first_visit, says, shows
from .timeouts import milliseconds, seconds

pytestmark = pytest.mark.timeout(seconds(120))
OLD = "6.17.1"  # Colab's
INSTALLED = Path(sys.prefix) / "ipykernels" / OLD


def old_ipykernel() -> str:
    """The folder with it, alone."""
    if not (INSTALLED / "ipykernel_launcher.py").exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(INSTALLED)]
        subprocess.run([*pip, f"ipykernel=={OLD}"], check=True, timeout=seconds(60), capture_output=True)
    return str(INSTALLED)


@pytest.fixture
def colab() -> Iterator[Colab]:
    """The output frame, and the way to ports."""
    made = Colab()
    yield made
    made.close()


def run(client: BlockingKernelClient, code: str) -> str:
    """Run a cell; the HTML that it shows."""
    shown: list[str] = []

    def heard(message: dict) -> None:
        if message["msg_type"] == "display_data":
            shown.append(message["content"]["data"].get("text/html", ""))

    reply = client.execute_interactive(code, output_hook=heard, timeout=seconds(20), allow_stdin=False)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(shown)


def test_the_chat(colab: Colab, new_context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """Sockets by requests, also while a cell computes; a session; a cell run again; a kernel that starts again; a
    saved output."""
    with kernel(tmp_path, path=old_ipykernel(), COLAB_RELEASE_TAG="release-colab", PORT="0") as [client]:
        for cell in CELLS[:4]:
            colab.html = run(client, cell)
        assert run(client, f"import ipykernel\nassert ipykernel.__version__ == {OLD!r}") == ""
        outer = new_context().new_page()
        outer.goto(colab.url)
        frame = outer.locator("iframe")
        expect(frame).to_have_attribute("data-way", "colab", timeout=milliseconds(20))
        page = frame.content_frame
        first_visit(page)
        assert page.locator("body").evaluate("typeof nbwsLine") == "object"
        busy = client.execute(CELLS[4])
        says(page, "two")
        shows(page, ["first one", "first two"])
        page.get_by_role("button", name="ask").click()
        expect(page.locator("#asked")).to_have_text("asked")
        says(page, "done")
        while client.get_shell_msg(timeout=seconds(20))["parent_header"].get("msg_id") != busy:
            pass
        run(client, CELLS[2].replace("'first '", "'second '"))
        says(page, "three")
        shows(page, ["first one", "first two", "first done", "second three"])
        outer.reload()
        expect(page.locator("#visit")).to_have_text("visit 2", timeout=milliseconds(20))
        connected(page)
        restart(client)
        expect(page.locator("nbws-status [role=status]")).to_contain_text("reconnecting", timeout=milliseconds(60))
        for cell in CELLS[:4]:
            colab.html = run(client, cell)
        outer.reload()
        expect(page.locator("#visit")).to_have_text("visit 3", timeout=milliseconds(20))
        connected(page)
        says(page, "four")
        shows(page, ["first four"])
        outer.goto(colab.url + "?saved")
        expect(outer.get_by_text("Run this cell to see the page.")).to_be_visible()
        expect(frame).to_be_hidden()
