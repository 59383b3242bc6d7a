"""`make lite`: a JupyterLite site with the examples of nbws in build/lite, which needs no server but one for files.

Everything is there: Pyodide from npm (node_modules/pyodide), the kernel, pure wheels from PyPI at the versions of
tests/lite_wheels.txt, nbws as it stands here, and the examples. A page of the site asks for nothing outside of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "lite"
WORK = Path(sys.prefix) / "lite"  # What a second build takes from the first one
PYODIDE = ROOT / "node_modules" / "pyodide"
RUNTIME = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
SOURCES = ("settings.ini", "setup.py", "pyproject.toml", "package.json", "package-lock.json", "README.md", "LICENSE")
KERNEL = "@jupyterlite/pyodide-kernel-extension"
FRONT_ENDS = ("anywidget", "jupyterlab_widgets")  # Extensions of JupyterLab: no Python of theirs runs in the browser
# Loaded when something imports it. All others are the kernel's own and are there from the start.
NEEDED = {
    "nbws": ("click", "itsdangerous", "latex2mathml", "markdown-it-py", "mdurl", "python-multipart", "whitenoise"),
    "plotly": ("narwhals", "packaging"),
}
LACKING = ("matplotlib", "pandas", "PIL")  # What examples need, and of which there is no wheel for Pyodide
NOTE = "**This notebook does not run here.** It needs {}, whose compiled parts this site does not have."


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> None:
    """Run a command in a folder. Ends the program with what it said where it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}tests/lite.py: {command[0]} failed")


def download() -> Path:
    """The folder with the wheels of wheels.txt, fetched once."""
    listed, folder = ROOT / "tests" / "lite_wheels.txt", WORK / "wheels"
    stamp = folder / "wheels.txt"
    if not (stamp.is_file() and stamp.read_bytes() == listed.read_bytes()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pure = ("--no-deps", "--only-binary", ":all:", "--python-version", "3.14", "--platform", "any")
        run(sys.executable, "-m", "pip", "download", "-q", *pure, "-d", folder, "-r", listed)
        shutil.copy(listed, stamp)
    return folder


def own_wheel() -> Path:
    """A wheel of nbws as it stands here, with nothing compiled."""
    source, folder = WORK / "source", WORK / "nbws"
    for old in (source, folder):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir(parents=True)
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    unwanted = shutil.ignore_patterns("__pycache__", "_speedups*")
    shutil.copytree(ROOT / "nbws", source / "nbws", ignore=unwanted)
    run(sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "-o", folder, source, NBWS_PURE="1")
    return next(folder.glob("*.whl"))


def normal(wheel: Path) -> str:
    """The name of a wheel's package, as packages are looked for."""
    return wheel.name.partition("-")[0].replace("_", "-").lower()


def imports_of(wheel: Path) -> list[str]:
    """The modules that a wheel brings."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist() if name.endswith(".py")}
    return sorted({top.removesuffix(".py") for top in tops if top.removesuffix(".py").isidentifier()})


def lock_entry(wheel: Path) -> dict[str, object]:
    """What Pyodide has to know of a wheel that stands beside it."""
    name = normal(wheel)
    return {
        "name": name,
        "version": wheel.name.split("-")[1],
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": imports_of(wheel),
        "depends": list(NEEDED.get(name, ())),
        "unvendored_tests": False,
    }


def place_pyodide(folder: Path, wheels: list[Path]) -> None:
    """Pyodide, the wheels, and the lock file that lists these and nothing else."""
    folder.mkdir(parents=True)
    for file in [*(PYODIDE / name for name in RUNTIME), *wheels]:
        shutil.copy(file, folder)
    lock = json.loads((PYODIDE / "pyodide-lock.json").read_text())
    lock["packages"] = {normal(wheel): lock_entry(wheel) for wheel in wheels}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))


def settings(wheels: list[Path]) -> dict[str, object]:
    """What JupyterLite is told: where Pyodide is, what is loaded at once, and that there is no other place to ask."""
    later = {*NEEDED, *(name for names in NEEDED.values() for name in names)} - {"packaging"}
    preloaded = sorted({normal(wheel) for wheel in wheels} - later)
    kernel = {
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
        "disablePyPIFallback": True,
        "loadPyodideOptions": {"packages": preloaded},
    }
    data = {"appName": "nbws", "litePluginSettings": {f"{KERNEL}:kernel": kernel}}
    return {"jupyter-lite-schema-version": 0, "jupyter-config-data": data}


def place_examples(folder: Path) -> None:
    """The examples, with the name of the kernel that is there. Three need packages with compiled parts, and say so."""
    folder.mkdir(parents=True)
    for file in (ROOT / "nbs/examples").glob("*.ipynb"):
        notebook = json.loads(file.read_text("utf-8"))
        notebook["metadata"]["kernelspec"] = {"name": "python", "display_name": "Python (Pyodide)"}
        code = "".join(line for cell in notebook["cells"] if cell["cell_type"] == "code" for line in cell["source"])
        lacking = [name for name in LACKING if name in code]
        if lacking:
            text = NOTE.format(" and ".join(lacking))
            notebook["cells"].insert(0, {"cell_type": "markdown", "id": "lacking", "metadata": {}, "source": text})
        (folder / file.name).write_text(json.dumps(notebook).replace("](../images/", "](images/"), "utf-8")
    shutil.copytree(ROOT / "nbs/images", folder / "images")


def main() -> None:
    """Build the site."""
    downloaded = sorted(download().glob("*.whl"))
    extension = Path(sysconfig.get_path("data")) / "share/jupyter/labextensions" / KERNEL
    kernels = [f for f in (extension / "static/pypi").glob("*.whl") if not normal(f).startswith("widgetsnbextension")]
    front_ends = [wheel for wheel in downloaded if wheel.name.startswith(FRONT_ENDS)]
    wheels = [own_wheel(), *kernels, *(wheel for wheel in downloaded if wheel not in front_ends)]
    project = WORK / "project"
    shutil.rmtree(project, ignore_errors=True)  # With what JupyterLite notes of earlier builds, whose site is gone
    project.mkdir()
    place_examples(project / "examples")
    place_pyodide(project / "static/pyodide", wheels)
    (project / "jupyter-lite.json").write_text(json.dumps(settings(wheels)))
    shutil.rmtree(SITE, ignore_errors=True)
    config = {
        "apps": ["lab"],
        "contents": [str(project / "examples")],
        "federated_extensions": [str(path) for path in (extension, *front_ends)],
        "ignore_sys_prefix": ["federated_extensions"],
        "no_sourcemaps": True,
        "no_unused_shared_packages": True,
        "output_dir": str(SITE),
    }
    (project / "jupyter_lite_config.json").write_text(json.dumps({"LiteBuildConfig": config}))
    run(Path(sys.executable).with_name("jupyter-lite"), "build", folder=project)
    size = sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file())
    (SITE / "index.html").touch()  # What `make` looks at
    print(f"    {size / 1e6:.0f} MB. To see it: python -m http.server --bind 127.0.0.1 --directory build/lite")


if __name__ == "__main__":
    main()
