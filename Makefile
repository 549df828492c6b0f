# The README's two commands. Each sets up everything from a bare clone and needs nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all lint benchmarks clean

demo: $(STAMP)
	$(BIN)/kette demo

test: $(STAMP) lint
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal

test-all: $(STAMP) lint
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[benchmarks]"
	$(BIN)/python -m benchmarks

# `torch` comes first and by its exact version, so that an index or a --find-links with the CPU
# build is used where pip knows one (see the README).
$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "$$(grep -o '^torch==[^ ]*' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[tensorrt-rtx,dev]"
	touch $@

clean:
	rm -rf $(VENV) .kette build *.egg-info
