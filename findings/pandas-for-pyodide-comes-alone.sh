#!/usr/bin/env bash
# pandas 3.1.1, numpy 2.5.5, matplotlib 3.11.2 and contourpy 1.4.0 on PyPI, asked for by pip for Pyodide, as JupyterLite has it. The guess: since
# PyPI takes wheels for WebAssembly (PEP 783) and pandas publishes one with each release, a notebook in the browser can have a table from PyPI
# alone, and a JupyterLite site without a network is built of npm's Pyodide and PyPI's wheels. What is there: one wheel, for CPython 3.12 and the
# ABI of 2024 (`cp312-cp312-pyemscripten_2024_0_wasm32`), while today's Pyodide (314 on npm) is Python 3.14 with the ABI of 2026, for which there is
# none; and where it does fit, its own requirement numpy has no such wheel at all, nor has matplotlib. contourpy, which matplotlib requires, has
# them for 3.13 to 3.15. Source: the lists of files of these projects, as pip reads them. A site without a network needs another source for these
# three, such as Pyodide's own distribution.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
ask() { # Package, Python, platform: the wheel that pip takes, or why none
  local tag=${2/./}
  venv/bin/python -m pip download -q --no-deps --only-binary :all: --dest wheels --disable-pip-version-check \
    --implementation cp --python-version "$2" --abi "cp$tag" --platform "$3" "$1" > said 2>&1 && ls -t wheels | head -1 || grep -o 'No matching distribution.*' said
}
failed=0
check() { # What is asked, what came, what is expected
  echo "$1: $2"
  [[ $2 == $3 ]] || { echo "  has changed: $3 was seen"; failed=1; }
}
now=(3.14 pyemscripten_2026_0_wasm32) earlier=(3.12 pyemscripten_2024_0_wasm32) none='No matching distribution*'
check 'pandas, for Python 3.14' "$(ask pandas==3.1.1 "${now[@]}")" "$none"
check 'pandas, for Python 3.12' "$(ask pandas==3.1.1 "${earlier[@]}")" 'pandas-3.1.1-cp312-cp312-pyemscripten_2024_0_wasm32.whl'
check 'numpy, which that requires' "$(ask numpy==2.5.5 "${earlier[@]}")" "$none"
check 'numpy, for Python 3.14' "$(ask numpy==2.5.5 "${now[@]}")" "$none"
check 'matplotlib, for Python 3.14' "$(ask matplotlib==3.11.2 "${now[@]}")" "$none"
check 'contourpy, which that requires' "$(ask contourpy==1.4.0 "${now[@]}")" 'contourpy-1.4.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl'
exit $failed
