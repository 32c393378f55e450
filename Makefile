# Set-up, the main job and every check. `make` alone lists the targets; each does its own set-up first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

.PHONY: setup
setup: $(INSTALLED) ## virtual environment .venv with the locked dependencies
	@echo "setup: .venv is up to date"

.PHONY: run
run: setup ## the main job: a small sweep through Ray Tune, with its map and report (`sweep run quickstart`)
	$(BIN)/sweep run quickstart

.PHONY: test
test: setup system-packages ## every check: ruff, mypy, import contracts, spelling, pytest
	@$(MAKE) --no-print-directory --keep-going checks

.PHONY: lock
lock: setup ## resolve the dependency ranges of pyproject.toml again into constraints.txt
	@echo "lock: resolving the dependencies of pyproject.toml into constraints.txt"
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-header \
		--upgrade-package "$$(grep '^torch==' constraints.txt)" \
		--extra aws --extra dev --extra s3-test --output-file .venv/constraints.txt pyproject.toml
# A local version such as +cpu exists on some package indexes only; the plain version matches every build.
	{ echo "# Made by 'make lock' from pyproject.toml; to move torch, edit its line first."; \
		sed -E 's/^(torch==[0-9.]+)\+.*/\1/' .venv/constraints.txt; } > constraints.txt

# torch goes in first and by its exact version, so that pip takes a CPU build where one is at hand
# (a folder in PIP_FIND_LINKS, say) rather than whichever build the other packages would pull in.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "setup: Python 3.11 or newer is needed, found: $$($(PYTHON) --version 2>&1 || true)." \
			"Install it, or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "setup: installing Debian's python3-venv, which makes virtual environments"; \
			apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
		else \
			echo "setup: $(PYTHON) cannot make virtual environments; on Debian: sudo apt-get install python3-venv" >&2; \
			exit 1; \
		fi; }
	@echo "setup: making the virtual environment .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "setup: installing $$(grep '^torch==' constraints.txt)"
	@$(BIN)/pip install -qq --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@echo "setup: installing grokking-sweep and the locked dependencies of constraints.txt (a minute or two)"
	@$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[aws,dev,s3-test]'
	@touch $@

.PHONY: system-packages
system-packages:
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then administrator=none; \
	elif [ "$$(id -u)" = 0 ]; then administrator=; \
	elif sudo -n true 2>/dev/null; then administrator="sudo -n"; \
	else administrator=none; fi; \
	if [ "$$administrator" = none ]; then \
		echo "test: chromium is not installed, the tests that open pages in it are skipped" \
			"(sudo apt-get install chromium)"; exit 0; \
	fi; \
	echo "test: installing Debian's chromium, in which tests open the report"; \
	$$administrator apt-get update -qq && \
	$$administrator apt-get install -y -qq --no-install-recommends chromium >/dev/null

# One target a check, so that --keep-going runs the later ones after a failure; pytest's summary comes last.
.PHONY: checks lint format types imports spelling unit
checks: lint format types imports spelling unit
lint:
	$(BIN)/ruff check
format:
	$(BIN)/ruff format --check
types:
	$(BIN)/mypy
imports:
	$(BIN)/lint-imports --no-logo
spelling:
	$(BIN)/codespell
# In two processes, one of which takes all files with slow tests (tests/conftest.py).
unit:
	$(BIN)/pytest -n 2
