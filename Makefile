# Everything a stranger needs: `make demo`, `make test`. Each sets itself up; only Python 3.11+ and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
SHELL := /bin/sh

.DEFAULT_GOAL := help
.PHONY: help setup lock check laws docs suite conformance dropin clients page test demo bench tables fuzz-gateway facts clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-13s %s\n' "$$name" "$$what"; done

setup: $(VENV)/.ready  ## create the virtual environment from the lock files

# The stamp is written last, so that an interrupted set-up is resumed. An environment without a working pip is recreated.
# uv does not read pip's configuration, so a mirror configured for pip is passed on.
$(VENV)/.ready: pyproject.toml locks/uv.txt locks/dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("headrace needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Choose one with: make PYTHON=python3.13")'
	@test -f $(VENV)/pyvenv.cfg && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "Python could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) from locks/ (once; under a minute with a fast connection)"
	@$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	@mirror="$${PIP_INDEX_URL:-$$($(RUN) pip config get global.index-url 2>/dev/null)}"; \
	if [ -n "$$mirror" ] && [ -z "$${UV_DEFAULT_INDEX:-}$${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$$mirror"; fi; \
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes locks/uv.txt locks/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Locks hold names, versions and hashes only, so that they work behind any index.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --upgrade

lock: setup  ## update locks/ to the newest versions
	$(COMPILE) locks/uv.in -o locks/uv.txt
	$(COMPILE) pyproject.toml --all-extras --group test --group lint --group build --group docs -o locks/dev.txt
	@for peer in core http openai litellm litellm-proxy facts; do $(COMPILE) benchmarks/peers/$$peer.in -o benchmarks/peers/$$peer.txt; done

check: setup  ## format, lint, types and architecture rules: under a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(RUN) mypy
	@$(RUN) pytest -q -n auto tests/laws

docs: setup  ## build the documentation into docs/_build
	@$(RUN) sphinx -q -W --keep-going -b html docs docs/_build
	@echo "docs/_build/index.html"

suite: setup $(if $(shell command -v npm),page)
	@$(RUN) pytest -q -n auto

conformance: setup  ## check every dialect against recorded traffic, as a table
	@$(RUN) tests.conformance

dropin: setup  ## run programs written for litellm on headrace, as a table
	@$(RUN) tools.dropin

clients: setup  ## run coding agents and frameworks from npm through the gateway, as a table (needs node and npm)
	@$(RUN) tools.clients

# The dashboard is built if npm is available. Without it, the gateway serves plain tables and the dashboard's tests are skipped.
PAGE := src/headrace/gateway/page/built/index.html

page: $(PAGE)  ## build the gateway's dashboard from its lock file (needs node and npm)

$(PAGE): page/package-lock.json page/build.mjs page/tsconfig.json $(wildcard page/src/*)
	@cd page && npm ci --silent && npm run --silent check && npm run --silent build

test: check docs suite  ## check, build the documentation, run the whole test suite

demo: setup  ## watch headrace handle many calls under real limits
	@$(RUN) headrace.cli.demo

bench: setup  ## list the benchmarks
	@$(BIN)/python benchmarks/run.py

tables: setup  ## rewrite the generated tables in docs/ and the type stubs for litellm's names
	@$(BIN)/python docs/tables.py
	@$(RUN) tools.litellm_stubs

fuzz-gateway: setup  ## fuzz the gateway with valid and invalid requests from its OpenAPI document
	@HEADRACE_EXAMPLES=200 $(RUN) pytest -q -n 2 --timeout 1800 tests/gateway/test_openapi.py

facts: setup  ## update the prices and capabilities of models
	@$(RUN) tools.model_facts

clean:  ## remove everything that make created
	rm -rf $(VENV) page/node_modules src/headrace/gateway/page/built build dist site docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/results .peers
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
