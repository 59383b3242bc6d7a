"""What an open page keeps through whatever happens to the line, the server, the kernel and the cells behind it.

One page stays open in each front end, and all that can happen there happens to it, one after the other:

                        JupyterLab  Notebook 7  JupyterHub  nginx, a script  a script
    asleep for 6 s          x           x           x              x             x
    asleep for 14 s         x           x           x              x             x
    network cut for 5 s     x           x           x              x             x
    page's cell again       x           x           x         a script has no cells
    app's cell again        x           x           x         a script has no cells
    kernel restarted        x           x           x         a script has no kernel
    server restarted        x           x           x              x             x

After each of them, what was typed stands in the box, the list is there, what somebody else says and has said meanwhile
arrives once, and what the page sends arrives, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect

from .conftest import EVIDENCE, settle
from .hub import Hub, proxy_command
from .jupyter import JupyterServer, JupyterSettings
from .nginx import Nginx, nginx_command
from .notebook import Notebook
from .relay import Relay
from .scripts import Script
from .sockets import connected
from .test_proxy import address
from .timeouts import seconds

Open = Callable[..., Notebook]
Run = Callable[..., Script]
Shown = Page | FrameLocator

pytestmark = pytest.mark.timeout(seconds(300))

# A page is alive a second after the network or the server is back. That is what an idle machine shows, and what is
# printed; a machine whose cores are shared gets three, and `NBWS_TEST_TIMEOUT_SCALE` times as much.
ALIVE = 3

APP = """
from nbws.common import *
app, rt = fast_app(exts='ws')
people = app.room('people', history=20)
"""
PAGE = """
@rt('/')
def home():
    form = Form(Input(name='msg', id='msg', aria_label='message'), ws_send=True)
    wave = Button('wave', name='msg', value='wave', ws_send=True)
    return Titled('first', Ul(id='said'), form, wave, hx_ext='ws', ws_connect='/ws')
"""
SOCKET = """
@app.ws('/ws', conn=people.join)
async def said(msg: str): people.send(Ul(Li(msg), hx_swap_oob='beforeend:#said'))
"""
SCRIPT = APP + PAGE + SOCKET + "serve()\n"
CONNECTED = "() => document.querySelector('[ws-connect]')?.['htmx-internal-data']?.webSocket?.socket?.readyState === 1"
CELLS = [APP, PAGE, SOCKET, "serve()"]
SERVES = 3


@dataclass
class Front:
    """An open page behind a network that can break, and somebody else, whose network is fine."""

    page: Page
    network: Relay
    other: Callable[[], Shown]
    texts: list[str] = field(default_factory=list)

    def through(self, event: str, happens: Callable[[], None]) -> None:
        """Let something happen, and look at the page as its person does."""
        typed = f"half typed before {event}"
        self.page.get_by_label("message").fill(typed)
        happens()
        back = time.monotonic()
        self.page.wait_for_function(CONNECTED, polling=20)  # It may be going to another address
        took = time.monotonic() - back
        connected(self.other())
        back = time.monotonic()
        self.tell(f"after {event}")
        self.shows()
        took += time.monotonic() - back
        print(f"{event}: alive after {took:.2f} s")
        assert took < seconds(ALIVE)
        self.page.get_by_role("button", name="wave").click()
        self.texts.append("wave")
        self.shows()
        expect(lines(self.other()).last).to_have_text("wave")
        expect(self.page.get_by_label("message")).to_have_value(typed)

    def tell(self, text: str) -> None:
        """Somebody else says something."""
        box = self.other().get_by_label("message")
        box.fill(text)
        box.press("Enter")
        self.texts.append(text)

    def shows(self) -> None:
        """The page has the whole list, and everything in it once."""
        expect(lines(self.page)).to_have_text(self.texts)

    def sleep(self, event: str, number: float) -> None:
        """The laptop sleeps: no script of its page runs, no packet passes, and nobody is told."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Debugger.enable")
        session.send("Debugger.pause")
        self.network.hold()
        self.tell(f"while {event}")
        time.sleep(number)
        self.network.release()
        session.send("Debugger.resume")
        session.detach()

    def cut(self, event: str) -> None:
        """The network is away, and says so."""
        self.network.cut()
        self.tell(f"while {event}")
        time.sleep(5)
        self.network.open = True

    def goes_through(self, own: dict[str, Callable[[], None]]) -> None:
        """Everything that can happen to every page, then what this front end has."""
        connected(self.page, self.other())
        self.tell("before")
        self.shows()
        for number in (6, 14):
            event = f"asleep for {number} s"
            self.through(event, lambda event=event, number=number: self.sleep(event, number))
        self.through("network cut for 5 s", lambda: self.cut("network cut for 5 s"))
        for event, happens in own.items():
            self.through(event, happens)
        self.page.goto("about:blank")


def lines(page: Shown) -> Locator:
    """What was said."""
    return page.locator("#said li")


@contextmanager
def network_to(port: int) -> Iterator[Relay]:
    """A network of the test's own."""
    network = Relay(port)
    try:
        yield network
    finally:
        network.close()


def in_notebook(nb: Notebook, restart_server: Callable[[], None], token: str = "") -> None:
    """The notebook's page in a tab of its own, and the cell's iframe as somebody else."""
    nb.run_all()
    parts = urlsplit(address(nb, SERVES))
    with network_to(parts.port or 0) as network:
        page = nb.page.context.new_page()
        page.goto(urlunsplit(parts._replace(netloc=f"127.0.0.1:{network.port}", query=token)))
        front = Front(page, network, lambda: nb.frame(SERVES))

        def page_cell() -> None:
            nb.edit(1, PAGE.replace("first", "second"))
            expect(page.get_by_role("heading")).to_have_text("second")

        def kernel() -> None:
            nb.restart()
            nb.run_all()

        def server() -> None:
            restart_server()
            nb.page.bring_to_front()
            nb.reload()
            nb.run_all()

        front.goes_through({
            "page's cell again": page_cell,
            "app's cell again": lambda: nb.run(0),
            "kernel restarted": kernel,
            "server restarted": server,
        })


@pytest.mark.fresh_page
@pytest.mark.allow_jupyter_log("received signal 15, stopping")
@pytest.mark.parametrize(
    "jupyter",
    [
        pytest.param(JupyterSettings(environment=(("RESTARTED", "yes"),)), id="lab"),
        pytest.param(JupyterSettings("notebook", "/user/alice/", environment=(("RESTARTED", "yes"),)), id="notebook"),
    ],
    indirect=True,
)
def test_in_jupyter(open_notebook: Open, jupyter: JupyterServer) -> None:
    """In a kernel of one's own Jupyter."""
    in_notebook(open_notebook(CELLS), jupyter.restart, f"token={jupyter.token}")


@pytest.mark.skipif(proxy_command() is None, reason="no configurable-http-proxy: `make hub` needs npm")
def test_under_jupyterhub(hub: Hub, page: Page, output_path: str) -> None:
    """In a kernel of a person's server."""
    alice = hub.user(page, "alice")
    in_notebook(alice.open(page, CELLS, Path(output_path)), lambda: alice.restart(page.context.new_page()))


@pytest.fixture
def script(run_script: Run, tmp_path: Path) -> Callable[[], Script]:
    """Run the app as it is served to the world; who is silent for ten seconds is left."""
    (tmp_path / "chat.py").write_text(SCRIPT)
    return lambda: run_script("nbws", "run", "chat.py", "--request-timeout", "10", cwd=tmp_path)


def at_script(script: Callable[[], Script], page: Page, front_door: Callable[[Relay], Relay | Nginx]) -> None:
    """A script's page, and another one that asks it at its own port."""
    running = script()
    with network_to(running.port) as inner:  # It keeps its port, whatever the script's next one is
        door = front_door(inner)
        with network_to(door.port) as network:
            page.goto(f"http://127.0.0.1:{network.port}/")
            other = page.context.new_page()
            other.goto(f"http://127.0.0.1:{inner.port}/")

            def restart() -> None:
                running.stop()
                inner.target = script().port

            Front(page, network, lambda: other).goes_through({"server restarted": restart})
            other.goto("about:blank")


def test_at_a_script(script: Callable[[], Script], page: Page) -> None:
    """`nbws run`."""
    at_script(script, page, lambda inner: inner)


@pytest.mark.skipif(nginx_command() is None, reason="no nginx: `make nginx` takes Debian's")
def test_behind_nginx(
    script: Callable[[], Script], page: Page, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """`nbws run` behind nginx."""
    started: list[Nginx] = []

    def front_door(inner: Relay) -> Nginx:
        started.append(Nginx(inner.port, tmp_path_factory.mktemp("nginx")))
        return started[0]

    left: list[str] = []
    try:
        at_script(script, page, front_door)
    finally:
        for nginx in started:
            left += nginx.stop()
            request.node.stash.setdefault(EVIDENCE, {})["nginx.log"] = nginx.log()
    settle(left)
