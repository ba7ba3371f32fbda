# llorch: `make verify` and `make test` need Python 3.11 or newer, make and git; they make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
# llorch traces its engine with coverage.py; that of a process which is tested goes on beside it only with this.
TRACED := COVERAGE_COVERAGE=1

.PHONY: verify test test-browser gate report check fuzz mutants clean
.DELETE_ON_ERROR:

verify: .venv/ready ## run every feature against the NumPy engine on the embedded model
	@$(BIN)/llorch verify

test: .venv/ready ## pytest with coverage, then the whole chain: evidence, trials of every mistake, the gate
	@rm -f .coverage .coverage.*
	OPENBLAS_NUM_THREADS=1 $(TRACED) $(BIN)/coverage run -m pytest -n auto --dist worksteal
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report
	$(BIN)/llorch verify -o proof
	$(BIN)/llorch prove -o proof
	$(BIN)/llorch gate --allow-dirty

gate: .venv/ready ## may this be merged? of what `make test` left, and of a tree without changes
	@$(BIN)/llorch gate

report: .venv/ready ## the living document: make the proof, and open its page in a browser
	@$(BIN)/llorch verify -o proof >/dev/null || test $$? -eq 1
	@$(BIN)/llorch prove -o proof >/dev/null || test $$? -eq 1
	@echo "the report is proof/report.html"
	@$(BIN)/python -m webbrowser -t "file://$(CURDIR)/proof/report.html" >/dev/null || true

test-browser: .venv/ready ## the report and the page of the server in a real browser (CHROMIUM names one); screenshots are left in build
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev,browser]'
	@for name in $$CHROMIUM chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu fonts-noto-core >/dev/null \
	  || { echo "there is no Chromium: name one with CHROMIUM=, or install it (Debian: apt-get install chromium fonts-dejavu)" >&2; exit 2; }
	$(BIN)/python -m pytest tests/browser

check: .venv/ready ## what must hold before anything runs: style, types, specs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/llorch spec check
	$(BIN)/llorch stubs

fuzz: .venv/ready ## random models and broken files, for LLORCH_FUZZ_SECONDS (600 if not given)
	LLORCH_FUZZ_SECONDS=$${LLORCH_FUZZ_SECONDS:-600} $(BIN)/python -m pytest tests/engine/test_random_models.py tests/engine/test_bad_files.py

mutants: .venv/ready ## break the engine in 300 ways, and demand that the features notice
	$(BIN)/python tools/mutants.py

clean: ## remove everything that make made
	rm -rf .venv build dist proof .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("llorch needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 verify" if sys.version_info < (3, 11) else 0)'
	@echo "setting up .venv (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@
