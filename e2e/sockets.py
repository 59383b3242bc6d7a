"""Wait for a page's socket: who connects after a message was sent has missed it, and the page may not show it."""

from __future__ import annotations

from playwright.sync_api import FrameLocator, Page

from .timeouts import milliseconds

OPEN = """(element, bound) => new Promise((resolve, reject) => {
    const end = performance.now() + bound
    const look = () => {
        if ((%s)?.readyState === 1) resolve()
        else if (performance.now() > end) reject(new Error('no open socket within ' + bound + ' ms'))
        else setTimeout(look, 10)
    }
    look()
})"""


def connected(*pages: Page | FrameLocator) -> None:
    """Wait until the htmx socket of each page is open."""
    for page in pages:
        page.locator("[ws-connect]").first.evaluate(
            OPEN % "element['htmx-internal-data']?.webSocket?.socket", milliseconds(10)
        )


def own_socket_opens(page: Page | FrameLocator) -> None:
    """Wait for the `socket` of Tremolo's chat page, whose button sends even before it is open."""
    page.locator("#messages").evaluate(OPEN % "window.socket", milliseconds(10))
