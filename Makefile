# Each target does all of its own set-up; run it as root, or as a user who may sudo.
# What the steps do stands in setup/, one small script each.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

export PYTHON ?= /usr/bin/python3

# A tree that was copied or moved gets another stamp, and with it a new environment.
stamp := .venv/.installed-$(shell pwd | cksum | cut -d ' ' -f 1)
sudo := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
passed_on := CI VFSWITCH_TESTS VFSWITCH_STATE VFSWITCH_READY_FLOWS VFSWITCH_HALF_OPEN_LIMIT
# Namespaces and bridges need root; the files that root leaves behind in the tree are kept few.
as_root := $(sudo) env PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    $(foreach name,$(passed_on),$(if $($(name)),$(name)=$($(name))))
python_as_root := $(as_root) .venv/bin/python
benchmarks := $(sort $(wildcard benchmarks/bench_*.py))

.PHONY: help demo demo-hairpin test bench lint system-packages openvswitch setup

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## Run the main job on two hosts and print what it showed
	@$(python_as_root) mininet_scripts/quickstart.py

demo-hairpin: setup ## Run two tenants' chains of network functions, and draw their ways to hairpin.svg
	@$(python_as_root) mininet_scripts/hairpin.py

test: setup ## Run every check: lint, types, and all three tiers of tests
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(as_root) setup/run_tests.sh $(PYTEST_ARGS)

bench: setup ## Run every benchmark; each prints a table and one JSON line
	@setup/peers.sh
	@failed=(); for file in $(benchmarks:.py=); do $(python_as_root) -m $${file//\//.} || failed+=("$$file"); done; \
	    [ $${#failed[@]} = 0 ] || { echo "Ended with an error: $${failed[*]}" >&2; exit 1; }

lint: $(stamp) ## Run ruff and mypy alone
	@.venv/bin/ruff check .
	@.venv/bin/mypy

setup: $(stamp) openvswitch ## Install what is missing and start Open vSwitch where none runs

system-packages: ## Install the system packages that are missing
	@setup/system_packages.sh

openvswitch: system-packages ## Start Open vSwitch where none runs
	@setup/start_openvswitch.sh

$(stamp): requirements.lock setup.cfg pyproject.toml setup/venv.sh | system-packages
	@setup/venv.sh
	@rm -f .venv/.installed-* && touch $@
