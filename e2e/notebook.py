"""An open notebook, driven as a person drives it: by its cells, keys and buttons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Frame, FrameLocator, Locator, Page, expect

from .jupyter import JupyterServer
from .lite import LiteSite
from .promises import promised
from .timeouts import milliseconds

PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
VIEW = ".jp-LinkedOutputView"
FINISHED = re.compile(r"^\[\d+\]:$")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# What every snippet of JavaScript below finds in scope.
PRELUDE = """async ([path, argument]) => {
    const app = window.jupyterapp;
    const panel = () => [...app.shell.widgets('main')].find(widget => widget.context?.path === path);
    const cells = () => panel().content.widgets;
    const session = () => panel().context.sessionContext;
    const until = (signal, test) => new Promise(resolve => {
        const look = () => { if (test()) { signal.disconnect(look); resolve(); } };
        signal.connect(look);
        look();
    });
    %s
}"""

READY = """
    await panel().context.ready;
    await session().ready;
    await until(session().statusChanged, () => session().session?.kernel?.status === 'idle');
"""

WATCH_RESTART = """
    const kernel = session().session.kernel;
    let restarting = false;
    window.nbwsRestarted = until(kernel.statusChanged, () => {
        restarting ||= kernel.status.endsWith('restarting');
        return restarting && kernel.status === 'idle';
    });
"""

FINISH = """
    const model = cells()[argument].model;
    await until(model.stateChanged, () => model.executionState === 'idle' && model.executionCount !== null);
"""

DUPLICATE = """
    const made = await app.serviceManager.contents.copy(path, path.split('/').slice(0, -1).join('/'));
    return made.path;
"""

ERRORS = """
    const errors = (cell, index) => (cell.model.outputs?.toJSON() ?? [])
        .filter(output => output.output_type === 'error').map(output => [index, output]);
    return cells().flatMap((cell, index) => argument === null || index === argument ? errors(cell, index) : []);
"""


class Notebook:
    """A notebook in a tab of its own. Cells are counted from 0. `path` is the file, `folder` the kernel's folder."""

    def __init__(
        self, page: Page, server: JupyterServer | LiteSite, path: Path, screenshots: Path, loaded: bool = False
    ) -> None:
        """Open the file in the page, where JupyterLab may be `loaded`, and wait until its kernel is idle."""
        self.page, self.server, self.path, self.folder = page, server, path, path.parent
        self._screenshots = screenshots
        self._relative = path.relative_to(server.root).as_posix()
        if loaded:
            self._javascript("await app.commands.execute('docmanager:open', {path});", bound=30)
        else:
            page.goto(server.notebook_url(self._relative), wait_until="commit")
        self._wait_ready()

    # Looking

    def cell(self, index: int) -> Locator:
        """The whole cell."""
        return self.page.locator(f"{PANEL} .jp-Notebook .jp-Cell").nth(index)

    def prompt(self, index: int) -> Locator:
        """The cell's `[n]:`."""
        return self.cell(index).locator(".jp-InputPrompt")

    def output(self, index: int) -> Locator:
        """The cell's output area: `expect(nb.output(1)).to_contain_text('hello')`."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def frame(self, index: int, number: int = 0) -> FrameLocator:
        """The page inside an iframe of the cell's output, by default in the first one."""
        return self._iframes(index).nth(number).content_frame

    def frames(self, index: int, count: int = 1) -> list[FrameLocator]:
        """The pages inside the iframes of the cell's output, as soon as there are `count` of them."""
        expect(self._iframes(index)).to_have_count(count)
        return [self.frame(index, number) for number in range(count)]

    def loaded(self, index: int) -> Frame:
        """The page inside the first iframe of the cell's output, once it has loaded.

        For what is evaluated there at once: until then the frame holds an empty page.
        """
        frame = self._iframes(index).first.element_handle().content_frame()
        assert frame
        frame.wait_for_url(re.compile("^http"))
        return frame

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The cell's outputs as the notebook format has them, at this moment."""
        return self._javascript("return cells()[argument].model.outputs.toJSON();", index)

    def text_output(self, index: int) -> str:
        """The text of all outputs of the cell at this moment: streams, plain results, tracebacks without colours."""
        return "".join(_text_of(output) for output in self.outputs(index))

    @property
    def kernel_id(self) -> str:
        """The running kernel's id; a restart keeps it."""
        return self._javascript("return session().session.kernel.id;")

    # Running

    def start(self, index: int) -> None:
        """Run a cell with Ctrl+Enter and do not wait for it."""
        # A number left from before, even from before a restart, would look like this run's.
        self._javascript("cells()[argument].model.executionCount = null;", index)
        self.cell(index).locator(".cm-content").click()  # the prompt would not take the focus out of an iframe
        self.page.keyboard.press("Control+Enter")

    def wait(self, index: int, fails: bool = False, bound: float = 20) -> None:
        """Wait, at most `bound` seconds, until the cell that was started is done.

        Raises AssertionError with the traceback if it failed; with `fails=True`, if it did not.
        """
        self._javascript(FINISH, index, bound)  # at once; `expect` alone looks only now and then
        expect(self.prompt(index)).to_have_text(FINISHED)
        self._check(fails, index)

    def run(self, index: int, fails: bool = False, bound: float = 20) -> None:
        """Run a cell and wait until it is done, as `wait` does."""
        self.start(index)
        self.wait(index, fails, bound)

    def run_all(self, fails: bool = False, bound: float = 60) -> None:
        """Run all cells and wait until they are done; with `fails=True` one of them must fail."""
        self._command("notebook:run-all-cells", bound)
        self._check(fails)

    def restart(self, bound: float = 20) -> None:
        """Restart the kernel with the toolbar's button and wait until it is idle."""
        self._javascript(WATCH_RESTART)
        self._toolbar("notebook:restart-kernel").click()
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self._javascript("await window.nbwsRestarted;", bound=bound)

    def interrupt(self) -> None:
        """Interrupt the kernel with the toolbar's button."""
        self._toolbar("notebook:interrupt-kernel").click()

    # Changing

    def set_source(self, index: int, source: str) -> None:
        """Write another text into a cell, without running it."""
        self._javascript(
            "cells()[argument.index].model.sharedModel.setSource(argument.source);", {"index": index, "source": source}
        )

    def edit(self, index: int, source: str, fails: bool = False, bound: float = 20) -> None:
        """Write another text into a cell and run it."""
        self.set_source(index, source)
        self.run(index, fails, bound)

    def insert(self, index: int, source: str) -> None:
        """Insert a code cell, which gets this index."""
        self._javascript(
            "panel().content.model.sharedModel.insertCell(argument.index, "
            "{cell_type: 'code', source: argument.source, metadata: {}});",
            {"index": index, "source": source},
        )
        expect(self.cell(index)).to_be_visible()

    def save(self) -> nbformat.NotebookNode:
        """Save the notebook and return what is in the file."""
        self._command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def open(self, path: str) -> None:
        """Open another file beside it, and do not wait for a kernel."""
        self._javascript("await app.commands.execute('docmanager:open', {path: argument});", path, bound=30)

    def to_front(self) -> None:
        """Show its tab again, where another notebook was opened beside it."""
        self._javascript("await app.commands.execute('docmanager:open', {path});", bound=30)

    def reload(self) -> None:
        """Reload the browser's tab and wait until the notebook is there again; the kernel goes on."""
        self.page.reload(wait_until="commit")
        self._wait_ready()

    def view(self, index: int) -> Locator:
        """Another view of the cell's output, below the notebook."""
        self.prompt(index).click()
        self._command("notebook:create-output-view")
        return self.page.locator(VIEW)

    def close_view(self) -> None:
        """Close it."""
        self.page.get_by_role("tab", name="Output View").locator(".lm-TabBar-tabCloseIcon").click()
        expect(self.page.locator(VIEW)).to_have_count(0)

    def duplicate(self) -> Notebook:
        """A copy of the file in the same folder, opened beside it."""
        relative = self._javascript(DUPLICATE, bound=30)
        return Notebook(self.page, self.server, self.server.root / relative, self._screenshots, loaded=True)

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the tab in the test's folder of artefacts."""
        path = self._screenshots / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    # How

    def _iframes(self, index: int) -> Locator:
        return self.output(index).locator("iframe")

    def _toolbar(self, command: str) -> Locator:
        return self.page.locator(f'{PANEL} .jp-NotebookPanel-toolbar [data-command="{command}"]')

    def _wait_ready(self) -> None:
        self.cell(0).wait_for(timeout=milliseconds(30))
        self._javascript(READY, bound=30)

    def _command(self, command: str, bound: float = 20) -> None:
        self._javascript("await app.commands.execute(argument);", command, bound)

    def _javascript(self, code: str, argument: Any = None, bound: float = 10) -> Any:
        return promised(self.page, PRELUDE % code, [self._relative, argument], bound)

    def _check(self, fails: bool, index: int | None = None) -> None:
        errors = [f"cell {number}:\n{_text_of(error)}" for number, error in self._javascript(ERRORS, index)]
        assert bool(errors) == fails, "\n".join(errors) or "no cell failed"


def write_notebook(path: Path, cells: Sequence[str | nbformat.NotebookNode], kernel_name: str = "python3") -> Path:
    """Write a notebook file; a text becomes a code cell."""
    made = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    kernel = {"name": kernel_name, "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)
    return path


def _text_of(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _joined(output["text"])
    if output["output_type"] == "error":
        return COLOURS.sub("", "\n".join(output["traceback"])) + "\n"
    return _joined(output["data"].get("text/plain", "")) + "\n"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
