# make report | test | lint | types | notebooks | bench: each sets up what it needs and does its job.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: report test lint types notebooks bench clean

report: $(READY)
	$(BIN)/spannorm report --out report

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/spannorm bench

notebooks: $(READY)
	$(BIN)/python notebooks/build.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[notebooks,dask,slurm]' --group dev
	touch $(READY)

clean:
	rm -rf .venv report
