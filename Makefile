# make demo    set up and answer a first question on real data
# make test    set up and run the tests
# make check   lint, types, tests
# make bench   the benchmarks
# make test-cluster   `ray up` and `ray submit` on three machines made of namespaces; needs root, and says so
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test test-cluster check lint types bench setup clean

demo: $(VENV)/.installed
	$(BIN)/python sweeps/batch_size.py

test: $(VENV)/.developing
	$(BIN)/python -m pytest

test-cluster: $(VENV)/.developing
	$(BIN)/python -m pytest tests/cluster/submitting.py -n 0 -s -rs --timeout 1800

check: lint types test

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developing
	$(BIN)/mypy

bench: $(VENV)/.developing
	$(BIN)/python -m analysis.calibration
	$(BIN)/python -m benchmarks.trial_cost
	$(BIN)/python -m benchmarks.loop_overhead
	$(BIN)/python -m benchmarks.step_parts
	$(BIN)/python -m benchmarks.heap
	$(BIN)/python -m benchmarks.fused
	$(BIN)/python -m benchmarks.places
	$(BIN)/python -m benchmarks.keeping_up
	$(BIN)/python -m benchmarks.data_paths
	$(BIN)/python -m benchmarks.checkpoint_cost
	$(BIN)/python -m benchmarks.instruments

setup: $(VENV)/.developing

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (a few minutes, once) …"
ifdef UV
	@test -d $(VENV) || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e .
else
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
endif
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
ifdef UV
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
else
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
endif
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
