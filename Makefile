# Two commands on a fresh machine: `make picture` draws, `make test` tests. Each sets itself up:
# a virtual environment in .venv, if none is active, and what has to be installed in it.

PYTHON ?= python3
VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
PROMPT ?= generate a pic with a cloud floating on the blue sky and there are mountains and river down below. There are words "AGC is Awesome!" in the cloud.
OUTPUT ?= picture.png

.PHONY: help picture test lint clean

help:
	@echo 'make picture   draws $(OUTPUT); PROMPT="..." and OUTPUT=... change what and where'
	@echo 'make test      runs the tests'
	@echo 'make lint      runs the linters and the type checker'
	@echo 'make clean     removes .venv'

picture: $(BIN)/.omnigen
	$(BIN)/python -m omnigen.sample --prompt '$(PROMPT)' --output '$(OUTPUT)'

test: $(BIN)/.omnigen-test
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: $(BIN)/.omnigen-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright

clean:
	rm -rf .venv

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.omnigen: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(BIN)/.omnigen-test: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(BIN)/.omnigen
