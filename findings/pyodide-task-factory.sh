#!/usr/bin/env bash
# Pyodide 314.0.6 (Python 3.14, as in JupyterLite), on node 20. The guess: `loop.set_task_factory(asyncio.eager_task_factory)`, or any other
# factory, has the effect that Python's documentation describes ("Set a task factory that will be used by loop.create_task()"), for Pyodide's loop
# has the method, and it returns without an error. What it does: from then on every task fails to begin, with "module 'asyncio.tasks' has no
# attribute '_set_task_name'": the code that calls the factory was "copied from BaseEventLoop" (pyodide.webloop) and asks for a function that Python
# 3.14 no longer has. `create_task` and `gather` raise, from code that has never heard of a factory, until it is set to None; coroutines are left
# that nobody awaits. In a notebook it outlives the cell, so a library that sets one (tracing, context) ends all of the kernel's tasks.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm install --silent --no-audit --no-fund --prefix . pyodide@314.0.6 > npm.log 2>&1 || { cat npm.log; exit 1; }
cat > tasks.py <<'PY'
import asyncio, warnings
warnings.simplefilter('ignore')

async def one(): return 1

async def tried(make):
    try: return await make()
    except AttributeError as e: return str(e)

async def main():
    loop = asyncio.get_running_loop()
    ways = lambda: asyncio.create_task(one()), lambda: asyncio.gather(one(), one())
    found = [await tried(way) for way in ways]
    for factory in asyncio.eager_task_factory, lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options):
        loop.set_task_factory(factory)
        found += [await tried(way) for way in ways]
    loop.set_task_factory(None)
    return [str(f) for f in found + [await tried(way) for way in ways]]
PY
cat > run.mjs <<'JS'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { loadPyodide } from 'pyodide'

const pyodide = await loadPyodide()
pyodide.runPython(readFileSync('tasks.py', 'utf8'))
const found = (await pyodide.runPythonAsync('await main()')).toJs()
console.log('Pyodide', pyodide.version, 'Python', pyodide.runPython('import sys; sys.version.split()[0]'), found)
const fails = "module 'asyncio.tasks' has no attribute '_set_task_name'"
assert.deepEqual(found, ['1', '[1, 1]', fails, fails, fails, fails, '1', '[1, 1]'])
JS
timeout 300 node run.mjs
