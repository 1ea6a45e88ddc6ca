# Everything a newcomer needs: `make demo`, `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CODE   := monitor detectors runbooks tui tests
PYTEST := $(BIN)/python -m pytest
# The folder of test data; what needs it is skipped with a reason where it is absent.
DATA   ?= ../shared/data
# The folder of the scenario generator and its scoring.
TOOLS  ?= ../shared/tools
# QUICK=1 takes a short slice of the slow suites.
QUICK  ?=
export DATA QUICK

.PHONY: help demo test check deploy-check fix bench bench-replay bench-pages bench-detect fault lock services clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

demo: $(VENV)/runtime.stamp ## the main job on its embedded default: no Kafka, no network once installed
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/tocsin demo $(ARGS); else $(BIN)/tocsin demo --headless --json $(ARGS); fi

services: $(VENV)/dev.stamp ## Java, PostgreSQL, Prometheus and more (as root), Apache Kafka from its Maven Central jars
	sh tests/servers/install.sh
	$(BIN)/python -m tests.servers.kafka_server --fetch

check: $(VENV)/dev.stamp ## lint, types, import contracts, links in the docs
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.links README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md deploy/README.md

deploy-check: $(VENV)/dev.stamp ## rules, dashboards, image, compose, manifests, unit, example
	$(PYTEST) tests/unit/test_deploy_*.py

fix: $(VENV)/dev.stamp ## what the linters can mend themselves
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

test: $(VENV)/dev.stamp services check ## everything that CI runs
	$(PYTEST) --numprocesses 2 --dist loadfile $(ARGS)

bench: $(VENV)/dev.stamp ## cost of the hot path, peers beside it
	$(BIN)/python -m tests.bench.bench_decode
	$(BIN)/python -m tests.bench.bench_rate_cost

bench-replay: $(VENV)/dev.stamp services ## real agent runs through Apache Kafka; last line one JSON object
	$(BIN)/python -m tests.bench.bench_replay

bench-pages: $(VENV)/dev.stamp services ## pages a second when a thousand incidents open at once; last line one JSON object
	$(BIN)/python -m tests.bench.bench_pages

bench-detect: $(VENV)/dev.stamp ## detection against its goals, peers beside; last line one JSON object
	$(BIN)/python -m tests.bench.bench_detect --tools $(TOOLS) --data $(DATA)

fault: $(VENV)/dev.stamp services ## kill the daemon at its worst moments; last line one JSON object
	$(BIN)/python -m tests.fault

lock: ## pin all dependencies with their hashes
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	  --allow-unsafe --output-file requirements.lock pyproject.toml requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	  --allow-unsafe --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml requirements.in

clean: ## the virtual environment and all caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
