# Each target sets up what it needs; a second call installs nothing again.
PYTHON ?= python3
BIN := .venv/bin
# What is not compiled now is compiled when it is first imported; most of it never is.
INSTALL := $(BIN)/python -m pip install --no-compile --constraint configs/constraints.txt --editable

.PHONY: demo test test-all test-gpu proofs check constraints clean

demo: .venv/installed
	$(BIN)/python -m jobs.cross_validate configs/demo.yaml

# Behaviour: what every change must keep. Without Ray on all cores first, then what shares one Ray.
test: .venv/installed-test
	$(BIN)/python -m pytest -m "not proof and not cluster" --numprocesses auto --dist worksteal
	$(BIN)/python -m pytest -m "not proof and cluster"

# Behaviour and every proof.
test-all: test
	$(BIN)/python -m pytest -m proof

# The proofs of the rooms that have changed since the last landing, or of those that are named: make proofs ROOMS="cluster search"
proofs: .venv/installed-test
	$(BIN)/python -m pytest -m proof --rooms "$(ROOMS)"

# What must hold on a GPU; without one, the CPU against itself.
test-gpu: .venv/installed-test
	$(BIN)/python -m pytest --confcutdir tests/gpu tests/gpu

check: .venv/installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

# What is installed now, as the versions that everybody gets.
constraints: .venv/installed-test
	{ sed -n '/^#/p' configs/constraints.txt; $(BIN)/python -m pip freeze --exclude raysys; } > .venv/constraints.txt
	mv .venv/constraints.txt configs/constraints.txt

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip  # an old one takes twice as long

.venv/installed: pyproject.toml configs/constraints.txt | .venv/bin/python
	@echo "installing raysys: some 6 GB, most of it PyTorch with its CUDA libraries, a few minutes the first time"
	$(INSTALL) .
	touch $@

.venv/installed-test: pyproject.toml configs/constraints.txt | .venv/bin/python
	@echo "installing raysys and what its tests need: some 6 GB, a few minutes the first time"
	$(INSTALL) '.[test]'
	touch $@ .venv/installed
