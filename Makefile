# Everything that a person or CI does with this tree. `make help` lists it.
# Each target can be repeated, and leaves no process, namespace, bridge or mount behind.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build lint unit e2e test demo bench fuzz clean
# Targets build on each other and share two cores: one after the other.
.NOTPARALLEL:

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/' | expand -t 16

setup: ## install what is missing, no more
	@scripts/setup.sh

build: setup ## build Godwit in release mode
	@cargo build --release --locked -p godwit

lint: ## format, clippy, dependencies and licences, the arrows between crates
	@cargo fmt --all --check
	@scripts/arrows.sh
	@scripts/licences.sh
	@cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## the tests of all crates
	@cargo test --workspace --exclude godwit-tests --locked

e2e: ## the end-to-end tests, on real QEMU
	@scripts/e2e.sh

test: setup lint unit e2e ## the whole test suite

demo: build ## image, farm, test, report: everything once
	@scripts/demo.sh

bench: build ## measurements, for people: what moves cost by several engines; the golden image's boot
	@scripts/bench.sh

SECONDS ?= 60
fuzz: setup ## fuzz what reads bytes from outside: make fuzz SECONDS=600
	@cargo run --release --locked -p godwit-fuzz -- run $(SECONDS)

clean: ## take down labs and remove what was built
	@scripts/clean.sh
