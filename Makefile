# Every command of the project. `make` alone lists them.
#
# PYTHON   which interpreter makes the virtual environment (3.11 or newer)
# WORKERS  how many processes run the tests: as many as cores, where there is memory for it
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test checks lint fuzz faults kills trials machines requery-trial deploy-trial harness conformance docs \
  harness-packages clean
.DELETE_ON_ERROR:

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP)  ## make .venv with the pinned versions, if missing or stale

demo: setup  ## a node, a phantom, and a table of measured against known
	$(BIN)/msk-node demo --out demo-out

test:  ## everything: linters, types, imports, all tests
	@$(MAKE) --no-print-directory --jobs=2 lint checks

# Tests wait a good deal (for servers, restarts, peers), so the linters cost little beside them;
# where they fail, make lets the tests end, and fails. pip and apt-get fetch side by side.
# Shares: tests/support/shares.py.
checks: setup harness-packages
	$(BIN)/pytest --numprocesses=$(WORKERS)

lint: setup  ## linters, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: setup  ## coverage-guided fuzzing of files into volumes, for SECONDS (default 600)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/fuzz/fuzz_series.py $(or $(SECONDS),600)

faults: setup harness-packages  ## every fault at every moment; writes its table anew (root)
	$(BIN)/pytest tests/faults/test_fault_matrix.py --all-faults

kills: setup  ## KILLS (default 1000) random kills while series arrive, then count
	$(BIN)/python tests/faults/thousand_kills.py $(or $(KILLS),1000)

trials: setup harness-packages  ## kill trials of the engine, ROUNDS of each kind (default 20)
	$(BIN)/python tests/trials/kill_trials.py $(or $(ROUNDS),20)

machines: setup harness-packages  ## workers added, updated, killed, frozen, cut off; SERIES (default 60) (root)
	$(BIN)/python tests/trials/many_workers.py $(or $(SERIES),60)

requery-trial: setup harness-packages  ## an Orthanc of STUDIES (default 60), re-queried by a node that is killed (root)
	$(BIN)/python tests/trials/requery_trial.py $(or $(STUDIES),60)

deploy-trial: setup  ## boot a Debian, install the node there as a service, send it a phantom (root)
	$(BIN)/python tests/trials/deploy_trial.py

harness: setup harness-packages  ## Orthanc and a node to look at by hand (root, until Ctrl-C)
	$(BIN)/python tests/harness/by_hand.py

conformance: setup harness-packages  ## write docs/conformance.md anew (root)
	$(BIN)/pytest tests/harness/test_conformance.py tests/harness/test_viewer.py \
	  tests/harness/test_conformance_table.py --update-conformance

docs: setup  ## write the generated pages of docs/ anew
	PYTHONPATH=tests $(BIN)/python -m support.generated

harness-packages:
	scripts/harness-packages

clean:  ## remove .venv, caches and outputs
	rm -rf $(VENV) *.egg-info build dist demo-out tests/harness/out tests/trials/out tests/harness/.cache \
	  .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and alone: pip then meets the other requirements around the build it chose.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	$(BIN)/pip check
	touch $@
