"""Under a real JupyterHub: alice's page works, bob stays outside, and a proxy that was killed is forgiven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .hub import Hub, proxy_command
from .promises import promised
from .test_proxy import NOTEBOOK, chat, until_it_passes
from .timeouts import milliseconds, seconds, wait_until

NewContext = Callable[..., BrowserContext]

pytestmark = [
    pytest.mark.skipif(proxy_command() is None, reason="no configurable-http-proxy: `make hub` needs npm"),
    pytest.mark.timeout(seconds(240)),
]


SOCKET = """url => new Promise(done => { const s = new WebSocket(url.replace('http', 'ws') + 'ws')
    s.onopen = () => done('open'); s.onerror = () => done('refused') })"""


def test_alice_and_bob(hub: Hub, new_context: NewContext, output_path: str) -> None:
    """The chat notebook as it stands; two frames and a tab; bob; the proxy away."""
    page = new_context().new_page()
    alice = hub.user(page, "alice")
    nb = alice.open(page, NOTEBOOK, Path(output_path))
    url, tab = chat(nb, alice.url)
    assert promised(tab, SOCKET, url) == "open"

    bobs = new_context().new_page()
    hub.user(bobs, "bob")
    stay_outside(bobs, url)
    stay_outside(new_context().new_page(), url, login=True)

    proxy = hub.proxy()
    proxy.kill()
    wait_until(lambda: gone(proxy), "the end of the proxy")
    wait_until(lambda: hub.replaced(proxy) and hub._answers(), "the hub's new proxy", 30)
    until_it_passes(tab, "after the proxy was away")


def stay_outside(page: Page, url: str, login: bool = False) -> None:
    """By opening it, by asking for it, by a form and by a socket."""
    answer = page.goto(url)
    assert answer
    if login:
        assert "/hub/login" in page.url
    else:
        assert answer.status in (403, 404)
    page.goto(url.partition("/user/")[0] + "/hub/login" if login else url.partition("/user/")[0] + "/hub/home")
    expect(page.locator("body")).to_be_visible(timeout=milliseconds(10))
    asked = "url => fetch(url, {method: 'POST', redirect: 'manual'}).then(a => a.status)"
    assert page.evaluate(asked, url) in (403, 404)
    assert page.evaluate("url => fetch(url, {redirect: 'manual'}).then(a => a.status)", url) in (0, 403, 404)
    assert promised(page, SOCKET, url) == "refused"


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; the hub may not have looked yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
