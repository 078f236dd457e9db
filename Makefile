# Every command of the project; each sets up .venv first when it has to.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup chdb demo test lint format types imports docs docs-test perf check lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## create .venv with Aetia and its development tools

$(STAMP): pyproject.toml requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "Aetia needs Python 3.11 or later; install it or run make PYTHON=/path/to/python3." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv." >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "setting up $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --constraint requirements/dev.txt --editable '.[dev]'
	@touch $@

chdb: setup ## ClickHouse's engine for the tests of the ClickHouse backend (half a gigabyte)
	@$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/chdb.txt

demo: setup ## diagnose a simulated incident
	@$(BIN)/aetia demo

test: setup ## run the test suite
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS)

lint: setup ## style, formatting, and how long files and functions may be
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest tests/test_style.py

format: setup ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## pyright, strict on src/aetia
	$(BIN)/pyright

imports: setup ## rooms import only from the rooms above them
	$(BIN)/lint-imports

docs: setup ## regenerate the generated parts of docs/
	$(BIN)/python docs/generate.py

docs-test: setup ## the docs say what the program does
	$(BIN)/python -m pytest tests/test_docs.py

perf: setup ## speed and memory, as ratios where a peer exists
	@set -e; for script in bench/perf/*.py; do case "$$script" in */_*) continue;; esac; \
		echo "== $$script"; $(BIN)/python "$$script"; done

check: test lint types imports docs-test ## everything but perf

lock: setup ## renew requirements/dev.txt (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --quiet \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' -o requirements/dev.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
