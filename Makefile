# Each target makes .venv and installs what it needs by itself:
#   make          install, and say which engines there are
#   make load     the main job: harness load --rate 500k
#   make test     all tests, and all labs' solutions, in parallel
#   make check    lint, format and types
#   make ceiling  what the measuring itself costs (three minutes)
#   make labs     all labs' solutions, as CI runs them
#   make mutants  are the labs' checks strong enough? (long; one lab: make mutants LAB=04)
#   make student-zip  the labs without solutions, instructor's notes and mistakes
#   make offline  fill vendor/ with what the virtual machine installs, for a classroom without internet
#   make vm-test  the virtual machine, for real: up, labs, load, halt, up, destroy (long; docs/vm.md)
#   make clean    remove .venv and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml setup.py harness/engines/_native.pyx harness/engines/_probes.pyx

.PHONY: all load test check labs mutants student-zip ceiling picture offline vm-test clean

all: $(VENV)/.installed
	@$(BIN)/python -m harness.engines

load: $(VENV)/.installed
	$(BIN)/harness load --rate 500k

ceiling: $(VENV)/.installed
	$(BIN)/harness ceiling

test: $(VENV)/.developing
	$(BIN)/python -m pytest -n auto --dist worksteal tests labs --solutions

check: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

labs: $(VENV)/.installed
	$(BIN)/python -m pytest labs/ --solutions -n auto --dist worksteal

mutants: $(VENV)/.developing
	$(BIN)/python tests/labkit/mutants.py $(LAB)

student-zip: $(VENV)/bin/python
	$(BIN)/python tools/student_zip.py build/msgq-labs.zip

offline: $(VENV)/bin/python
	$(BIN)/python tools/offline.py

vm-test: $(VENV)/.developing
	tests/e2e/run

picture: $(VENV)/.installed
	mkdir -p build
	$(BIN)/harness load --rate 500k --json build/load.json
	$(BIN)/python docs/picture.py build/load.json docs/load.svg

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "this needs Python 3.11 or newer; try: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "no virtual environment could be made; on Debian: apt install python3-venv"; exit 1; }

# Without a C compiler this succeeds too, and pip says nothing of the engine that is missing: the last line does.
$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(PIP) --editable .
	@$(BIN)/python -m harness.engines
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(PIP) --editable '.[all]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info harness/engines/*.c harness/engines/*.so
