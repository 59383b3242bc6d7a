"""What leaves the house: the source archive and the wheel that is made from it on a machine without npm."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from bound import BOUND
from lowest import lowest

ROOT = Path(__file__).resolve().parent.parent
STATIC = {'nbws.js', 'height.js', 'merge.js', 'notebook.js', 'parts.js', 'prefix.js', 'sockets.js', 'line.js',
          'iframes.js', 'ways.js', 'way-jupyter.js', 'way-port.js', 'way-colab.js', 'way-kernel.js', 'proxied.js',
          'copies.js', 'channel.js', 'widget.js', 'display.js', 'doctor.js', 'waiting.js', 'nbws.css', 'htmx.min.js',
          'ws.js', 'sse.js', 'idiomorph-ext.min.js', 'pico.min.css', 'surreal.js', 'css-scope-inline.js',
          'transfer-encoding-chunked.js', 'fasthtml.js', 'around.js', 'enhance.js', 'sid.js', 'busy.js', 'toasts.js',
          'toasts.css', 'head-support.min.js', 'preload.min.js', 'class-tools.min.js', 'loading-states.min.js',
          'multi-swap.min.js', 'path-deps.min.js', 'remove-me.min.js', 'streams.js', 'LICENSES.txt', 'LOCK',
          'chat.js', 'ui.css', 'upload.js'}
CONFIG = 'etc/jupyter/jupyter_server_config.d/nbws.json'


def build(folder: Path, what: str, **environment: str) -> Path:
    "Build without isolation, hence without a registry; the path of what was made."
    out = folder/'out'
    run = subprocess.run([sys.executable, '-m', 'build', '--no-isolation', what, '--outdir', str(out), str(folder)],
                         env={**os.environ, **environment}, capture_output=True, text=True, timeout=3 * BOUND)
    assert run.returncode == 0, run.stdout + run.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope='module')
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The source archive, made in a copy: a build writes into the tree."
    tree = tmp_path_factory.mktemp('tree')
    tracked = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout.splitlines()
    for name in tracked:
        if not (ROOT/name).is_file() or name.startswith('e2e/'): continue
        (tree/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/name, tree/name)
    shutil.copytree(ROOT/'nbws'/'static', tree/'nbws'/'static', dirs_exist_ok=True)
    return build(tree, '--sdist')


@pytest.fixture(scope='module')
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('unpacked')
    with tarfile.open(sdist) as archive: archive.extractall(folder, filter='data')
    (tree,) = folder.iterdir()
    return build(tree, '--wheel', PATH=str(tmp_path_factory.mktemp('empty')))


@pytest.fixture(scope='module')
def compiled_wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The same on a machine with a C compiler."
    if not (shutil.which('cc') and (Path(sysconfig.get_path('include'))/'Python.h').is_file()):
        pytest.skip('there is no C compiler here, or no Python.h')
    folder = tmp_path_factory.mktemp('compiled')
    with tarfile.open(sdist) as archive: archive.extractall(folder, filter='data')
    (tree,) = folder.iterdir()
    return build(tree, '--wheel', NBWS_PURE='', CFLAGS='-O0')  # A third of the time of -O2


def installed(wheel: Path, folder: Path) -> Path:
    "Where pip puts it."
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--no-compile',
                    '--ignore-installed', '--prefix', str(folder), str(wheel)], check=True, timeout=3 * BOUND)
    (site,) = folder.glob('**/site-packages')
    return site


def engine_of(site: Path, **environment: str) -> tuple[str, str]:
    "Which engine an installed nbws runs, and what it logs."
    code = (f'import sys; sys.path.insert(0, {str(site)!r}); from nbws.core.engine import engine; '
            'from nbws.core.html import P, render; '
            'assert render(P("a < b", id="x")) == \'<p id="x">a &lt; b</p>\'; print(engine())')
    run = subprocess.run([sys.executable, '-P' if sys.version_info >= (3, 11) else '-I', '-c', code], cwd=site,
                         env={**os.environ, 'NBWS_PURE': '', **environment}, check=True, capture_output=True,
                         text=True, timeout=BOUND)
    return run.stdout.strip(), run.stderr.strip()


IN_PYTHON = 'Rendering and frames run in Python: nothing is compiled here.', ''


def test_compiled(compiled_wheel: Path, tmp_path: Path) -> None:
    "Compiled where it can be, unless that is not wanted, or the source is another one by now."
    assert not compiled_wheel.name.endswith('-any.whl')
    site = installed(compiled_wheel, tmp_path)
    assert engine_of(site) == ('Rendering and frames are compiled.', '')
    assert engine_of(site, NBWS_PURE='1') == ('Rendering and frames run in Python: NBWS_PURE=1.', '')
    source = site/'nbws'/'core'/'speedups.py'
    source.write_text(source.read_text() + '\n# Changed\n')
    told, logged = engine_of(site)
    assert told.startswith('Rendering and frames run in Python: it was compiled from other source')
    assert 'it was compiled from other source' in logged


def test_not_compiled(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    "Without a compiler the wheel is for every machine; with one that fails there is a wheel all the same."
    assert wheel.name.endswith('-py3-none-any.whl')
    assert engine_of(installed(wheel, tmp_path/'pure')) == IN_PYTHON
    with tarfile.open(sdist) as archive: archive.extractall(tmp_path/'tree', filter='data')
    (tree,) = (tmp_path/'tree').iterdir()
    failing = build(tree, '--wheel', CC=str(shutil.which('false')), NBWS_PURE='')
    assert engine_of(installed(failing, tmp_path/'failing')) == IN_PYTHON


def test_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive: names = set(archive.namelist())
    assert {name.removeprefix('nbws/static/') for name in names if name.startswith('nbws/static/')} == STATIC
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT/'nbws').rglob('*.py')}
    assert modules <= names
    assert {'nbws/py.typed', 'nbws/examples/demo.ipynb'} <= names
    assert any(name.endswith(f'.data/data/{CONFIG}') for name in names)
    assert {name.partition('/')[0].partition('-')[0] for name in names} == {'nbws'}, 'nothing else is installed'


def test_installed(wheel: Path, tmp_path: Path) -> None:
    "Imported from where pip puts it, and the server's configuration beside it."
    site = installed(wheel, tmp_path)
    code = f'import sys; sys.path.insert(0, {str(site)!r}); import nbws; print(nbws.__version__, nbws.__file__)'
    run = subprocess.run([sys.executable, '-P' if sys.version_info >= (3, 11) else '-I', '-c', code], cwd=tmp_path,
                         check=True, capture_output=True, text=True, timeout=BOUND)
    assert run.stdout.split()[1] == str(site/'nbws'/'__init__.py')
    assert (tmp_path/CONFIG).is_file()


TYPED = """
from nbws import App
from nbws.common import *
from nbws.tremolo import Tremolo

app, rt = fast_app(exts='ws')
people = app.room('people', history=10)

@rt('/')
def index() -> Any: return Titled('Chat', Div(Ul(id='talk'), cls='chat'), Svg(), hx_ext='ws')

@app.ws('/ws', conn=people.join)
async def talk(msg: str, ws: WebSocket) -> None: await people.send(Ul(Li(msg), id='talk'), skip=ws)

App(debug=True), Tremolo()
serve(n=2)
"""


def test_a_type_checker_finds_what_the_star_brings(tmp_path: Path) -> None:
    "In an editable install, too: its finder hides packages from type checkers, a path file does not."
    (tmp_path/'chat.py').write_text(TYPED)
    run = subprocess.run([sys.executable, '-m', 'mypy', '--cache-dir', str(tmp_path/'cache'), 'chat.py'],
                         cwd=tmp_path, capture_output=True, text=True, timeout=3 * BOUND)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_requirement_says_its_lowest_version(tmp_path: Path) -> None:
    "`make lowest` installs these."
    pins = dict(re.split('==', line, maxsplit=1) for line in lowest())
    assert {'tornado', 'httptools', 'python-multipart', 'jupyter_server', 'uvloop'} <= pins.keys()
    assert not [name for name, version in pins.items() if not version[0].isdigit()]
    (tmp_path/'settings.ini').write_text('[DEFAULT]\nrequirements =\n    a>=1.2,!=1.3\n    b\n'
                                         'notebook_requirements =\nreload_requirements =\nspeed_requirements =\n')
    with pytest.raises(ValueError, match="'b' says no lowest version"): lowest(tmp_path/'settings.ini')
