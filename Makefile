# Two knobs: EXPERIMENT names an entry of experiments.yaml, each word of SET overrides one of its values:
#   make sweep EXPERIMENT=beans SET="trainer.max_epochs=1 data.batch_size=8"
EXPERIMENT ?= demo
SET ?=
PYTHON ?= python3
# Installs where it is there; UV= (nothing) leaves it to pip.
UV ?= uv
# Further arguments for pytest, such as PYTEST_ARGS="-n 2".
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

# $(call sweep_small,ENVIRONMENT) sweeps the demo for an epoch, offline, from within a folder that holds no package.
define sweep_small
	rm -rf build/small && mkdir -p build/small
	cd build/small && $(CURDIR)/$(1)/bin/orchestrator sweep demo --with-source --config $(CURDIR)/experiments.yaml \
	  --root . --set trainer.max_epochs=1
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup sweep demo study ui status pareto test test-lowest test-minimal test-faults test-models test-gpu bench calibrate docs house check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

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

# `check` goes without the tracer: it is to be quick. Only what runs in the tests' own processes is counted, not workers.
# Some tests alone cover less than the floor in pyproject.toml: PYTEST_ARGS="-k pareto --no-cov".
test: $(STAMP) ## run the tests (no GPU, no network), and print what of the package they run through
	$(BIN)/pytest --cov=orchestrator $(PYTEST_ARGS)

# Old versions are used beside newer ones that they did not know, so what they call may be deprecated.
test-lowest: .venv-lowest/.installed ## sweep the demo and run some tests with the lowest versions that pyproject.toml allows
	$(call sweep_small,.venv-lowest)
	.venv-lowest/bin/pytest -W default::DeprecationWarning -W default::PendingDeprecationWarning \
	  -W default::FutureWarning tests/config tests/contract tests/search tests/training/run $(PYTEST_ARGS)

test-minimal: $(STAMP) ## sweep the demo with the wheel and what it needs to run, in an environment without development tools
	rm -rf build/minimal
	$(BIN)/python -m hatchling build -t wheel -d build/minimal
	$(BIN)/python -m tools.runtime_lock >build/minimal/requirements.lock
	$(call install,build/minimal/venv,build/minimal/requirements.lock,build/minimal/*.whl)
	$(call sweep_small,build/minimal/venv)

test-faults: $(STAMP) ## kill, stop and starve sweeps, and look whether anything is lost (an hour)
	$(BIN)/pytest -m '' tests/faults $(PYTEST_ARGS)

test-models: $(STAMP) ## cut every network of torchvision, and thirty of timm where it is installed (an hour)
	$(BIN)/pytest -m models tests/training $(PYTEST_ARGS)

test-gpu: $(STAMP) ## run the tests that need a CUDA GPU (8 minutes at most), and print a table; without one they fail
	ORCHESTRATOR_REQUIRE_GPU=1 $(BIN)/pytest -m gpu --tb=short -rN tests/training $(PYTEST_ARGS)

bench: $(STAMP) ## time a sweep against a plain script (about half an hour); BENCH_ARGS="--help" lists its knobs
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

calibrate: $(STAMP) ## simulate sweeps whose truth is known: what intervals, fronts and corrections are worth
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibrate

docs: $(STAMP) ## build the documentation into build/docs; a broken link fails
	@$(BIN)/sphinx-build -q -E -W --keep-going -c docs . build/docs
	@cp build/docs/README.html build/docs/index.html
	@echo "open build/docs/index.html"

house: $(STAMP) ## count the rooms of the package, the arrows between them, and the circles
	@$(BIN)/python -m tools.house

check: $(STAMP) ## run linter, formatter, type checker, import rules and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(PYTEST_ARGS)

clean: ## remove caches and builds; mlruns/ and .venv/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
	find orchestrator tests benchmarks tools docs -name __pycache__ -prune -exec rm -rf {} +

# $(call install,ENVIRONMENT,LOCK,PROJECT) makes an environment with uv where it is there, else with pip: both take only
# what the lock names, with the hashes that it gives, and then the project without its dependencies.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "orchestrator needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "making $(1): $$(grep -c '^[a-zA-Z].*==' $(2)) packages of $(2), some gigabytes, some minutes"
	@$(PYTHON) -m venv $(1)
	@if [ -n "$(UV)" ] && command -v "$(UV)" >/dev/null 2>&1; then \
	  echo "with uv" && \
	  "$(UV)" pip install --python $(1)/bin/python --require-hashes --no-deps -r $(2) && \
	  "$(UV)" pip install --quiet --python $(1)/bin/python --no-deps --no-build-isolation $(3); \
	else \
	  echo "with pip" && \
	  { $(1)/bin/python -m pip install $(PIP_OPTIONS) --no-compile --require-hashes --no-deps -r $(2) 2>&1 \
	    || echo FAILED; } | $(PROGRESS) && \
	  { $(1)/bin/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation $(3) >$(1)/pip.log 2>&1 \
	    || { cat $(1)/pip.log; false; }; }; \
	fi
	@$(1)/bin/orchestrator --help >/dev/null
endef

# The stamp comes last, so that what was interrupted is made again.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $@
	$(call install,$(VENV),requirements.lock,-e .)
	@touch $@

.venv-lowest/.installed: requirements-lowest.lock pyproject.toml
	@rm -f $@
	$(call install,.venv-lowest,requirements-lowest.lock,-e .)
	@touch $@
