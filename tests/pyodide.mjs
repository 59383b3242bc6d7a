// Awaits `main()` of a Python program in Pyodide, with packages: node pyodide.mjs PROGRAM NAME=FOLDER ...
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { loadPyodide } from '../node_modules/pyodide/pyodide.mjs'

const pyodide = await loadPyodide()
const place = (from, to) => {
  if (statSync(from).isFile()) {
    pyodide.FS.writeFile(to, new Uint8Array(readFileSync(from)))
    return
  }
  pyodide.FS.mkdirTree(to)
  for (const name of readdirSync(from))
    if (!/^__pycache__$|\.so$|\.ipynb$/.test(name)) place(`${from}/${name}`, `${to}/${name}`)
}
const [program, ...packages] = process.argv.slice(2)
for (const each of packages) {
  const [name, from] = each.split('=')
  place(from, `/home/pyodide/${name}`)
}
try {
  await pyodide.runPythonAsync(readFileSync(program, 'utf-8') + '\nawait main()')
} catch (e) {
  console.error(e.message)
  process.exitCode = 1
}
