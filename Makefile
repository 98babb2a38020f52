# Everything on a fresh machine with Python 3.11+ and make:
#   make demo    set up, simulate exposures, reduce them to mosaics, open the report
#   make test    set up, run all tests, print how much of the code the quick ones have run
#   make coverage   how much of the code all tests run (half an hour)
#   make quick   set up, run the tests of kernels, files and configuration (< 2 minutes)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# one thread per process: the processes already fill the cores
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
WORKERS ?= 2
# the slow tests of surveys wait half of their time for processes and queues: one worker more
SLOW_WORKERS ?= $(shell expr $(WORKERS) + 1)
DEMO_DIR ?= demo
# coverage makes tests take 1.5 to 2 times as long: in make test it watches those that are not marked slow,
# in make coverage all of them
COVERAGE := --cov --cov-report=
# the tests of a file share what they simulate: one process runs them all; the longest files first
# (tests/conftest.py)
PYTEST := $(THREADS) $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# what runs in two minutes and breaks first
QUICK := tests/kernels tests/files tests/survey/config tests/survey/select tests/test_names.py tests/test_architecture.py

.PHONY: demo test coverage quick lint docs changes bench clean setup

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ceers_steps needs Python 3.11 or newer; choose one with: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	$(THREADS) $(BIN)/ceers demo -o $(DEMO_DIR)

test: $(VENV)/.ready lint
	$(PYTEST) -n $(WORKERS) -m 'not slow' $(COVERAGE)
	@$(BIN)/python tests/coverage_report.py 'tests not marked slow'
	$(PYTEST) -n $(SLOW_WORKERS) -m slow

coverage: $(VENV)/.ready
	$(PYTEST) -n $(WORKERS) $(COVERAGE)
	@$(BIN)/python tests/coverage_report.py 'all tests'

quick: $(VENV)/.ready
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow' $(QUICK)

lint: $(VENV)/.ready
	$(BIN)/ruff check ceers_steps tests benchmarks
	$(BIN)/ruff format --check ceers_steps tests benchmarks
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini benchmarks/*.py
	$(BIN)/lint-imports
	$(BIN)/deptry ceers_steps

docs: $(VENV)/.ready
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

RELEASE ?= 0.2.0
changes:
	$(PYTHON) changes/gather.py $(RELEASE)

bench: $(VENV)/.ready
	$(BIN)/python -m pip install -q snowblind==1.0.1
	for script in detector1 jumps snowballs wisps wisp_mixes striping tilted_striping alignment outliers skyvar mosaic_background tiled_resample survey; do $(THREADS) $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO_DIR) docs/_build .pytest_cache .ruff_cache .mypy_cache
