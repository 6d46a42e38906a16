# make run    sets up .venv and serves the examples at http://localhost:12345/
# make test   sets up .venv and runs the tests
# make check  types and style
# make dist   the wheel and the sdist, in dist/; make dist-test also installs and tests both
# make docs   the documentation as a site, in build/site
# make fuzz   mutated inputs for the parsers, for a minute each; make fuzz SECONDS=600
# make conformance (or conformance-quick)   the Autobahn test suite
# make soak   the long forms of tests, for more than two hours: a thousand starts, ten thousand clients, churn, reloads
# make bench (or bench-quick)               beside other servers, in .venv-bench

PYTHON ?= python3
PORT ?= 12345
TESTS ?=
SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
DOCS_VENV := .venv-docs

.PHONY: run test check docs dist dist-test fuzz soak conformance conformance-quick bench bench-quick bench-tiny clean

run: $(VENV)/.installed
	$(BIN)/twistd -n --pidfile= wshub --port $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadfile $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

dist: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*

dist-test: dist
	.ci/dist-test $(PYTHON)

docs: $(DOCS_VENV)/.installed
	$(DOCS_VENV)/bin/python docs/site/build.py

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m fuzz --seconds $(SECONDS)

soak: $(VENV)/.installed-dev
	WSHUB_TEST_STARTS=1000 WSHUB_TEST_LONG=1 $(BIN)/python -m pytest -s -v tests/end_to_end \
		-k "many_starts or idle_connections or churn_of or that_sleeps or stop_with_many or reloads_under_load"

conformance: $(VENV)/.installed
	$(BIN)/python conformance/run.py

conformance-quick: $(VENV)/.installed
	$(BIN)/python conformance/run.py --quick

bench: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m bench

bench-quick: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m bench --quick

bench-tiny: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m bench --tiny

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) build dist reports .wstest

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"wshub needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}. Name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH_VENV)/.installed: pyproject.toml bench/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --editable . -r bench/requirements.txt
	@touch $@

$(DOCS_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
