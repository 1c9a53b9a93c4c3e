PYTHON ?= python3
BIN := .venv/bin

.PHONY: report paper test lint bench notebooks clean

report: .venv/ready  ## fetch the default model, run the main comparison, print the path of its report
	$(BIN)/python -m experiments.axbench

paper: .venv/ready  ## the same for every method of AxBench's tables but SAEs and SFT; well over an hour
	$(BIN)/python -m experiments.axbench --preset paper

test: .venv/ready  ## style, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: .venv/ready  ## speed against the peers, on this machine
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_memory
	$(BIN)/python -m benchmarks.grid
	$(BIN)/python -m benchmarks.fitting
	$(BIN)/python -m benchmarks.probing

notebooks: .venv/ready  ## run the notebooks and keep their output
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache
