# make demo   the main job on this machine, from a price list to a fine-tuned model
# make test   the gate, all that CI holds, on the built wheel: 11 min 33 s on two idle cores (2026-11-30, caches warm)
# make check  the inner loop: lint, types, import contracts, fast tests (2 minutes, 2026-11-30)
#             [ORDER=random [SEED=n]]  in a random order, which is printed
# make soak   [PART=n/N] [SOAK_DIR=folder]  all that takes hours, with fresh seeds, which are printed: whole campaigns,
#             kills, every pair of behaviour and cloud, real trainings everywhere. Each part takes less than an hour;
#             what is done is noted in the folder and not done again
# make campaign CLOUD=aws|digitalocean|gce|tpu|runpod SEED=1 TRIALS=100 [KILL=1] [PROTOCOL=off] [SLOW=10] [JOBS=1] [LYING=1]
#             random faults (and kills of real processes) against a fake cloud; exit 1 when anything leaks or lies;
#             python -m tests.campaign.nights CLOUD SEED NIGHTS [--seeds N]: a schedule's nights, ticks dropped, late, killed
#             JOBS=1: whole runs on machines that really run (CLOUD=v6e too: TPUs of Compute Engine); LYING=1: on machines that lie
#
# Needs only Python 3.11. Whatever else is missing is installed here and said; caches lie in ~/.cache/cloudtrain
# (CLOUDTRAIN_CACHE moves them), keyed by their locks.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-dev.lock)
# More than the cores of CI: a test waits half of its time, for a process, a machine or a deadline; others compute then.
WORKERS ?= 5
ORDER_SEED = $(or $(SEED),$(shell $(PYTHON) -c "import random; print(random.randrange(10**6))"))
PYTEST := -n $(WORKERS) --dist loadgroup --durations=30

# What Python compiles is kept, here and in whatever is started: each worker would rewrite and compile all tests anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check soak lint types imports fast on-the-wheel pulumi campaign docs wheel bench bench-cpu lock clean

$(BIN)/.ready: requirements-dev.lock pyproject.toml
	@echo "making $(VENV): the locked packages that the project and its checks need (about 200 MB, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q cloudtrain pricing stacks
	@touch $@

demo: $(BIN)/.ready
	@$(BIN)/python templates/demo/demo.py

# What takes seconds first; the others beside each other. A test run leaves a processor idle now and then.
check: lint
	@$(MAKE) --no-print-directory -j3 types imports fast

lint: $(BIN)/.ready
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && echo "lint: ruff format and ruff check are clean"

types: $(BIN)/.ready
	@$(BIN)/mypy --no-error-summary && echo "types: mypy strict is clean"

imports: $(BIN)/.ready
	@$(BIN)/lint-imports --no-cache > .import-contracts.log 2>&1 && echo "imports: all contracts kept" \
	  || { cat .import-contracts.log; exit 1; }

fast: $(BIN)/.ready
	@$(BIN)/python -m pytest -q $(PYTEST) -m "not trainer and not engine and not campaign and not machine" \
	  $(if $(filter random,$(ORDER)),--order-seed $(ORDER_SEED))

# Pulumi's command line for the tests: found, or installed, or built from its Go module once and cached.
pulumi: $(BIN)/.ready
	@$(BIN)/python tests/pulumi_cli/provide.py > $(VENV)/pulumi-root

CLOUD ?= runpod
TRIALS ?= 100
campaign: pulumi
	@CLOUDTRAIN_PULUMI_ROOT=$$(cat $(VENV)/pulumi-root) $(BIN)/python -m tests.campaign $(CLOUD) $(or $(SEED),1) $(TRIALS) \
	  $(if $(KILL),--kill) $(if $(JOBS),--jobs) $(if $(LYING),--lying) $(if $(filter off,$(PROTOCOL)),--plain) $(if $(SLOW),--slow $(SLOW))

# The whole suite on the built wheel, in a folder without the sources; what is about the repository itself runs here.
test: lint
	@$(MAKE) --no-print-directory -j3 types imports on-the-wheel

on-the-wheel: pulumi
	@CLOUDTRAIN_PULUMI_ROOT=$$(cat $(VENV)/pulumi-root) CLOUDTRAIN_ENGINE_TESTS=required \
	  $(BIN)/python tests/on_the_wheel.py $(PYTEST) \
	  $(if $(filter random,$(ORDER)),--order-seed $(ORDER_SEED))

PART ?= 1/1
SOAK_DIR ?= .soak
soak: $(BIN)/.ready
	@$(BIN)/python -m tests.soak $(PART) $(SOAK_DIR)

bench: $(BIN)/.ready
	@for bench in tests/bench/*.py; do $(BIN)/python $$bench; done

# Stock TRL, our plain trainer and our fast one on this processor: STEPS steps each, in turn; SETTING: lora, qlora, shape.
bench-cpu: $(BIN)/.ready
	@$(BIN)/python tests/bench/cpu_trainer.py $(or $(STEPS),5) $(SETTING)

lock: $(BIN)/.ready
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra simulate pyproject.toml requirements-dev.in -o requirements-dev.lock

# What documents take from the code (README, docs/); a test says when it is due.
docs: $(BIN)/.ready
	@$(BIN)/python -m docs.reference

wheel: $(BIN)/.ready
	@$(BIN)/uv build -q --no-build-isolation --python $(BIN)/python --out-dir dist . && ls dist

clean:
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
