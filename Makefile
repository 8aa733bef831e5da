# Pagetide: `make help` lists what can be done here.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.DEFAULT_GOAL := help
.PHONY: help setup demo test truth results notebooks lint format bench soak golden clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*?## /\t/' | expand -t 10

setup: $(STAMP) ## everything needed here: a .venv and, as root on Debian, the apt packages

$(STAMP): pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash .ci/setup
	@touch $(STAMP)

demo: setup ## record this machine for some seconds (or say why not), replay, print the answer
	@mkdir -p demo
	@if $(BIN)/pagetide record demo/live.trace --force --allow-loss -- $(BIN)/python -m benchmarks.workload 10; \
	then trace=demo/live.trace; \
	else trace=data/database.trace; echo "demo: not recorded here (why: above); replaying $$trace instead"; fi; \
	$(BIN)/pagetide replay $$trace --start cold --check --allow-loss && echo "Go on with: $(BIN)/pagetide validate $$trace"

test: setup ## all tests that can run here; what is skipped is listed with its reason
	@$(BIN)/python -m pytest

truth: setup ## stock guests, recorded inside and watched from outside, workload by workload: half an hour
	@$(BIN)/python -m tests.guest.lab --out truth; code=$$?; $(BIN)/python -m tests.guest.verdict truth && exit $$code

results: setup ## every policy on every trace of data/: the table, and what the pages quote of it
	@$(BIN)/python -m data.compare

notebooks: setup ## execute the notebooks again and keep what they print: two minutes
	@$(BIN)/python -m notebooks.build

lint: setup ## ruff (lint and format) and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup ## let ruff rewrite the code
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .

bench: setup ## measure speed and cost, each figure beside its peer in the same run: three quarters of an hour
	@$(BIN)/python -m pip install -q -e '.[bench]' || echo "bench: without the peers that pip could not install"
	@$(BIN)/python -m benchmarks.speed --rounds 3 --out benchmarks/results
	@echo && $(BIN)/python -m benchmarks.buddy && echo && $(BIN)/python -m benchmarks.recording && echo && $(BIN)/python -m benchmarks.reporting && echo && $(BIN)/python -m benchmarks.fleet && echo && $(BIN)/python -m benchmarks.sharding && echo && $(BIN)/python -m benchmarks.host_costs

soak: setup ## long fuzzing and many kills: what CI does only a few of
	@PAGETIDE_SOAK=1 $(BIN)/python -m pytest

golden: setup ## rewrite the golden numbers from today's engine (look at the diff before you commit it)
	@$(BIN)/python -m tests.golden.regenerate

clean: ## remove what setup and the kernels' cache left
	@rm -rf $(VENV) .guest .numba_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
