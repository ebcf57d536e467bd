# Two commands on a fresh machine: `make run` and `make test`. Everything else is a convenience.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

#: Both cores of a small machine, a file's tests on one of them, and the order of tests/conftest.py kept.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup run test coverage test-slow test-all dev lint format types docs bench clean

help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create the environment from requirements.lock.

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

run: $(STAMP) ## Run the whole chain; on an empty landing folder, on a sample company.
	@$(BIN)/strata run --sample-if-empty

dev: $(STAMP) ## Serve the Dagster UI, with schedules and sensors on.
	@$(BIN)/strata dev

test: $(STAMP) ## Run all tests but the slow ones.
	@$(PYTEST) -m "not slow" $(if $(COVERAGE),--cov --cov-report=term)

coverage: ## Run them and require that they cover the domain (takes an eighth longer).
	@$(MAKE) --no-print-directory test COVERAGE=1

test-slow: $(STAMP) ## Run the slow tests.
	@$(PYTEST) -m slow

test-all: $(STAMP) ## Run all tests.
	@$(PYTEST)

lint: $(STAMP) ## Check style, types, import contracts and SQL.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/sqlfluff lint dbt_project/models dbt_project/tests --disable-progress-bar

format: $(STAMP) ## Format code and SQL.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfluff fix dbt_project/models dbt_project/tests --disable-progress-bar

docs: $(STAMP) ## Write the dbt documentation site to data/dbt.
	@$(BIN)/strata docs

bench: $(STAMP) ## Measure the chain at 10k, 100k and 1M customers (about a quarter of an hour).
	@$(BIN)/python -m benchmarks.chain

lock: ## Pin every dependency again (needs uv).
	@uv pip compile pyproject.toml --extra dev --extra build --generate-hashes --universal --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --no-header --quiet --output-file requirements.lock

clean: ## Remove the environment and everything that runs wrote.
	@rm -rf $(VENV) data dbt_project/target .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@git clean -fdXq orchestration/home
