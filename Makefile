# What to type. Needs make, and a Python 3.11 or newer with pip and venv; `make help` lists the rest.
# Paths are relative throughout, so a checkout in a folder with spaces in its name works.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin

# .venv/.installed holds the folder it was made in. A copied or moved .venv, or one whose Python has
# gone, has programs that point elsewhere; one with .unfinished in it was cut off while it was filled.
# In all these cases its stamps don't count.
ifneq ($(shell test ! -e .venv/.unfinished && test -x $(BIN)/python && test "$$(cat .venv/.installed 2>/dev/null)" = "$$(pwd -P)" && echo yes),yes)
.venv/.installed: anew
endif

.DEFAULT_GOAL := help
.PHONY: help compare test docs install dev clean clean-runs anew

help:
	@echo 'make compare     the whole experiment: one-shot against standalone, on MNIST'
	@echo '                   options: make compare ARGS="--help"'
	@echo 'make test        every check: style, types, imports, tests, the built wheel'
	@echo '                   of tests with very many cases, a fixed sample'
	@echo 'make test-all    the same, with all cases and the slow tests'
	@echo 'make docs        the documentation, into build/docs'
	@echo 'make install     only what "make compare" needs, into .venv'
	@echo 'make dev         the same, and the tools that "make test" needs'
	@echo 'make clean       remove .venv, caches and built files; results in runs stay'
	@echo 'make clean-runs  remove the results in runs'
	@echo
	@echo 'The first call installs into .venv, which takes a few minutes.'
	@echo 'Another Python: make compare PYTHON=python3.12'

compare: .venv/.installed
	$(BIN)/supernet compare $(ARGS)

# Many tests start Python, which would compile the package each time if compiled files weren't kept.
# A worker that runs out of tests takes some of another's last, so neighbors mostly stay together and
# what a module's tests share is made once.
test: export PYTHONDONTWRITEBYTECODE :=
test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal $(TESTS)
	$(BIN)/python tools/check_wheel.py

test-all: TESTS := --all
test-all: test

# Every warning is an error: a page that says something else than it means is not built.
docs: .venv/.installed-dev
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs
	@echo 'The documentation: build/docs/index.html'

install: .venv/.installed

dev: .venv/.installed-dev

# A .venv that was cut off or moved is made anew; any other working one is only brought up to date.
.venv/.installed: pyproject.toml constraints.txt
	@if test ! -e .venv/.unfinished \
	    && { test ! -e .venv/.installed || test "$$(cat .venv/.installed)" = "$$(pwd -P)"; } \
	    && $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  touch .venv/.unfinished; \
	elif ! $(PYTHON) -c '' 2>/dev/null; then \
	  echo 'There is no working "$(PYTHON)" here. Name a Python 3.11 or newer, as in'; \
	  echo '  make $(or $(MAKECMDGOALS),help) PYTHON=python3.12'; exit 1; \
	elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "supernet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another, as in"; \
	  echo '  make $(or $(MAKECMDGOALS),help) PYTHON=python3.12'; exit 1; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo '$(PYTHON) lacks its modules venv or ensurepip, which make virtual environments.'; \
	  echo 'On Debian and Ubuntu this adds them: sudo apt install python3-venv'; exit 1; \
	else \
	  rm -rf .venv && mkdir .venv && touch .venv/.unfinished && $(PYTHON) -m venv .venv; \
	fi
	@echo 'Installing supernet and PyTorch into .venv; the first time this takes a few minutes.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . || { \
	  echo 'The installation failed: see the message above. The same make command starts it afresh.'; exit 1; }
	@pwd -P > .venv/.installed
	@rm .venv/.unfinished

.venv/.installed-dev: .venv/.installed
	@echo 'Installing the tools for the checks into .venv; the first time this takes a minute.'
	@touch .venv/.unfinished
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' || { \
	  echo 'The installation failed: see the message above. The same make command starts it afresh.'; exit 1; }
	@touch .venv/.installed-dev
	@rm .venv/.unfinished

clean:
	rm -rf .venv build dist docs/api docs/notebooks docs/project
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -path ./runs -prune -o -path ./.git -prune -o \
	  \( -name __pycache__ -o -name '*.egg-info' \) -type d -prune -exec rm -rf {} +

clean-runs:
	rm -rf runs
