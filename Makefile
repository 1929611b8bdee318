# The few verbs of this project. `make demo` and `make test` work in a fresh clone by themselves.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.synced
UV_VERSION := 0.13.9
# Each worker has its own sandboxes, which the tests of a file share.
TWO_AT_ONCE := -n 2 --dist loadfile
SOURCES := vllm_flows tasks flows cli deployments sandbox tests bench

.PHONY: help setup demo test lint check docs bench sandbox-up sandbox-down lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## Install everything into .venv, from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@echo "installing the Python packages into $(VENV)"
	@( while sleep 8; do echo "still installing the Python packages"; done ) & ticker=$$!; \
	trap "kill $$ticker" EXIT; set -e; \
	test -x $(VENV)/bin/uv || { python3 -m venv $(VENV); $(VENV)/bin/pip install --quiet uv==$(UV_VERSION); }; \
	export VIRTUAL_ENV=$(VENV); \
	$(VENV)/bin/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock; \
	$(VENV)/bin/uv pip install --quiet --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP) ## Four models from models.yaml to answers, on a sandbox cluster
	@$(PYTHON) -m sandbox.demo

test: $(STAMP) ## All tests: unit, then integration on a sandbox cluster of their own
	@$(PYTHON) -m compileall -q $(SOURCES)  # the tests start commands a thousand times
	@$(PYTHON) -m pytest -n 2 tests/unit
	@$(PYTHON) -m pytest $(TWO_AT_ONCE) --durations 30 tests/integration

lint: $(STAMP) ## Lint, types, import contracts
	@$(VENV)/bin/ruff check $(SOURCES)
	@$(VENV)/bin/ruff format --check $(SOURCES)
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

check: lint ## That, and the unit tests
	@$(PYTHON) -m pytest -q -n 2 tests/unit

docs: $(STAMP) ## Write docs/cli.md from the commands' help
	@$(PYTHON) -m cli.reference

bench: $(STAMP) ## Measure one thing beside its peer: make bench NAME=x
	@PYTHONPATH=. $(PYTHON) bench/$(or $(NAME),list).py

sandbox-up: $(STAMP) ## Start the sandbox cluster
	@$(PYTHON) -m sandbox up

sandbox-down: $(STAMP) ## Stop it and remove all of it but the cache
	@$(PYTHON) -m sandbox down

lock: ## Resolve the newest versions that pyproject.toml allows
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --extra sandbox --group dev --no-emit-index-url \
		--custom-compile-command "make lock" -o requirements.lock pyproject.toml
