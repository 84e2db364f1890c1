# The commands of the project; `make` alone lists them. They create the environment .venv when it is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export UV_PYTHON_DOWNLOADS := never

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& command -v $$name && break; done)
BIN := .venv/bin
# Each worker has a PostgreSQL and homes of its own; a file's tests stay together, because they share a home.
IN_PARALLEL ?= -n 2 --dist loadfile
SOURCE ?= berka
AS_OF ?= 1998-12-31

.PHONY: help setup demo run test test-fast test-all lint fix docs bench serve clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: .venv/.installed ## create the environment .venv from the lock file

# uv makes the environment; where the machine has none, pip puts one into the environment itself.
.venv/.installed: uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none is on the PATH." >&2; exit 1; }
	@if command -v uv >/dev/null; then \
		uv sync --quiet --frozen --extra celery --python "$(PYTHON)"; \
	else \
		test -x $(BIN)/python || "$(PYTHON)" -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv; \
		$(BIN)/uv sync --quiet --frozen --inexact --extra celery --python $(BIN)/python; \
	fi
	@touch $@

demo: setup ## make a small portfolio, run the DAG over consecutive days, show where to look (state in var/demo)
	@ARREARS_HOME="$(CURDIR)/var/demo" $(BIN)/arrears demo

run: setup ## run the DAG for SOURCE and AS_OF (TO, DROP, REPLACE if wanted; state in var/SOURCE)
	@ARREARS_HOME="$(CURDIR)/var/$(SOURCE)" $(BIN)/arrears run --source "$(SOURCE)" --as-of "$(AS_OF)" \
		$(if $(TO),--to "$(TO)") $(if $(DROP),--drop "$(DROP)") $(if $(REPLACE),--replace "$(REPLACE)")

test: setup ## the tests, slow suites sampled with fixed seeds
	@$(BIN)/pytest $(IN_PARALLEL) -m "not slow"

test-fast: setup ## unit tests
	@$(BIN)/pytest tests/unit

test-all: setup ## the slow suites whole
	@$(BIN)/pytest $(IN_PARALLEL)

lint: setup ## ruff, mypy, sqlfluff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models dbt_project/tests

fix: setup ## what the linters can mend themselves
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfluff fix --disable-progress-bar dbt_project/models dbt_project/tests

bench: setup ## the benchmarks, each as a ratio to a named peer of the same run
	@$(BIN)/python -m benchmarks

docs: setup ## dbt's documentation of models, columns and lineage as one page (of var/demo, or of ARREARS_HOME)
	@ARREARS_HOME="$${ARREARS_HOME:-$(CURDIR)/var/demo}" $(BIN)/arrears docs

serve: setup ## Airflow's UI with its scheduler, on the database of var/SOURCE (or of ARREARS_HOME)
	@ARREARS_HOME="$${ARREARS_HOME:-$(CURDIR)/var/$(SOURCE)}" $(BIN)/arrears serve

clean: ## stop what runs and remove the state under var
	@for home in var var/*; do \
		test ! -d "$$home/postgres" || ARREARS_HOME="$(CURDIR)/$$home" $(BIN)/arrears stop; \
		test ! -f "$$home/postgres/location" || rm -rf "$$(cat "$$home/postgres/location")"; \
	done
	@rm -rf var
