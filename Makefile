# Everything happens in .venv; nothing is installed globally.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT := .venv-audit
# Where bytecode is not kept, every agent that starts compiles all of its modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-long fuzz lint audit chaos bench lock clean
help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/ready ## stop and start a real three-server cluster, in under a minute
	@$(BIN)/obshell demo

# More workers than cores: a fifth of their time tests wait for processes.
test: $(VENV)/ready ## run the whole test suite
	$(BIN)/pytest -n 3

test-long: $(VENV)/ready ## what takes too long for every change: agents lost while scaling, the stand-in itself
	$(BIN)/pytest -n 2 -m long

fuzz: $(VENV)/ready ## many requests made up from the OpenAPI document: make fuzz SEED=7
	SEED=$(or $(SEED),1) $(BIN)/pytest -n 2 -m long tests/unit/api/test_openapi_cases.py

lint: $(VENV)/ready ## style, types, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

audit: ## look the dependencies up among known vulnerabilities; exit code 3 of the tool: they could not be
	@$(MAKE) --no-print-directory $(AUDIT)/ready || \
		{ echo "NOT AUDITED, for pip-audit cannot be installed: no package index answers"; exit 3; }
	@$(AUDIT)/bin/python tools/audit.py $(AUDIT)/bin/pip-audit

$(AUDIT)/ready: tools/audit.lock
	@$(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/audit.lock
	@touch $@

chaos: $(VENV)/ready ## operations on a cluster whose agents are killed: make chaos ROUNDS=200 SEED=7
	PYTHONPATH=tests $(BIN)/python -m chaos --rounds $(or $(ROUNDS),50) $(if $(ENGINE),--engine $(ENGINE)) \
		$(if $(SEED),--seed $(SEED)) \
		$(if $(FIRST),--first $(FIRST)) $(if $(KEEP),--keep $(KEEP))

bench: $(VENV)/ready ## how fast a stop is orchestrated, as a table
	$(BIN)/python -m bench

LOCKING := --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade
lock: $(VENV)/ready ## pin the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra seekdb --universal --python-version 3.11 \
		$(LOCKING) -o requirements.lock
	echo pip-audit | $(BIN)/uv pip compile - --universal --python-version 3.11 $(LOCKING) -o tools/audit.lock

clean: ## remove what make made
	rm -rf $(VENV) $(AUDIT) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
