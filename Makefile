# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := stackgraft plugins prefect_blocks dags flows examples benchmarks tests

.PHONY: help demo demo-stop test lint format bench bench-artifacts lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up $(VENV) (220 packages) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Without root: ask for the package python3-venv. With root: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(VENV) --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.ready  ## run the example on Airflow and on Prefect, and serve it
	@$(BIN)/python examples/demo/run.py

demo-stop: $(VENV)/.ready  ## stop the example's service
	@$(BIN)/python examples/demo/run.py stop

test: $(VENV)/.ready  ## run all tests
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(VENV)/.ready  ## check style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(VENV)/.ready  ## format the sources
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.ready  ## measure code-only rebuilds of the example's image
	$(BIN)/python benchmarks/rebuild.py

bench-artifacts: $(VENV)/.ready  ## measure the artifact store beside its peers (ten minutes)
	$(BIN)/python benchmarks/artifacts.py

lock: $(VENV)/.ready  ## renew the pinned requirements
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package stackgraft \
	  --custom-compile-command "make lock" --output-file requirements/dev.txt requirements/dev.in
	echo uv | $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --constraint requirements/dev.txt --output-file requirements/uv.txt -
	for peer in metaflow transfer zenml; do $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --output-file benchmarks/requirements/$$peer.txt benchmarks/requirements/$$peer.in || exit 1; done
	cd examples/investor_signals && ../../$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --constraint ../../requirements/dev.txt --output-file requirements.txt requirements.in

clean: demo-stop  ## remove what was built here
	rm -rf build dist $(VENV) .venv-benchmarks
