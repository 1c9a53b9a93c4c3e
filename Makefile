PYTHON ?= python3
BIN := .venv/bin
# what is imported is compiled then: all that is installed would take a minute
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
# each of the many processes would compile all that it imports (16 of 45 seconds of collecting the tests)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: report paper test types pytest test-all bench notebooks clean

report: .venv/ready  ## the main comparison, in 20 to 35 minutes; prints where its report is
	$(BIN)/python -m experiments.axbench

paper: .venv/ready  ## with every method of AxBench's tables and more ways to compare, in two days of one core
	$(BIN)/python -m experiments.axbench --preset paper

test: .venv/ready-to-test  ## style, then types and tests side by side
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs 2 types pytest

# with less memory it forgets what it knows of the libraries, and starts again
types: export NODE_OPTIONS := --max-old-space-size=9216
types: .venv/ready-to-test
	$(BIN)/pyright

pytest: .venv/ready-to-test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15 $(TESTS)

test-all: export TESTS := -m ""
test-all: test  ## the same, with the slow tests: whole commands again, every benchmark at a small size

bench: .venv/ready-to-test  ## speed against the peers, on this machine
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.recipes
	$(BIN)/python -m benchmarks.training_memory
	$(BIN)/python -m benchmarks.grid
	$(BIN)/python -m benchmarks.fitting
	$(BIN)/python -m benchmarks.probing
	$(BIN)/python -m benchmarks.attribution
	$(BIN)/python -m benchmarks.function_vectors
	$(BIN)/python -m benchmarks.serve
	$(BIN)/python -m benchmarks.optimised_vectors
	$(BIN)/python -m benchmarks.avqi
	$(BIN)/python -m benchmarks.grace
	$(BIN)/python -m benchmarks.latent_auroc
	$(BIN)/python -m benchmarks.sae_training

notebooks: .venv/ready-to-test  ## run the notebooks and keep their output, without bars, warnings and times
	TQDM_DISABLE=1 PYTHONWARNINGS=ignore $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

.venv/ready: pyproject.toml constraints.txt  # what the experiments need
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/ready-to-test: .venv/ready  # and what tests, benchmarks and notebooks need beside it
	$(PIP) --editable ".[test]"
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache
