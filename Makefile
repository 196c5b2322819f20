# The verbs of this project. `make run` and `make test` are all a newcomer needs; CI runs the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements
COMPILE := pyproject.toml --quiet --upgrade --universal --no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help run test test-browser check docs bench bdist lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.run  ## the gateway on 127.0.0.1:8888 with local kernels
	exec $(BIN)/jupyter-enterprisegateway

test: $(VENV)/.dev  ## all tests that need neither a cluster nor a browser
	$(BIN)/pytest

test-browser: $(VENV)/.dev $(VENV)/.browser  ## JupyterLab in a real browser; installs chromium where it is missing
	.ci/install-browser
	$(BIN)/pytest -m browser tests/browser

check: $(VENV)/.dev  ## style, types, imports between floors, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir $(abspath $(VENV))/site

docs: $(VENV)/.dev  ## the documentation on http://127.0.0.1:8000
	$(BIN)/python -m enterprise_gateway.config.page > docs/configuration.md
	$(BIN)/mkdocs serve

bench: $(VENV)/.dev  ## the table of what must be reached, measured against bare ZMQ in the same run
	$(BIN)/python -m benchmarks

bdist: $(VENV)/.dev  ## a wheel in dist/
	$(BIN)/python -m build --wheel

lock: $(BIN)/python  ## new pins from the ranges in pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile $(COMPILE) --group dev --group run -o $(LOCK)/dev.txt
	$(BIN)/uv pip compile $(COMPILE) -c $(LOCK)/dev.txt --group run -o $(LOCK)/run.txt
	$(BIN)/uv pip compile $(COMPILE) -c $(LOCK)/dev.txt --group browser -o $(LOCK)/browser.txt

clean:  ## everything made here
	rm -rf $(VENV) dist site test-artifacts tests/node/node_modules

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: $(LOCK)/%.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
