# Two knobs: EXPERIMENT names an entry of experiments.yaml, each word of SET overrides one of its values:
#   make sweep EXPERIMENT=demo SET="trainer.max_epochs=1 data.batch_size=8"
EXPERIMENT ?= beans
SET ?=
PYTHON ?= python3
# Further arguments for pytest, such as PYTEST_ARGS="-n 2" or PYTEST_ARGS="-k pareto".
PYTEST_ARGS ?=
# Further arguments for the benchmark, such as BENCH_ARGS="--image-size 64 224 --waterfall --scale".
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Each word of SET becomes one --set, quoted for the shell.
OVERRIDES = $(foreach word,$(SET),--set '$(subst ','\'',$(word))')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup sweep demo ui status pareto test test-faults test-gpu bench calibrate check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv from requirements.lock (once, and again when the lock changes)
	@echo "$(VENV) is ready"

sweep: $(STAMP) ## sweep EXPERIMENT (default beans); SET="key.path=value ..." overrides its values
	$(BIN)/orchestrator sweep '$(EXPERIMENT)' $(OVERRIDES)

demo: $(STAMP) ## sweep the demo: drawn images, no download, minutes on a CPU
	$(BIN)/orchestrator sweep demo $(OVERRIDES)

ui: $(STAMP) ## show the MLflow UI and TensorBoard until Ctrl-C
	$(BIN)/orchestrator ui

status: $(STAMP) ## say how far the sweep of EXPERIMENT is
	$(BIN)/orchestrator status '$(EXPERIMENT)'

pareto: $(STAMP) ## print the Pareto front of EXPERIMENT
	$(BIN)/orchestrator pareto '$(EXPERIMENT)'

test: $(STAMP) ## run the tests (no GPU, no network)
	$(BIN)/pytest $(PYTEST_ARGS)

test-faults: $(STAMP) ## kill, stop and starve sweeps, and look whether anything is lost (an hour)
	$(BIN)/pytest -m '' tests/faults $(PYTEST_ARGS)

test-gpu: $(STAMP) ## run the tests that need a CUDA GPU (8 minutes at most), and print a table; without one they fail
	ORCHESTRATOR_REQUIRE_GPU=1 $(BIN)/pytest -m gpu --tb=short tests/training $(PYTEST_ARGS)

bench: $(STAMP) ## time a sweep against a plain script (about half an hour); BENCH_ARGS="--help" lists its knobs
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

calibrate: $(STAMP) ## simulate sweeps whose truth is known: what intervals, fronts and corrections are worth
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibrate

check: $(STAMP) ## run linter, formatter, type checker, import rules and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(PYTEST_ARGS)

clean: ## remove caches and builds; mlruns/ and .venv/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find orchestrator tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "orchestrator needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "installing what requirements.lock names into $(VENV): some gigabytes, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
