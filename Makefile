# `make demo`, `make check` and `make test` set up all they need in .venv, on a fresh machine too.

PYTHON ?= python3
# The versions to install; `make check CONSTRAINTS=` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALL := $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable

.PHONY: demo check test test-cluster lint docs clean system-packages azurite

demo: .venv/installed
	scripts/demo $(BIN)

check: .venv/check-installed lint
	$(BIN)/pytest --doctest-ignore-import-errors -m "not (slow or slow_cluster or torch or frameworks or gpu or postgresql or browser)"

test: .venv/test-installed system-packages azurite lint
	$(BIN)/pytest

# Clusters on several machines, made of namespaces: needs root on Linux, and takes minutes
test-cluster: .venv/test-installed
	$(BIN)/pytest -n 1 -m slow_cluster tests

lint: .venv/check-installed
	$(BIN)/ruff format --check --diff .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/python scripts/write_reference.py

system-packages:
	scripts/install-system-packages

azurite: .venv/created
	scripts/install-azurite .venv/azurite

.venv/created:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/installed: pyproject.toml $(CONSTRAINTS) | .venv/created
	$(INSTALL) .
	touch $@

.venv/check-installed: .venv/installed
	$(INSTALL) '.[check]'
	touch $@

.venv/test-installed: .venv/check-installed
	$(INSTALL) '.[test]'
	touch $@

clean:
	rm -rf .venv demo dist .pytest_cache .mypy_cache .ruff_cache
	find src -name '*.nb[ic]' -delete
