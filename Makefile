# make test    everything a fresh clone needs, then the suite        make lint    ruff and mypy
# make demo    the code reviewer, killed and run again               make matrix  a quick round on 3.12 and 3.13
# make bench   durably beside its peers, into benchmarks/RESULTS.md  make bench-quick  requests and instructions against a baseline
.PHONY: setup servers browser test quick lint types format demo matrix bench bench-quick lock clean
.DEFAULT_GOAL := test
SHELL := /bin/sh

BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
ARGS ?=

setup: .venv/.installed
.venv/.installed: pyproject.toml requirements-dev.txt scripts/find-python
	test -x $(BIN)/pip || { python=$$(scripts/find-python) && $$python -m venv --clear .venv; }
	$(PIP_INSTALL) -r requirements-dev.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

servers: .tools/.dynamodb-local .tools/.ministack
.tools/.dynamodb-local: scripts/install-dynamodb-local tests/servers/Loopback.java
	@mkdir -p .tools
	scripts/install-dynamodb-local
	@test ! -f .tools/dynamodb-local/Loopback.class || touch $@
.tools/.ministack: scripts/install-ministack scripts/find-python
	@mkdir -p .tools
	scripts/install-ministack
	@touch $@

# Debian's Chromium for the tests of the web page; without it they are skipped.
browser:
	@scripts/install-chromium

test: setup servers browser
	$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

quick: setup servers
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow" $(ARGS)

lint: setup types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: setup
	$(BIN)/python -m examples.code_reviewer.demo $(ARGS)

matrix: servers
	@for version in 3.12 3.13; do \
		python=$$(scripts/find-python $$version) || { echo "matrix: $$version left out"; continue; }; \
		venv=.venv-$$version; \
		if [ ! $$venv/.installed -nt requirements-dev.txt ]; then \
			$$python -m venv --clear $$venv && $$venv/bin/pip install --quiet --disable-pip-version-check \
				-r requirements-dev.txt && $$venv/bin/pip install --quiet --disable-pip-version-check \
				--no-deps --no-build-isolation -e . && touch $$venv/.installed || exit 1; \
		fi; \
		echo "matrix: $$($$venv/bin/python --version)"; \
		$$venv/bin/python -m pytest -n $(WORKERS) -m "not slow" -q $(ARGS) || exit 1; \
	done

# Ten to twenty minutes; `make bench ARGS="--only first_run engine"` measures a part again and keeps the rest.
bench: setup servers
	$(BIN)/python -m benchmarks $(ARGS)

# Fails on more requests or instructions than benchmarks/baseline.json has; ARGS=--write makes a meant change the baseline.
bench-quick: setup servers
	$(BIN)/python -m benchmarks.quick $(ARGS)

# Newest versions of the development tools; look at the difference before you commit it.
lock:
	python=$$(scripts/find-python) && $$python -m venv --clear .venv
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) --group dev
	$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools > requirements-dev.txt

clean:
	rm -rf .venv .venv-* .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
