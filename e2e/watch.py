"""What a browser did besides what a test looked at: network, console, uncaught errors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, WebError, WebSocket

EXTERNAL = re.compile(r"^(?:https?|wss?)://(?!(?:127\.0\.0\.1|localhost)(?::\d+)?(?:/|$))")

# JupyterLab's own scripts; what they throw (say, when a kernel restarts) is not ours to judge.
FRONT_END = re.compile(r"/(?:static/(?:lab|notebook)|lab/extensions|static/components)/")


@dataclass  # without slots: Playwright notes its wrapped callbacks on the object
class BrowserWatch:
    """All contexts of a test report here. `external`: addresses outside this machine that a page asked for.

    `page_errors`: uncaught errors of pages and frames that are not Jupyter's own. `console`: all messages.
    """

    external: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    front_end_errors: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def attach(self, context: BrowserContext) -> None:
        """Watch a context. What is not on this machine it cannot reach: see `chromium.ARGUMENTS`."""
        context.on("requestfailed", self._note_request)  # a route would stop every local request for a while
        context.on("page", self._watch_page)
        context.on("weberror", self._note_error)
        context.on("console", self._note_console)
        for page in context.pages:
            self._watch_page(page)

    def detach(self, context: BrowserContext) -> None:
        """Watch it no longer: it goes on for another test, or is closed."""
        context.remove_listener("requestfailed", self._note_request)
        context.remove_listener("page", self._watch_page)
        context.remove_listener("weberror", self._note_error)
        context.remove_listener("console", self._note_console)
        for page in context.pages:
            page.remove_listener("websocket", self._note_websocket)
            page.remove_listener("crash", self._note_crash)

    def complaints(self, allowed_external: tuple[str, ...] = (), allowed_errors: tuple[str, ...] = ()) -> list[str]:
        """What a test has to answer for, apart from what matches an allowed pattern."""
        external = _without(self.external, allowed_external)
        errors = _without(self.page_errors, allowed_errors)
        return [f"external request: {url}" for url in external] + [f"uncaught in a page: {text}" for text in errors]

    def report(self) -> str:
        """All that was seen, as text."""
        named = {
            "external requests": self.external,
            "uncaught errors": self.page_errors,
            "uncaught errors of the front end": self.front_end_errors,
            "console": self.console,
        }
        return "".join(f"# {name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in named.items())

    def _note_request(self, request: Request) -> None:
        if EXTERNAL.match(request.url):
            self.external.append(request.url)

    def _watch_page(self, page: Page) -> None:
        page.on("websocket", self._note_websocket)  # a socket is no request
        page.on("crash", self._note_crash)

    def _note_crash(self, page: Page) -> None:
        self.page_errors.append(f"the tab crashed: {page.url}")

    def _note_websocket(self, websocket: WebSocket) -> None:
        if EXTERNAL.match(websocket.url):
            self.external.append(websocket.url)

    def _note_error(self, error: WebError) -> None:
        url = error.location["url"]
        text = f"{error.error.name}: {error.error.message} ({url}:{error.location['line']})\n{error.error.stack or ''}"
        (self.front_end_errors if FRONT_END.search(url) else self.page_errors).append(text.rstrip())

    def _note_console(self, message: ConsoleMessage) -> None:
        where = message.location
        self.console.append(f"{message.type}: {message.text} ({where['url']}:{where['lineNumber']})")


def _without(texts: list[str], allowed: tuple[str, ...]) -> list[str]:
    return [text for text in texts if not any(re.search(pattern, text) for pattern in allowed)]
