# Needs Python 3.11 or newer and make; everything else goes into .venv.
# Other Python: make demo PYTHON=python3.12     Other pip options: make demo PIP_ARGS="--index-url ..."

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
# -qq: errors only.
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check -c requirements/constraints.txt $(PIP_ARGS)
REQUIREMENTS := pyproject.toml requirements/constraints.txt

# Tests run in JOBS processes with one torch thread each. ARGS goes on to pytest.
JOBS ?= 2
BENCH ?= $(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))
ARGS ?=
PYTEST = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

# torch's threads spin while they wait for each other; on a busy machine that costs several times
# the work itself.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test proof lint format docs bench peers clean

help:  ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python found. Install Python 3.11 or newer, or say make PYTHON=/path/to/python."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Say make PYTHON=/path/to/python."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) -m venv failed. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: $(BIN)/python $(REQUIREMENTS)
	@echo "Installing into $(VENV) (a minute or two the first time) ..."
	@$(INSTALL) -e ".[all]"
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing tests, lint and docs tools ..."
	@$(INSTALL) -e ".[dev]"
	@touch $@

demo: $(VENV)/.demo  ## Train, search and score a first robust model; draw accuracy against radius.
	@$(BIN)/python examples/00_first_robust_model.py

test: lint  ## Lint, then all quick tests and doctests.
	@$(PYTEST) -m "not slow and not proof" $(ARGS)

proof: $(VENV)/.dev  ## The slow tests and the figures that the project claims.
	@$(PYTEST) -m "slow or proof" $(ARGS) || { code=$$?; test $$code -eq 5 && echo "No slow test selected." || exit $$code; }

lint: $(VENV)/.dev  ## Check style and formatting.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## Mend style and formatting.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev  ## Build the pages; warnings are errors.
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(VENV)/.demo  ## Run every benchmark (hours), or some: make bench BENCH="training predict".
	@set -e; for name in $(BENCH); do echo "== $$name"; \
		OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py $(ARGS); done

peers: $(VENV)/.dev  ## Install the independent tools that some tests compare with.
	@$(INSTALL) -e ".[peers]"

clean:  ## Remove what was built, .venv included.
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/api/generated examples/output benchmarks/output
	rm -rf .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
