# Landfall's commands for whoever works on it. `make` lists them.
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo test lint generate bench up down

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## The whole story on a new machine; the last line is `demo: ok`
	@tests/demo/demo

test: ## Everything: lint, units, suites on real parts
	@tests/run

lint: ## Format, clippy, licences and duplicates of the dependencies
	@tests/run lint

generate: ## crds/, ClusterRoles, pages below docs/ from the code
	@cargo run -q -- generate .

bench: ## Measurements on a release build, SUITE=overhead, terraform, dns, certificates or memory for one; target/bench/*.json
	@tests/bench/bench $(SUITE)

up: ## The demo's environment, left running; .dev/env says where
	@tests/demo/demo up

down: ## Ends what `make up` started
	@tests/demo/demo down
