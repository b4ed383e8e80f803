# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv, installs what it needs and finds or builds the
# `temporal` CLI; a second run skips what is there and says nothing of it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := perfwright activities workflows starter worker.py lab deploy benchmarks tools
TESTS ?= tests
TEST_PROCESSES ?= 4

# Tests of the engine and of CpuProfilingInvestigation alone, `make test TESTS='$(ENGINE)'`: all files but those of databases, and those of
# changes with their trials and the processes that optimise by them.
OF_DATABASES := database|postgres|mysql|query|statement|/plans/|/explaining/|/masking/|/server_log/|kept_values|live_guards
OF_CHANGES := trial|chang|undo|garbage|/gc/|collector|index|optimi|codemod|code_checks|ruff_fixes|valgrind|deliver|annotations
OF_CHANGES := $(OF_CHANGES)|http_requests|process_memory|service_runs|worker_counts|lab/test_benchmark
ENGINE = $(shell find tests -name 'test_*.py' | grep -vE '$(OF_DATABASES)|$(OF_CHANGES)' | sort)

PIP_PROGRESS := /^Collecting/ && ++n % 10 == 0 { print "  " n " packages: " $$2; fflush() } \
  /^Installing collected/ { print "  unpacking " n " packages"; fflush() }

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Hundreds of interpreters are started by tests: without byte code each compiles all of our modules again, a fifth of a worker's start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check bench clean temporal

help:
	@echo "make demo    start everything and investigate the lab (KEEP=1 leaves it running)"
	@echo "make test    all tests"
	@echo "             make test TESTS='\$$(ENGINE)': those of the engine and of CPU profiling alone"
	@echo "make check   format, lint, types, architecture, generated docs"
	@echo "make bench   benchmarks"
	@echo "make clean   remove .venv, caches and .perfwright"

demo: $(READY)-demo temporal
	@TEMPORAL_CLI_PATH="$$($(BIN)/python -m starter.temporal_cli)" $(BIN)/python -m starter.demo $(if $(KEEP),--keep)

# Three groups. "measuring" (alone, one after the other): tests that judge how much of the machine a program uses (one thread saturated, a
# whole core), and the lab's planted CPU problems under their load. A second busy program makes "one thread saturated" a saturated machine,
# and rightly so. "paired" (two at a time, a core for each): trials of the lab's planted problems, whose rounds in turns give what disturbs to
# both sides, and shares of a program's own samples; they would be drowned by four. Everything else side by side: also what is judged by a
# count, and trials whose planted difference is far above noise. Two processes more than CI has cores, because half of the long tests is
# waiting (with six the machine is full, and what is waited for comes too late); tests/scheduling.py says in which order, so that nobody
# waits for the longest at the end. Of the first two groups only their files are collected.
# What failed is run again by itself, at most twice: one that measures may be disturbed by another program of the machine, and of thousands
# side by side one may starve. What fails each time has failed; what does not is named by the first run.
SLOWEST := --durations 20 --durations-min 5
FAILED_ONES := --last-failed --last-failed-no-failures none
test: $(READY)-test temporal
	@export TEMPORAL_CLI_PATH="$$($(BIN)/python -m starter.temporal_cli)"; failed=0; \
	again() { for time in second third; do \
	  echo "for the $$time time, one after the other: what failed"; $(BIN)/python -m pytest $(TESTS) -m "$$1" $(FAILED_ONES) && return; done; return 1; }; \
	group() { of="$$1"; shift; $(BIN)/python -m pytest "$$@" $(SLOWEST) -m "$$of" || [ $$? = 5 ] || again "$$of" || failed=1; }; \
	files_with() { grep -rl --include='test_*.py' "mark\.$$1" $(TESTS) 2> /dev/null || echo $(TESTS); }; \
	group "not measuring and not paired" $(TESTS) -n $(TEST_PROCESSES) --dist loadscope; \
	group paired $$(files_with paired) -n 2 --dist loadscope; \
	group measuring $$(files_with measuring); \
	exit $$failed

check: $(READY)-test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict $(SOURCES)
	@$(BIN)/python -m pytest tests/test_architecture.py -q
	@$(BIN)/python -m starter.docs --check

bench: $(READY)-test temporal
	@TEMPORAL_CLI_PATH="$$($(BIN)/python -m starter.temporal_cli)" $(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .perfwright build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Says what it does only when it has something to do: a download or a build of minutes.
temporal: $(READY)-venv
	@$(BIN)/python -m starter.temporal_cli > /dev/null

$(READY)-venv:
	@command -v $(PYTHON) > /dev/null || { \
	  echo "error: $(PYTHON) is not there; Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@touch $@

# The tests' set contains the demo's.
$(READY)-%: requirements/%.txt pyproject.toml | $(READY)-venv
	@if [ $* = demo ] && [ $(READY)-test -nt requirements/test.txt ]; then touch $@; exit 0; fi; \
	echo "installing requirements/$*.txt into $(VENV), a minute or two the first time"; \
	$(BIN)/python -m pip install --progress-bar off --require-hashes -r $< | awk '$(PIP_PROGRESS)'; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .; \
	touch $@
