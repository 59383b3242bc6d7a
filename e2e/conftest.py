"""The fixtures of the browser tests. pytest-playwright brings `browser`, `page`, traces and screenshots."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Playwright, expect

from .chromium import launch_arguments
from .jupyter import FrontEnd, JupyterServer, JupyterServers, JupyterSettings, trouble_in
from .notebook import Notebook, write_notebook
from .scripts import Script, start_script
from .timeouts import milliseconds, seconds
from .watch import BrowserWatch

ARTEFACTS = Path(__file__).parent / "artefacts"

# Texts that a failed test leaves in its folder of artefacts, by file name.
EVIDENCE = pytest.StashKey[dict[str, str]]()
FAILED = pytest.StashKey[bool]()

MARKERS = (
    "allow_external(pattern): addresses outside this machine that the test's pages may ask for (they are refused)",
    "allow_page_error(pattern): uncaught errors of the app's pages that the test expects",
    "allow_jupyter_log(pattern): errors in Jupyter's log that the test expects",
)


def pytest_configure(config: pytest.Config) -> None:
    """A failed test leaves a trace and a picture of each page, whatever the command line says."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.option.tracing = "retain-on-failure" if config.option.tracing == "off" else config.option.tracing
    config.option.screenshot = "only-on-failure"
    config.option.full_page_screenshot = True
    expect.set_options(timeout=milliseconds(10))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The last bound, for what slips through all others (say, a page whose scripts never return)."""
    if not config.pluginmanager.hasplugin("timeout"):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(seconds(120)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down the evidence when any phase of a test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if report.when == "teardown" and item.stash[FAILED]:
        for name, text in item.stash.get(EVIDENCE, {}).items():
            folder = artefacts_of(item)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return report


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
    return {**browser_type_launch_args, **launch_arguments(playwright.chromium.executable_path)}


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> BrowserWatch:
    """What the test's pages asked for, printed to the console and threw."""
    return BrowserWatch()


@pytest.fixture
def new_context(
    new_context: Callable[..., BrowserContext], watch: BrowserWatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., BrowserContext]]:
    """Make a browser context: a person with cookies of their own. `page` and `context` come from here as well.

    External requests are refused and fail the test, and so do uncaught errors of pages that are not Jupyter's own.
    """

    def make(**arguments: Any) -> BrowserContext:
        context = new_context(**arguments)
        context.set_default_timeout(milliseconds(10))
        watch.attach(context)
        return context

    yield make
    request.node.stash.setdefault(EVIDENCE, {})["browser.log"] = watch.report()
    settle(watch.complaints(allowed(request, "allow_external"), allowed(request, "allow_page_error")))


# Jupyter


@pytest.fixture(scope="session")
def jupyter_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServers]:
    """All Jupyter servers of the session; at its end nothing of them may be left."""
    servers = JupyterServers(lambda: tmp_path_factory.mktemp("jupyter"))
    yield servers
    settle(servers.stop())


@pytest.fixture
def jupyter(jupyter_servers: JupyterServers, request: pytest.FixtureRequest) -> Iterator[JupyterServer]:
    """A Jupyter server; JupyterLab at `/` unless parametrised.

    `@pytest.mark.parametrize("jupyter", ["lab", "notebook", JupyterSettings(base_url="/user/alice/")], indirect=True)`.
    After the test its kernels must end by themselves, leave no process behind, and the log must tell of no error.
    """
    param: FrontEnd | JupyterSettings = getattr(request, "param", "lab")
    server = jupyter_servers.get(param if isinstance(param, JupyterSettings) else JupyterSettings(param))
    start = server.log_size()
    yield server
    complaints = server.shut_kernels_down()
    log = server.log(start)
    request.node.stash.setdefault(EVIDENCE, {})["jupyter.log"] = log
    settle(complaints + [f"Jupyter's log: {line}" for line in trouble_in(log, allowed(request, "allow_jupyter_log"))])


@pytest.fixture
def open_notebook(
    jupyter: JupyterServer, context: BrowserContext, output_path: str, request: pytest.FixtureRequest
) -> Callable[..., Notebook]:
    """Open a notebook in a tab: `open_notebook(["1 + 1"])` makes one, `open_notebook(path)` takes a copy.

    It lies in a folder of the test's own. `name` tells notebooks of one test apart.
    """
    folder = jupyter.root / artefacts_of(request.node).name

    def open_(content: Sequence[str | nbformat.NotebookNode] | Path, name: str = "notebook") -> Notebook:
        folder.mkdir(exist_ok=True)
        if isinstance(content, Path):
            path = Path(shutil.copy(content, folder))
        else:
            path = write_notebook(folder / f"{name}.ipynb", content)
        return Notebook(context.new_page(), jupyter, path, Path(output_path))

    return open_


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
