PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test lint bench notebooks clean

report: .venv/ready  ## the main comparison in ten minutes, then with every method of AxBench's tables; prints where the reports are
	$(BIN)/python -m experiments.axbench
	$(BIN)/python -m experiments.axbench --preset paper

test: .venv/ready  ## style, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 15

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
