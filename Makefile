# Two commands do all the set-up: `make demo` shows the whole loop, `make test` checks everything.
.PHONY: demo test check year lock clean
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Nothing here sends usage telemetry; PATH so that dvc and mlflow find each other.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"

$(VENV)/demo: $(BIN)/uv requirements.lock pyproject.toml
	@echo "installing the locked requirements ..."
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/test: $(VENV)/demo requirements-dev.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/demo
	$(BIN)/python scripts/demo.py

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --durations=10

# Half a year of the demonstration's data through a gateway, watched and retrained.
year: $(VENV)/demo
	$(BIN)/python -W ignore -m benchmarks.year.run

# Writes all locks anew; no registry's address goes into them.
lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --extra dev \
		--constraint requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --constraint requirements.lock \
		--constraint requirements-dev.lock deploy/compose/server.in -o deploy/compose/server.lock

clean:
	rm -rf $(VENV) artifacts build *.egg-info
