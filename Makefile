# Two knobs: EXPERIMENT names an entry of experiments.yaml, each word of SET overrides one of its values:
#   make sweep EXPERIMENT=beans SET="trainer.max_epochs=1 data.batch_size=8"
EXPERIMENT ?= demo
SET ?=
PYTHON ?= python3
# Installs where it is there; UV= (nothing) leaves it to pip.
UV ?= uv
# Further arguments for pytest, such as PYTEST_ARGS="-n 2" or PYTEST_ARGS="-k pareto".
PYTEST_ARGS ?=
# Further arguments for the benchmark, such as BENCH_ARGS="--image-size 64 224 --waterfall --scale".
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_OPTIONS := --disable-pip-version-check --no-input --root-user-action=ignore --progress-bar off
# A line now and then in place of pip's several for each package, and its first warning with a count of the others; what
# else it says is shown. It fails as pip does.
PROGRESS := awk '/^(Collecting|Processing)/ {sub(/.*\//, "", $$2); if (++n % 10 == 0) print "  " n " packages fetched, now " $$2; fflush(); next} \
  /^Installing collected/ {print "  all fetched; unpacking"; fflush(); next} \
  /^WARNING/ {if (!w++) {print; fflush()} next} /^FAILED/ {bad = 1; next} \
  /^(  |Using|Ignoring|Requirement already|Downloading|Saved|Successfully|Looking|Obtaining)/ {next} {print; fflush()} \
  END {if (w > 1) print "  and " w - 1 " more warnings of pip"; exit bad}'
# Each word of SET becomes one --set, quoted for the shell.
OVERRIDES = $(foreach word,$(SET),--set '$(subst ','\'',$(word))')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup sweep demo study ui status pareto test test-faults test-gpu bench calibrate check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv from requirements.lock (once, and again when the lock changes)
	@echo "$(VENV) is ready"

sweep: $(STAMP) ## sweep EXPERIMENT (default demo), what it starts from first; SET="key.path=value ..." overrides its values
	@$(BIN)/orchestrator sweep '$(EXPERIMENT)' --with-source $(OVERRIDES)

demo: $(STAMP) ## sweep the demo: handwritten digits, no download, two minutes on two cores
	@$(BIN)/orchestrator sweep demo --with-source $(OVERRIDES)

study: $(STAMP) ## sweep the published study: Beans images and ImageNet weights, which it downloads
	@$(BIN)/orchestrator sweep beans --with-source $(OVERRIDES)

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
	ORCHESTRATOR_REQUIRE_GPU=1 $(BIN)/pytest -m gpu --tb=short -rN tests/training $(PYTEST_ARGS)

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

# uv where it is there, else pip: both take only what requirements.lock names, with the hashes that it gives. The stamp
# comes last, so that what was interrupted is made again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "orchestrator needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@rm -f $@
	@echo "making $(VENV): $$(grep -c '^[a-zA-Z].*==' requirements.lock) packages of requirements.lock, some gigabytes, some minutes"
	@$(PYTHON) -m venv $(VENV)
	@if [ -n "$(UV)" ] && command -v "$(UV)" >/dev/null 2>&1; then \
	  echo "with uv" && \
	  "$(UV)" pip install --python $(BIN)/python --require-hashes --no-deps -r requirements.lock && \
	  "$(UV)" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  echo "with pip" && \
	  { $(BIN)/python -m pip install $(PIP_OPTIONS) --no-compile --require-hashes --no-deps -r requirements.lock 2>&1 \
	    || echo FAILED; } | $(PROGRESS) && \
	  { $(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation -e . >$(VENV)/pip.log 2>&1 \
	    || { cat $(VENV)/pip.log; false; }; }; \
	fi
	@$(BIN)/orchestrator --help >/dev/null
	@touch $@
