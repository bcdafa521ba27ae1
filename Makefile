# make report | test | test-long | test-models | fuzz | lint | types | package | lowest | notebooks | bench | gpu |
# paper | explorer | docs: each sets up what it needs and does its job. test leaves out the tests that are marked
# long; test-long runs those alone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: report test test-long test-models fuzz lint types package lowest notebooks bench gpu paper explorer docs clean

report: $(READY)
	$(BIN)/spannorm report --out report

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-long: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m long tests

# small models of transformers: against the theory of their configurations, read, and measured
test-models: $(READY)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[models]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m models tests

# every public function with odd and hostile values: make fuzz EXAMPLES=10000 tries fewer
EXAMPLES ?= 50000
fuzz: $(READY)
	SPANNORM_EXAMPLES=$(EXAMPLES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/test_properties.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(READY)
	$(BIN)/mypy

# the wheel and the source archive, into dist/, and the wheel installed alone; its theory also on the interpreters
# that are named: make package PYTHONS="python3.12 python3.13"
package: $(READY)
	rm -rf dist
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m build --quiet
	SPANNORM_PYTHONS="$(PYTHONS)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m package tests/test_package.py

# the tests with the lowest versions that pyproject.toml allows of what the package needs, in build/lowest: old
# packages warn of what newer ones beside them deprecate, which is no failure here
LOWEST := build/lowest/bin
lowest:
	$(PYTHON) -m venv build/lowest
	$(LOWEST)/python -m pip install --quiet uv
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct -r pyproject.toml
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python pytest pytest-xdist hypothesis psutil websocket-client
	PYTHONPATH=. OMP_NUM_THREADS=1 $(LOWEST)/python -m pytest -n 2 -W default tests --ignore=tests/test_notebooks.py

bench: $(READY)
	$(BIN)/spannorm bench

# what only a CUDA device can tell, into docs/gpu.md: from the source tree, with the packages that are there
gpu:
	@$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -m spannorm_theory.bench.gpu docs/gpu.md

# the curves that the explorer shows at once, computed anew into the package, and the page in explorer/
explorer: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m spannorm_theory.explorer.grid
	$(BIN)/spannorm explorer --out explorer

# the documentation site, in build/docs/html: needs npm, for MathJax; about three minutes on two cores
docs: $(READY)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --group docs
	OMP_NUM_THREADS=1 $(BIN)/python docs/site/build.py

notebooks: $(READY)
	$(BIN)/python notebooks/build.py

# the write-up: make paper FULL=1 simulates larger networks. Equal sources give equal bytes.
TEX_PACKAGES := latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended \
    cm-super-minimal lmodern
paper: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python papers/norm-placement/build.py $(if $(FULL),--full)
	@if command -v latexmk > /dev/null && command -v pdflatex > /dev/null; then \
	    SOURCE_DATE_EPOCH=0 FORCE_SOURCE_DATE=1 latexmk -cd -gg -pdf -quiet -interaction=nonstopmode \
	        -halt-on-error papers/norm-placement/paper.tex && \
	    latexmk -cd -c -quiet papers/norm-placement/paper.tex; \
	else \
	    echo "make paper: no LaTeX here, so papers/norm-placement/generated/ is new and paper.pdf is not made."; \
	    echo "On Debian: apt-get install --no-install-recommends $(TEX_PACKAGES)"; \
	fi

$(READY): pyproject.toml constraints.txt spannorm_theory/_version.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[notebooks,dask,slurm]' --group dev
	touch $(READY)

clean:
	rm -rf .venv report dist build
