"""conftest.py catches what it says it catches: each case passes but for what it leaves behind."""
from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bound import BOUND

pytest_plugins = ['pytester']

ROOT = Path(__file__).resolve().parent.parent

CASES = {  # name -> what is said, the test
    'thread': ("threads left: .*sleeper", '''
        import threading, time
        def test() -> None: threading.Thread(target=time.sleep, args=(20,), name='sleeper', daemon=True).start()'''),
    'descriptor': ('descriptors left: .*socket', '''
        import socket
        kept = []
        def test() -> None: kept.append(socket.socket())'''),
    'unclosed_socket': ('ResourceWarning: unclosed .*socket', '''
        import socket
        def test() -> None: socket.socket()'''),
    'unclosed_loop': ('ResourceWarning: unclosed event loop', '''
        import asyncio
        def test() -> None: asyncio.new_event_loop()'''),
    'never_awaited': ('coroutine .*nobody.* was never awaited', '''
        async def nobody(): pass
        def test() -> None: nobody()'''),
    'warning': ('UserWarning: a warning', '''
        import warnings
        def test() -> None: warnings.warn('a warning')'''),
    'thread_raises': ('PytestUnhandledThreadExceptionWarning(.|\n)*ZeroDivisionError', '''
        import threading
        def test() -> None:
            thread = threading.Thread(target=lambda: 1/0)
            thread.start()
            thread.join()'''),
    'log': ('unexpected log records(.|\n)*WARNING nbws.web.app: careful', '''
        import logging
        def test() -> None: logging.getLogger('nbws.web.app').warning('careful')'''),
    'callback_raises': ('unexpected log records(.|\n)*ZeroDivisionError', '''
        import asyncio
        async def main():
            asyncio.get_running_loop().call_soon(lambda: 1/0)
            await asyncio.sleep(0)
        def test() -> None: asyncio.run(main())'''),
    'task': ('Task was destroyed but it is pending', '''
        import asyncio
        def test() -> None:
            loop = asyncio.new_event_loop()
            task = loop.create_task(asyncio.sleep(20))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()'''),
    'log_absent': ("0 log records matched 'absent'", '''
        def test(expect_log: object) -> None: expect_log('absent')'''),
    'log_twice': ('2 log records matched .*, not 1', '''
        import logging
        def test(expect_log: object) -> None:
            expect_log('twice', times=1)
            for _ in range(2): logging.getLogger('tornado').error('twice')'''),
    'process': ('processes left by this module', '''
        import subprocess
        def test() -> None: globals()['kept'] = subprocess.Popen(['sleep', '10'])'''),
    'timeout': ('Timeout', '''
        import pytest, time
        @pytest.mark.timeout(2, func_only=True)
        def test() -> None: time.sleep(20)'''),
    'clean': (None, '''
        import asyncio, logging, subprocess, threading
        def test_log(expect_log: object) -> None:
            expect_log('announced')
            expect_log('twice', times=2)
            for word in ['announced', 'twice', 'twice']: logging.getLogger('nbws').warning(word)
        def test_info() -> None: logging.getLogger('nbws').info('not a warning')
        async def main(): await asyncio.to_thread(print, 'hi')
        def test_loop() -> None: asyncio.run(main())
        def test_thread() -> None: threading.Thread(target=print).start()
        def test_process() -> None: subprocess.run(['true'], check=True)'''),
}


def test_leftovers_are_caught(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir('tests')
    conftest = (ROOT/'tests'/'conftest.py').read_text('utf-8').replace('GRACE = 20.0', 'GRACE = 1.0')
    (folder/'conftest.py').write_text(conftest, 'utf-8')
    shutil.copy(ROOT/'tests'/'logs.py', folder)
    shutil.copy(ROOT/'tests'/'lean.py', folder)
    (pytester.path/'pyproject.toml').write_bytes((ROOT/'pyproject.toml').read_bytes())
    # One more test after each: what is left behind is told where it was caused, and nowhere else.
    one_more = '\n        def test_next() -> None: pass'
    pytester.makepyfile(**{f'tests/test_{name}': code + one_more for name, (_, code) in CASES.items()})

    options = '-p', 'no:cacheprovider', '-p', 'no:playwright', '--junitxml=out.xml'
    result = pytester.runpytest_subprocess(*options, timeout=BOUND)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told: dict[str, list[str]] = {name: [] for name in CASES}
    for case in ElementTree.parse(pytester.path/'out.xml').iter('testcase'):
        name = case.attrib['classname'].removeprefix('tests.test_')
        told[name] += [f"{bad.get('message')}\n{bad.text}" for bad in case if bad.tag in ('error', 'failure')]
    for name, (said, _) in CASES.items():
        assert len(told[name]) == bool(said), f'{name}: {told[name]}'
        if said: assert re.search(said, told[name][0]), f'{name}: {told[name][0]}'
