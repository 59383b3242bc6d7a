#!/usr/bin/env bash
# Cython 3.3.1. The guess: a `cpdef` method that one compiled class calls on another costs what a call in C does, where a
# class in Python that derives from theirs overrides nothing. What it does: from CPython 3.12 on, each such call looks the
# name up in the object's class first; before, once, as long as the class stays as it is.
#
# Before each call by the object the generated C asks whether a subclass in Python has a method of its own. The answer is
# kept by the version numbers of dicts, which CPython has deprecated in 3.12 (PEP 699), so Cython leaves them alone there
# (CYTHON_USE_DICT_VERSIONS in Cython/Utility/ModuleSetupCode.c). A look-up and the bound method that comes of it take
# some 700 instructions, more than most short methods do. Called by its class, `Inner.step(inner, x)`, no check is made.
# A subclass whose `__getattribute__` counts shows how often it is asked. Exits 0 while that is so, 1 when it has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check cython==3.3.1 setuptools==80.9.0 2> "$dir/pip.log" ||
  { cat "$dir/pip.log"; exit 1; }
cd "$dir"
cat > calls.pyx <<'PYX'
cdef class Inner:
    cpdef object step(self, x):
        return x

cdef class Outer:
    cdef public Inner inner
    def by_object(self, int times):
        for x in range(times): self.inner.step(x)
    def by_class(self, int times):
        for x in range(times): Inner.step(self.inner, x)
PYX
"$dir/venv/bin/cythonize" -q -3 -i calls.pyx > build.log 2>&1 || { cat build.log; exit 1; }
"$dir/venv/bin/python" - <<'PY'
import sys
from calls import Inner, Outer

asked = []

class Derived(Inner):
    __slots__ = ()
    def __getattribute__(self, name):
        asked.append(name)
        return object.__getattribute__(self, name)

outer = Outer()
outer.inner = Derived()
found = {}
for call in outer.by_object, outer.by_class:
    asked.clear()
    call(1000)
    found[call.__name__] = asked.count('step')
print('Python', '.'.join(map(str, sys.version_info[:3])), '- looked up in 1000 calls:', found)
expected = 1000 if sys.version_info >= (3, 12) else 1
sys.exit(found != {'by_object': expected, 'by_class': 0})
PY
