# Medferry's commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make test` and `make faults`. Proven with two on two cores; one runs the tests as plain pytest does.
WORKERS ?= 2
# Where the tests' databases are: a disk is waited for at each commit. Of a small /dev/shm, as containers have, nothing is asked.
MEMORY ?= $(shell [ "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 4000000 ] 2>/dev/null && echo /dev/shm || echo /tmp)
UV_VERSION := 0.13.9
UNIT := tests/mapping tests/fhir tests/medplum tests/manifest tests/source tests/dags tests/clinics tests/definition tests/cli tests/store tests/apply/test_breaker.py tests/apply/test_targets.py tests/test_*.py
# Without this, importing Airflow takes two to three times as long.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH := include:.

.PHONY: help install system lock check test demo live airflow faults bench sbom docs site compose-check clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Install the locked Python packages, Medplum's npm packages and .venv/bin/medferry

$(VENV)/.installed: requirements-dev.lock include/embedded_medplum/package-lock.json bin/medferry
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || (echo "Medferry needs Python 3.11 or 3.12: make PYTHON=python3.11 …"; exit 1)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements-dev.lock
	ln -sf ../../bin/medferry $(BIN)/medferry
	$(BIN)/python -c 'from embedded_medplum.install import install; install()'
	@touch $@

system: ## Install what the tests need from Debian (PostgreSQL, MariaDB, Redis, Chromium), where it is missing
	@bash tests/install_system_packages.sh

lock: ## Resolve requirements*.txt anew into the hashed locks
	for name in requirements requirements-dev requirements-mssql; do \
	  $(BIN)/uv pip compile --quiet $$name.txt --universal --python-version 3.11 --generate-hashes --no-header \
	    --upgrade -o $$name.lock || exit 1; done

check: install ## Lint, types and unit tests: the inner loop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@mkdir -p build && $(BIN)/python -m pytest --collect-only -qq >build/collected.txt || (cat build/collected.txt; exit 1)
	$(BIN)/python -m pytest -q -m 'not slow' $(UNIT)

test: install system ## Everything: lint, types, all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	TMPDIR=$(MEMORY) $(BIN)/python -m pytest $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS)) --durations 40 \
	  -o tmp_path_retention_policy=failed

demo: install ## Migrate the demo clinics to the embedded Medplum through Airflow; reports in build/demo
	$(BIN)/python -m demo_clinics.demo

live: install ## People work in the demo's legacy database and in Medplum at once, for two minutes; was anything lost?
	$(BIN)/python -m demo_clinics live

airflow: install ## Serve the Airflow UI on the demo clinics until Ctrl-C
	$(BIN)/python -m demo_clinics.demo --serve

faults: install system ## The long fault suite: random kills (MEDFERRY_FAULT_SEEDS, 1000 by default), random keys and rows, 10000 simulations of the sync (MEDFERRY_SIMULATIONS), ten flips under load, two Celery workers of which one dies
	MEDFERRY_FAULT_SEEDS=$${MEDFERRY_FAULT_SEEDS:-1000} MEDFERRY_KEY_EXAMPLES=$${MEDFERRY_KEY_EXAMPLES:-1000} \
	  MEDFERRY_SIMULATIONS=$${MEDFERRY_SIMULATIONS:-10000} \
	  MEDFERRY_GAME_DAY_ROUNDS=$${MEDFERRY_GAME_DAY_ROUNDS:-5} MEDFERRY_CELERY=yes TMPDIR=$(MEMORY) \
	  $(BIN)/python -m pytest tests/faults tests/simulator tests/cutover/test_game_day.py tests/airflow/test_phased.py tests/airflow/test_celery.py tests/source/test_random_keys.py tests/source/test_random_rows.py --timeout 14400 \
	  $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS)) -o tmp_path_retention_policy=failed

bench: install ## Measure Medferry beside Medplum's own ways; results in build/bench
	$(BIN)/python -m medferry_bench

sbom: install ## Write the bill of materials (CycloneDX) and the licences of what the image installs into build/sbom
	$(BIN)/python release/sbom.py build/sbom

docs: install ## Write the generated pages of docs anew
	$(BIN)/python -m tests.test_docs

site: install ## Build the documentation as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

compose-check: install ## Validate docker-compose.yaml
	$(BIN)/python -m pytest -q tests/compose

clean: ## Remove everything that the commands above have made, the environment too
	rm -rf $(VENV) build include/embedded_medplum/node_modules
