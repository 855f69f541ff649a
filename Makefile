# Two commands matter: `make demo` and `make test`. Each sets up its own .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Looks for faults of accessibility in the tests of the pages; it comes from npm.
AXE := axe-core@4.14.1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check types browser bench bench-gate clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

setup: $(INSTALLED) ## Create .venv with the pinned versions (takes some minutes)

# What builds packages comes first, pinned too: nothing newer is then fetched to build the rest.
$(INSTALLED): pyproject.toml constraints.txt harness/slick_lm_eval_hook.py harness/slick_lm_eval_hook.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "slick needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "Setting up $(VENV) with the versions of constraints.txt …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet -c constraints.txt hatchling editables setuptools wheel
	@$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[test]'
	@touch $@

demo: $(INSTALLED) ## Run the main job on the embedded lab; writes reports/demo/
	@$(BIN)/slick demo --out reports/demo

test: $(INSTALLED) check ## Run every check and the whole test suite
	@$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term:skip-covered

check: $(INSTALLED) ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

types: $(INSTALLED) ## pyright (fetches it from the package registries)
	@$(PIP) install --quiet -c constraints.txt pyright
	@$(BIN)/pyright

browser: $(INSTALLED) ## Fetch what the browser tests need besides Chromium (axe-core, by npm)
	@command -v npm >/dev/null || { echo "make browser needs npm: apt-get install npm"; exit 2; }
	@npm install --prefix $(VENV)/browser --no-save --no-audit --no-fund --ignore-scripts --loglevel error $(AXE)
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo "Chromium is missing: apt-get install chromium"

bench: $(INSTALLED) ## Run the benchmarks; writes reports/benchmarks/
	@$(BIN)/python -m pytest tests/bench tests/browser -m bench -s

bench-gate: $(INSTALLED) ## Judge fine-tunings of known harm; trains what reports/benchmarks/gate_bank.parquet lacks
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/bench/test_planted.py -m bench -s

clean: ## Remove the environment and what the tools leave behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist
