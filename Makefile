# llorch: `make verify` and `make test` need Python 3.11 or newer, make and git; they make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: verify test check fuzz mutants clean
.DELETE_ON_ERROR:

verify: .venv/ready ## run every feature against the NumPy engine on the embedded model
	@$(BIN)/llorch verify

test: .venv/ready ## pytest and behave, with coverage of both
	@rm -f .coverage .coverage.*
	OPENBLAS_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n auto --dist worksteal
	$(BIN)/coverage run -m behave
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: .venv/ready ## what must hold before anything runs: style, types, specs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/llorch spec check

fuzz: .venv/ready ## random models and broken files, for LLORCH_FUZZ_SECONDS (600 if not given)
	LLORCH_FUZZ_SECONDS=$${LLORCH_FUZZ_SECONDS:-600} $(BIN)/python -m pytest tests/engine/test_random_models.py tests/engine/test_bad_files.py

mutants: .venv/ready ## break the engine in 300 ways, and demand that the features notice
	$(BIN)/python tools/mutants.py

clean: ## remove everything that make made
	rm -rf .venv build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("llorch needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 verify" if sys.version_info < (3, 11) else 0)'
	@echo "setting up .venv (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@
