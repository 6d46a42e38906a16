# make run    sets up .venv and serves the examples at http://localhost:12345/
# make test   sets up .venv and runs the tests
# make check  types and style; make conformance: the Autobahn test suite

PYTHON ?= python3
PORT ?= 12345
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check conformance clean

run: $(VENV)/.installed
	$(BIN)/twistd -n --pidfile= wshub --port $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

conformance: $(VENV)/.installed
	$(BIN)/python conformance/run.py

clean:
	rm -rf $(VENV) build dist reports .wstest

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"wshub needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}. Name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
