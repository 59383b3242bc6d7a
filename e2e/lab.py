"""A JupyterLab that is loaded once: loading it anew for each test would be most of what the tests do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from .jupyter import JupyterServer
from .timeouts import milliseconds

STORED = "() => [localStorage, sessionStorage].map(storage => ({...storage}))"

# The launcher stays, so that JupyterLab never finds its main area empty and opens another one.
CLEAR = """stored => {
    for (const widget of [...jupyterapp.shell.widgets('main')]) if (widget.context) widget.dispose();
    for (const [storage, items] of [[localStorage, stored[0]], [sessionStorage, stored[1]]]) {
        for (const name of Object.keys(storage)) if (!(name in items)) storage.removeItem(name);
        for (const [name, value] of Object.entries(items)) storage.setItem(name, value);
    }
    for (const name of Object.keys(window)) if (name.startsWith('nbws')) delete window[name];
    const tabs = [...jupyterapp.shell.widgets('main')].length;
    return tabs === 1 && document.querySelector('iframe, .jp-Dialog, .jp-NotebookPanel, .jp-Document') === null;
}"""


class Lab:
    """A page with JupyterLab and no document, in a context of its own."""

    def __init__(self, context: BrowserContext, server: JupyterServer) -> None:
        """An empty page; `load` comes next."""
        self.context, self.server = context, server
        self.page: Page = context.new_page()
        self.loaded = False

    def load(self) -> None:
        """Load JupyterLab, if that has not been done."""
        if self.loaded:
            return
        self.page.goto(self.server.lab_url, wait_until="commit")
        self.page.locator(".jp-Launcher").wait_for(timeout=milliseconds(30))
        self._cookies = self.context.cookies()
        self._stored = self.page.evaluate(STORED)
        self.loaded = True

    def clear(self) -> bool:
        """Take away what a test left: tabs, documents, cookies, stored items, routes. Whether all is as it was."""
        for page in self.context.pages:
            if page is not self.page:
                page.close()
        before = {_key(cookie) for cookie in self._cookies}
        for cookie in self.context.cookies():
            if _key(cookie) not in before:
                name, domain, path = _key(cookie)
                self.context.clear_cookies(name=name, domain=domain, path=path)
        self.context.add_cookies(self._cookies)  # type: ignore[arg-type]
        self.context.unroute_all()
        self.page.unroute_all()
        self.page.bring_to_front()
        return bool(self.page.evaluate(CLEAR, self._stored))


class Labs:
    """The Lab of a session, one at a time: another server's takes the place of the one before."""

    def __init__(self, new_context: Callable[[], BrowserContext], failed: Callable[[pytest.Item], bool]) -> None:
        self._new_context, self._failed = new_context, failed
        self._lab: Lab | None = None
        self._user: pytest.Item | None = None

    def take(self, server: JupyterServer, item: pytest.Item) -> Lab:
        """A Lab for this test: the one that is there, unless the test before failed after it gave it back."""
        if self._lab and (self._lab.server is not server or (self._user and self._failed(self._user))):
            self.close()
        self._lab, self._user = self._lab or Lab(self._new_context(), server), item
        return self._lab

    def give_back(self, lab: Lab) -> None:
        """The test is over. Where it failed, nothing is tried with its page."""
        if not lab.loaded or (self._user and self._failed(self._user)) or not lab.clear():
            self.close()

    def close(self) -> None:
        """Close the browser's window, if there is one."""
        lab, self._lab = self._lab, None
        if lab:
            lab.context.close()


def _key(cookie: object) -> tuple[str, str, str]:
    return cookie["name"], cookie["domain"], cookie["path"]  # type: ignore[index]
