# `make demo` and `make test` are all that a fresh machine with Python 3.11 and git needs.
PY ?= python3
VENV ?= .venv
# Label Studio pins its own SDK exactly, so it lives in a virtual environment of its own.
LABEL_STUDIO_VENV ?= .venv-labelstudio
LABEL_STUDIO ?= label-studio==1.23.2
# cpu, cu130, …: which build of torch is taken; empty takes the default of the index
TORCH_BACKEND ?=
PREFECT_API_URL ?= http://127.0.0.1:4200/api

# uv does not read pip's settings: hand it pip's local folders of packages, if there are any.
PIP_FOLDERS := $(or $(PIP_FIND_LINKS),$(shell $(PY) -m pip config get global.find-links 2>/dev/null))
export UV_FIND_LINKS ?= $(shell echo $(PIP_FOLDERS) | tr ' ' ',')

BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check retrain doctor test lint format constraints clean

help:  ## show these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / — /'

setup: $(VENV)/.ready $(LABEL_STUDIO_VENV)/.ready  ## install everything into $(VENV) and $(LABEL_STUDIO_VENV)

demo: setup  ## start everything with sample photos to label; Ctrl-C stops it
	@$(BIN)/maskloop demo

demo-check: setup  ## the whole loop once, without hands: label, retrain, promote
	@$(BIN)/maskloop demo --headless

retrain: $(VENV)/.ready  ## retrain on what was labelled, in a stack that runs
	PREFECT_API_URL=$(PREFECT_API_URL) $(BIN)/prefect deployment run retrain/retrain

doctor: $(VENV)/.ready  ## look for what is wrong, and name the remedy
	@$(BIN)/maskloop doctor

# One OpenMP thread a process: the tests' two and the stack's services share the cores. A process that dies is not
# replaced: pytest-xdist would give the new one the test that killed it.
test: setup  ## run all tests, those of the stack beside the others
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadgroup --max-worker-restart 0

lint: $(VENV)/.ready  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready  ## correct style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(VENV)/.ready  ## move constraints.txt to the newest versions that fit
	$(BIN)/uv pip compile --quiet --upgrade --no-emit-index-url --no-header --no-annotate --group dev pyproject.toml \
	  | grep -vE '^(--|nvidia|cuda|triton)' | sed 's/+cpu$$//' > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove the environments and caches; labels and models in .maskloop stay
	rm -rf $(VENV) $(LABEL_STUDIO_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis maskloop.egg-info

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): minutes at the first time, then seconds."
	$(PY) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	$(UV) --python $(BIN)/python $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
	  --constraint constraints.txt --group dev --editable .
	@touch $@

$(LABEL_STUDIO_VENV)/.ready: Makefile | $(VENV)/.ready
	@echo "Installing $(LABEL_STUDIO) into $(LABEL_STUDIO_VENV)."
	$(PY) -m venv $(LABEL_STUDIO_VENV)
	$(UV) --python $(LABEL_STUDIO_VENV)/bin/python $(LABEL_STUDIO)
	@touch $@
