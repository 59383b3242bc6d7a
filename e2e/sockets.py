"""Wait for a page's socket: who connects after a message was sent has missed it, and the page may not show it."""

from __future__ import annotations

from playwright.sync_api import FrameLocator, Page

from .promises import promised

OPEN = """element => new Promise(resolve => {
    const look = () => (%s)?.readyState === 1 ? resolve() : setTimeout(look, 10)
    look()
})"""


def connected(*pages: Page | FrameLocator) -> None:
    """Wait until the htmx socket of each page is open."""
    for page in pages:
        promised(page.locator("[ws-connect]").first, OPEN % "element['htmx-internal-data']?.webSocket?.socket")


def own_socket_opens(page: Page | FrameLocator) -> None:
    """Wait for the `socket` of Tremolo's chat page, whose button sends even before it is open."""
    promised(page.locator("#messages"), OPEN % "window.socket")
