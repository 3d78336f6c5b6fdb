# `make help` lists the targets. Nothing is needed beyond Python 3.11 (or later) with venv, and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUN    ?= runs/demo

# The demo: seven methods of the issue and the project's own, from the same start, on two real data sets.
DEMO_PROBLEMS := digits diabetes
DEMO_SOLVERS  := vode lsoda dopri5 sgd nesterov adam lbfgs auto
DEMO_FLAGS    := --seeds 1 --seconds 5

# Tests share two processes: compilation by JAX is what they wait for. Empty: one process.
WORKERS ?= -n 2

# Of `make fuzz` and `make kills`.
SEED   ?= 0
SOLVES ?= 2000
FILES  ?= 5000
READER_SECONDS ?= 60
KILLS  ?= 200

export MPLBACKEND ?= Agg

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz kills lint format docs gallery wheel bench study constraints clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with the pinned versions; does nothing when it is up to date

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'stiffgrad needs Python 3.11 or later: make setup PYTHON=python3.11' >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	$(BIN)/python -m compileall -q src # byte code on disk, as pip leaves that of what is not editable
	@touch $@

demo: $(STAMP) ## compare solvers on real data, print the table, write the page to runs/demo
	$(BIN)/stiffgrad compare $(addprefix --problem ,$(DEMO_PROBLEMS)) $(addprefix --solver ,$(DEMO_SOLVERS)) \
		$(DEMO_FLAGS) --out $(RUN)
	$(BIN)/stiffgrad report $(RUN)

test: $(STAMP) ## run the tests and the doctests; ARGS="tests/test_layers.py" for some of them
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) $(ARGS)

fuzz: $(STAMP) ## random solves (SOLVES=2000) and damaged files (FILES=5000) by SEED=0; prints the seed
	@echo "SEED=$(SEED) SOLVES=$(SOLVES) FILES=$(FILES)"
	FUZZ_SEED=$(SEED) FUZZ_SOLVES=$(SOLVES) FUZZ_FILES=$(FILES) sh -c 'ulimit -v 16000000; $(BIN)/python -m pytest -q -s \
		--timeout=14400 tests/fuzz'
	@$(BIN)/python -c 'import atheris' 2>/dev/null || { echo 'without atheris (pip install atheris) readers see blind changes only'; exit 0; }; \
		for reader in model checkpoint solution cell table; do \
		$(BIN)/python tests/fuzz/atheris_readers.py $$reader --seconds $(READER_SECONDS) --seed $(SEED) || exit 1; done

kills: $(STAMP) ## kill a run KILLS=200 times as by kill -9, and compare its end with that of one that was not
	KILLS=$(KILLS) KILLS_SEED=$(SEED) $(BIN)/python -m pytest -q tests/run/test_kills.py

lint: $(STAMP) ## format check, ruff, mypy, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## build the pages into site/; a warning fails the build
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

gallery: $(STAMP) ## make the pictures of docs/gallery.md anew, by the scripts of examples/
	mkdir -p docs/gallery
	cd docs/gallery && for script in calibration classification flow heat peaks pharmacokinetics regression; do \
		$(abspath $(BIN))/python ../../examples/$$script.py || exit 1; done

wheel: $(STAMP) ## build and check the wheel, and solve with it in an environment of its own
	$(BIN)/nox -s wheel

# Each line is one table; the budgets fit the problems, so that a method that never arrives does not take hours.
bench: $(STAMP) ## run the benchmark (about 70 minutes); resumes; tables in runs/bench and benchmarks/results
	$(BIN)/stiffgrad bench --suite dense --problem sine --problem product2d --seconds 8 --out runs/bench/accuracy
	$(BIN)/stiffgrad bench --suite dense --problem encoder --problem xor --problem parity4 --seconds 1 --out runs/bench/small
	$(BIN)/stiffgrad bench --suite dense --problem teacher-student --seconds 3 --out runs/bench/teacher
	$(BIN)/stiffgrad bench --suite dense --problem two-spirals --seconds 4 --out runs/bench/spirals
	$(BIN)/stiffgrad bench --suite gradient-norm --seconds 5 --out runs/bench/gradient-norm
	$(BIN)/stiffgrad bench --suite easy --seconds 5 --out runs/bench/easy
	$(BIN)/stiffgrad bench --suite success --seconds 2 --solver rosenbrock --out runs/bench/success
	$(BIN)/stiffgrad bench --floor
	$(BIN)/python benchmarks/diamonds.py --seconds 60 --seeds 2
	$(BIN)/python benchmarks/scaling.py

study: $(STAMP) ## make docs/findings.md anew (hours; resumes); ARGS="--scale long" in an hour, "--scale medium" in half, "--scale short" in ten minutes
	$(BIN)/stiffgrad study --out benchmarks/study --markdown docs/findings.md $(ARGS)

constraints: ## freeze the newest allowed versions into constraints.txt
	rm -rf .cache/constraints
	$(PYTHON) -m venv .cache/constraints
	.cache/constraints/bin/python -m pip install --quiet hatchling editables
	.cache/constraints/bin/python -m pip install --quiet -e '.[benchmark,dask,dev]'
	{ grep '^#' constraints.txt; .cache/constraints/bin/python -m pip freeze --exclude-editable; } > .cache/constraints.txt
	mv .cache/constraints.txt constraints.txt
	rm -rf .cache/constraints

clean: ## remove the environment, the caches and the built pages; results in runs/ stay
	rm -rf $(VENV) .nox .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache site build dist
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
