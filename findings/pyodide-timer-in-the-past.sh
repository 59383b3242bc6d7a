#!/usr/bin/env bash
# Pyodide 314.0.6 (Python 3.14, as in JupyterLite), on node 20. The guess: its loop is an asyncio loop, whose `call_at(when, ...)` is "like
# `call_later()`, but uses an absolute time" (pyodide.webloop), and a moment that has passed is one to call at once, as each other loop takes it.
# What it does: ValueError, "Can't schedule in the past"; `call_later` with less than 0 as well, and so `asyncio.wait` with a timeout that has run
# out meanwhile (asyncio hands it on as it is; `wait_for` and `timeout_at` look first). A timer that does not drift, `when += interval;
# loop.call_at(when, tick)`, dies as soon as one cell has kept the one thread for longer than the interval.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm install --silent --no-audit --no-fund --prefix . pyodide@314.0.6 > npm.log 2>&1 || { cat npm.log; exit 1; }
cat > timers.py <<'PY'
import asyncio, time

async def ticks(interval=.05):
    "What a timer without drift comes to when something else takes three intervals."
    loop, came, ended = asyncio.get_running_loop(), [], asyncio.get_running_loop().create_future()
    when = loop.time()
    def tick():
        nonlocal when
        came.append(when)
        if len(came) == 5: return ended.set_result(f'{len(came)} ticks')
        if len(came) == 2: time.sleep(3 * interval)
        when += interval
        try: loop.call_at(when, tick)
        except ValueError as e: ended.set_result(f'{len(came)} ticks, {e!r}')
    tick()
    return await ended

async def wait():
    task = asyncio.ensure_future(asyncio.Event().wait())
    try: done, pending = await asyncio.wait([task], timeout=-.001)
    except ValueError as e: return repr(e)
    finally: task.cancel()
    return f'{len(done)} of 1 is done'

async def main(): return [await ticks(), await wait()]
PY
cat > run.mjs <<'JS'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { loadPyodide } from 'pyodide'

const pyodide = await loadPyodide()
pyodide.runPython(readFileSync('timers.py', 'utf8'))
const found = (await pyodide.runPythonAsync('await main()')).toJs()
console.log('Pyodide', pyodide.version, found)
assert.deepEqual(found, [`2 ticks, ValueError("Can't schedule in the past")`, `ValueError("Can't schedule in the past")`])
JS
usual=$(python3 -c 'from timers import *; print(asyncio.run(main()))')
echo "CPython $usual"
[ "$usual" = "['5 ticks', '0 of 1 is done']" ]
timeout 300 node run.mjs
