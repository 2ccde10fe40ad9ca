# `make demo` and `make test` set up all they need in .venv, on a fresh machine too.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs clean system-packages

demo: .venv/installed
	scripts/demo

test: .venv/test-installed system-packages lint
	find src -name '*.nb[ic]' -delete  # Numba does not see that a function it inlined has changed
	$(BIN)/pytest

lint: .venv/test-installed
	$(BIN)/ruff format --check --diff .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/test-installed
	$(BIN)/python scripts/write_reference.py

system-packages:
	scripts/install-system-packages

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/test-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv demo dist .pytest_cache .mypy_cache .ruff_cache
	find src -name '*.nb[ic]' -delete
