# Two commands on a fresh machine: `make picture` draws, `make test` tests. Each sets itself up: it
# makes a virtual environment in .venv if none is active, and installs what is missing in it.

PYTHON ?= python3
PROMPT ?= generate a pic with a cloud floating on the blue sky and there are mountains and river down below. There are words "AGC is Awesome!" in the cloud.
OUTPUT ?= picture.png
ARGS ?=

# The shell reads these two from its environment, never from the text of a recipe, so that quotes,
# spaces and dollar signs stay what they are.
override PROMPT := $(value PROMPT)
override OUTPUT := $(value OUTPUT)
export PROMPT OUTPUT

# A space in the path is escaped, for make and for the shell.
SPACE := $(subst ,, )
VENV := $(subst $(SPACE),\ ,$(or $(VIRTUAL_ENV),.venv))
BIN := $(VENV)/bin
NEW_ENOUGH = 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("omnigen needs Python 3.11 or newer, and this is %d.%d: add PYTHON=python3.12, or another that you have" % v[:2])'

define INSTALL
@$(BIN)/python -c $(NEW_ENOUGH)
@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip
$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
endef

.PHONY: help picture test lint clean
.DELETE_ON_ERROR:

help:
	@echo 'make picture   draws a picture; PROMPT="..." says what, OUTPUT=... where'
	@echo 'make test      runs the tests; ARGS="..." goes to pytest'
	@echo 'make lint      runs the linters and the type checker'
	@echo 'make clean     removes .venv'

picture: $(BIN)/.omnigen
	$(BIN)/python -m omnigen.sample --prompt "$$PROMPT" --output "$$OUTPUT"

test: $(BIN)/.omnigen-test
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(BIN)/.omnigen-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$$(cd $(BIN) && pwd):$$PATH" $(BIN)/pyright

clean:
	rm -rf .venv

$(BIN)/python:
	@$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv $(VENV)

$(BIN)/.omnigen: setup.py | $(BIN)/python
	$(INSTALL) .
	@touch $(BIN)/.omnigen

$(BIN)/.omnigen-test: setup.py | $(BIN)/python
	$(INSTALL) '.[test]'
	@touch $(BIN)/.omnigen $(BIN)/.omnigen-test
