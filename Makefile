# Everything a stranger needs: `make demo`, `make test`. Each does its own set-up; nothing but Python 3.11+ and make is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

.PHONY: setup lock test check clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml locks/uv.txt locks/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("headrace needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes locks/uv.txt locks/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Locks hold names, versions and hashes only, so that they work behind any index.
lock:
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --upgrade locks/uv.in -o locks/uv.txt
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --upgrade pyproject.toml --all-extras --group test --group lint --group build --group docs -o locks/dev.txt

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto tests/laws

test: check
	$(BIN)/python -m pytest -q -n auto

clean:
	rm -rf $(VENV) build dist site docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
