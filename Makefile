# The two commands a newcomer needs: `make demo` and `make test`. Both set everything up first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Set up again only when what is asked for has changed, not when a file was touched.
WANTED := $(shell cat pyproject.toml constraints.txt 2>/dev/null | cksum | tr ' ' '-')
STAMP := $(VENV)/.installed-$(WANTED)
EXTRAS := detector,openvino,api,training,export,embedded,test

# One thread per process on shared cores: OpenMP's spinning threads slow each other down.
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg

.PHONY: help setup demo test lint unit up drill fuzz bench results scale clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## a virtual environment with everything in it (once)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deepsweep needs Python 3.11 or newer; try make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): torch is large, this takes a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: setup ## scan real pictures and clips, end with a report
	$(BIN)/deepsweep demo out/demo
	$(BIN)/deepsweep scan out/demo/media --html out/demo/report.html --json out/demo/items.jsonl || test $$? -eq 1
	@echo "The report: $(CURDIR)/out/demo/report.html"

test: setup lint unit ## everything that must hold before a commit

lint: setup ## style, types and import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest

up: setup ## the whole service on this machine, until Ctrl-C
	$(BIN)/deepsweep up

drill: setup ## kill everything in turn while 2,000 items are scanned
	$(BIN)/python -m tests.drill.drill

fuzz: setup ## 5,000 broken media through the real decoders, 15,000 odd requests through the API
	$(BIN)/python -m tests.drill.fuzz
	$(BIN)/pytest -m "slow or not slow" tests/integration/test_api_description.py tests/integration/test_api_abuse.py

bench: setup ## every part beside what one does without us, and whole scans (ARGS=--full, --quick)
	$(BIN)/python -m benchmarks.bench $(ARGS)

results: setup ## the shipped detector on labelled media: every goal, met or not (ARGS=--write)
	$(BIN)/python -m benchmarks.results $(ARGS)

scale: setup ## how it scales: two workers beside one, listing, requests, a thousand million items
	$(BIN)/python -m benchmarks.workers
	$(BIN)/python -m benchmarks.expand
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.capacity --from docs/scale.json

clean: ## what was made here, not the virtual environment
	rm -rf out build *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
