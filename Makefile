# The verbs of this project. `make run` and `make test` are all a newcomer needs; CI runs the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements

.DEFAULT_GOAL := help
.PHONY: help run test test-browser check docs bench bdist lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/run  ## the gateway on 127.0.0.1:8888 with local kernels
	exec $(BIN)/jupyter-enterprisegateway

test: $(VENV)/test  ## all tests that need neither a cluster nor a browser
	$(BIN)/pytest

test-browser: $(VENV)/browser  ## JupyterLab in a real browser; installs chromium where it is missing
	.ci/install-browser
	$(BIN)/pytest -m browser tests/browser

check: $(VENV)/check  ## style, types, imports between floors, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet --strict --site-dir $(VENV)/site

docs: $(VENV)/check  ## the documentation on http://127.0.0.1:8000
	$(BIN)/python -m enterprise_gateway.config.page > docs/configuration.md
	$(BIN)/mkdocs serve

bench: $(VENV)/test  ## the table of what must be reached, measured against bare ZMQ in the same run
	$(BIN)/python -m benchmarks

bdist: $(VENV)/check  ## a wheel in dist/
	$(BIN)/python -m build --wheel

lock: $(BIN)/python  ## new pins from the ranges in pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	for group in run test browser check; do \
	  $(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header --python-version 3.11 \
	    pyproject.toml --group $$group -o $(LOCK)/$$group.txt; \
	done

clean:  ## everything made here
	rm -rf $(VENV) dist site test-artifacts tests/node/node_modules

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/%: $(LOCK)/%.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
