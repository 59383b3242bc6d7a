"""The fixtures of the browser tests. pytest-playwright brings `browser`, `context` and `page`."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import lean  # noqa: F401  # before nbformat

import nbformat
import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, expect

from .chromium import launch_arguments
from .http_only import HttpOnlyProxy
from .hub import Hub
from .jupyter import FrontEnd, JupyterServer, JupyterServers, JupyterSettings, trouble_in
from .lab import Lab, Labs
from .notebook import Notebook, write_notebook
from .recorder import Recorder
from .scripts import Script, start_script
from .timeouts import milliseconds, seconds
from .watch import BrowserWatch

ARTEFACTS = Path(__file__).parent / "artefacts"

# Texts that a failed test leaves in its folder of artefacts, by file name.
EVIDENCE = pytest.StashKey[dict[str, str]]()
RECORDER = pytest.StashKey[Recorder]()
FAILED = pytest.StashKey[bool]()

MARKERS = (
    "allow_external(pattern): addresses outside this machine that the test's pages may ask for (they are refused)",
    "allow_page_error(pattern): uncaught errors of the app's pages that the test expects",
    "allow_jupyter_log(pattern): errors in Jupyter's log that the test expects",
    "fresh_page: the test's notebooks are opened in a new context, not in the JupyterLab that is loaded already",
)


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the bound of what is awaited in a page."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    expect.set_options(timeout=milliseconds(10))


# How many tests of the usual Jupyter server a worker takes at a time.
HANDFUL = 10


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """What takes long comes first, so that all workers end at about the same time; then what has a server in common.

    Tests of one Jupyter server are a group (`--dist loadgroup`), so that one worker alone starts it; those of the usual
    one, which each worker has, are several. And the last bound, for what slips through all others (say, a page whose
    scripts never return).
    """
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    usual = 0
    for item in ours:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(seconds(120)))
        if settings := server_of(item):
            number = ""
            if settings == JupyterSettings():
                number, usual = f" {usual // HANDFUL}", usual + 1
            item.add_marker(pytest.mark.xdist_group(f"{settings}{number}"))  # before xdist reads it
    result = yield
    items.sort(key=order_of)  # after pytest, which sorts, too
    return result


def order_of(item: pytest.Item) -> tuple[float, bool, bool, str]:
    """Where a test stands among all: by its bound, and by its Jupyter server, the usual one after the others."""
    marker, settings = item.get_closest_marker("timeout"), server_of(item)
    return -marker.args[0] if marker else 0.0, not settings, settings == JupyterSettings(), str(settings)


def server_of(item: pytest.Item) -> JupyterSettings | None:
    """The settings of the Jupyter server that a test asks for; None where it asks for none."""
    if Path(__file__).parent not in item.path.parents or "jupyter" not in getattr(item, "fixturenames", ()):
        return None
    callspec = getattr(item, "callspec", None)
    return settings_of(callspec.params.get("jupyter", "lab") if callspec else "lab")


def settings_of(param: FrontEnd | JupyterSettings) -> JupyterSettings:
    """What the parameter of the fixture `jupyter` stands for."""
    return param if isinstance(param, JupyterSettings) else JupyterSettings(param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down the evidence when any phase of a test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if report.when == "teardown":
        recorder = item.stash.get(RECORDER, None)
        if item.stash[FAILED]:
            folder = artefacts_of(item)
            for name, text in item.stash.get(EVIDENCE, {}).items():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            if recorder:
                recorder.keep(folder)
        elif recorder:
            recorder.drop()
    return report


def failed(item: pytest.Item) -> bool:
    """Whether a test has failed, as far as it has come."""
    return item.stash.get(FAILED, False)


def artefacts_of(item: pytest.Item) -> Path:
    """A test's own folder of artefacts."""
    return ARTEFACTS / re.sub(r"[^\w.-]+", "-", f"{item.path.stem}-{item.name}").strip("-")


def allowed(request: pytest.FixtureRequest, marker: str) -> tuple[str, ...]:
    """The patterns that the test declares by a marker."""
    return tuple(pattern for mark in request.node.iter_markers(marker) for pattern in mark.args)


def settle(complaints: list[str]) -> None:
    """Fail the test if there are complaints."""
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


# The browser


@pytest.fixture(scope="session", autouse=True)
def delete_output_dir() -> None:
    """Keep what other tests left: each test clears its own folder only."""


@pytest.fixture(scope="session")
def base_url() -> None:
    """Tests give full addresses. (pytest-playwright's own fixture of this name warns under pytest 9.)"""


@pytest.fixture
def output_path(request: pytest.FixtureRequest) -> str:
    """The test's folder of artefacts, emptied of what an earlier run left; pytest-playwright writes there too."""
    folder = artefacts_of(request.node)
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], playwright: Playwright) -> dict[str, Any]:
    """Chromium without a way out of this machine."""
    headed = browser_type_launch_args.get("headless") is False
    return {**browser_type_launch_args, **launch_arguments(playwright.chromium.executable_path, headed)}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    """What contexts are made with. (pytest-playwright's own fixture makes a folder, which a worker may leave.)"""
    return {}


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Iterator[BrowserWatch]:
    """What the test's pages asked for, printed to the console and threw.

    External requests are refused and fail the test, and so do uncaught errors of pages that are not Jupyter's own.
    """
    watch = BrowserWatch()
    yield watch
    request.node.stash.setdefault(EVIDENCE, {})["browser.log"] = watch.report()
    settle(watch.complaints(allowed(request, "allow_external"), allowed(request, "allow_page_error")))


@pytest.fixture
def recorder(output_path: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recorder:
    """Traces and pictures of the test's contexts."""
    made = request.node.stash[RECORDER] = Recorder(tmp_path_factory.mktemp("recorder"), request.node.nodeid)
    return made


@pytest.fixture
def new_context(
    browser: Browser,
    browser_context_args: dict[str, Any],
    watch: BrowserWatch,
    recorder: Recorder,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., BrowserContext]]:
    """Make a browser context: a person with cookies of their own. `page` and `context` come from here as well."""
    contexts: list[BrowserContext] = []

    def make(**arguments: Any) -> BrowserContext:
        context = make_context(browser, **{**browser_context_args, **arguments})
        contexts.append(context)
        recorder.start(context)
        watch.attach(context)
        return context

    yield make
    for context in contexts:
        recorder.stop(context, failed(request.node))
        watch.detach(context)
        context.close()


def make_context(browser: Browser, **arguments: Any) -> BrowserContext:
    """A context that can be recorded, and whose waits are bounded."""
    context = browser.new_context(**arguments)
    context.set_default_timeout(milliseconds(10))
    Recorder.prepare(context)
    return context


# Jupyter


@pytest.fixture(scope="session")
def jupyter_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServers]:
    """All Jupyter servers of the session; at its end nothing of them may be left."""
    servers = JupyterServers(lambda: tmp_path_factory.mktemp("jupyter"))
    yield servers
    settle(servers.stop())


@pytest.fixture
def use_jupyter(
    jupyter_servers: JupyterServers, request: pytest.FixtureRequest
) -> Iterator[Callable[[JupyterSettings], JupyterServer]]:
    """Jupyter servers by their settings: `use_jupyter(JupyterSettings(base_url="/user/alice/"))`.

    After the test their kernels must end by themselves, leave no process behind, and the logs must tell of no error.
    """
    used: list[tuple[JupyterServer, int]] = []

    def use(settings: JupyterSettings) -> JupyterServer:
        server = jupyter_servers.get(settings)
        used.append((server, server.log_size()))
        return server

    yield use
    complaints = [complaint for server, _ in used for complaint in server.shut_kernels_down()]
    log = "".join(server.log(start) for server, start in used)
    request.node.stash.setdefault(EVIDENCE, {})["jupyter.log"] = log
    settle(complaints + [f"Jupyter's log: {line}" for line in trouble_in(log, allowed(request, "allow_jupyter_log"))])


@pytest.fixture
def jupyter(
    use_jupyter: Callable[[JupyterSettings], JupyterServer], request: pytest.FixtureRequest
) -> JupyterServer:
    """A Jupyter server, held to what `use_jupyter` says; JupyterLab at `/` unless parametrised.

    `@pytest.mark.parametrize("jupyter", ["lab", "notebook", JupyterSettings(base_url="/user/alice/")], indirect=True)`.
    """
    return use_jupyter(settings_of(getattr(request, "param", "lab")))


@pytest.fixture(scope="session")
def labs(browser: Browser, jupyter_servers: JupyterServers) -> Iterator[Labs]:
    """The JupyterLab that is loaded already, for one test after the other."""
    made = Labs(lambda: make_context(browser), failed)
    yield made
    made.close()


@pytest.fixture
def lab(
    labs: Labs, jupyter: JupyterServer, watch: BrowserWatch, recorder: Recorder, request: pytest.FixtureRequest
) -> Iterator[Lab]:
    """JupyterLab in a page that earlier tests have used; what this one leaves there is taken away."""
    taken = labs.take(jupyter, request.node)
    recorder.start(taken.context)
    watch.attach(taken.context)
    try:
        taken.load()
        yield taken
    finally:
        recorder.stop(taken.context, failed(request.node))
        watch.detach(taken.context)
        labs.give_back(taken)


@pytest.fixture
def open_notebook(
    jupyter: JupyterServer,
    browser: Browser,  # by its name pytest-playwright knows the test for one of a browser
    output_path: str,
    request: pytest.FixtureRequest,
) -> Callable[..., Notebook]:
    """Open a notebook: `open_notebook(["1 + 1"])` makes one, `open_notebook(path)` takes a copy.

    It lies in a folder of the test's own. `name` tells notebooks of one test apart. The first one comes into the
    JupyterLab that is loaded already, unless the test is marked `fresh_page`; others get tabs of their own.
    """
    folder = jupyter.root / artefacts_of(request.node).name
    fresh = jupyter.settings.front_end != "lab" or request.node.get_closest_marker("fresh_page")
    opened: list[Notebook] = []

    def open_(content: Sequence[str | nbformat.NotebookNode] | Path, name: str = "notebook") -> Notebook:
        folder.mkdir(exist_ok=True)
        if isinstance(content, Path):
            path = Path(shutil.copy(content, folder))
        else:
            path = write_notebook(folder / f"{name}.ipynb", content)
        context = request.getfixturevalue("context") if fresh else request.getfixturevalue("lab").context
        loaded = not fresh and not opened
        page = request.getfixturevalue("lab").page if loaded else context.new_page()
        opened.append(Notebook(page, jupyter, path, Path(output_path), loaded))
        return opened[-1]

    return open_


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hub]:
    """A hub of the test's own."""
    made = Hub(tmp_path_factory.mktemp("hub"))
    try:
        yield made
    finally:
        left = made.stop()
        request.node.stash.setdefault(EVIDENCE, {})["hub.log"] = made.log()
    settle(left)


# Scripts


@pytest.fixture
def run_script(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Script]]:
    """Run a script that serves on `PORT`: `run_script(path_or_module, *arguments, environment={}, ...)`.

    See `start_script`. When the test is over it gets a Ctrl+C and must end with 0, silent on stderr.
    """
    scripts: list[Script] = []

    def run(target: str | Path, *arguments: str, **options: Any) -> Script:
        script = start_script(target, *arguments, folder=tmp_path_factory.mktemp("script"), **options)
        scripts.append(script)
        return script

    yield run
    evidence = request.node.stash.setdefault(EVIDENCE, {})
    for number, script in enumerate(scripts):
        try:
            script.stop(signal.SIGINT)
        finally:
            evidence[f"script-{number}.log"] = script.stdout + script.stderr


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., HttpOnlyProxy]]:
    """Start proxies in front of a port: `start_proxy(port, buffers=False)`."""
    started: list[HttpOnlyProxy] = []

    def start(target: int, **options: Any) -> HttpOnlyProxy:
        started.append(HttpOnlyProxy(target, **options))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()
