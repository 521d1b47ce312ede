# Every target installs and starts what it needs; `make help` lists them.
.DEFAULT_GOAL := build
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
# Debian's Go is told to stay local; go.mod may ask for a newer one than it is.
export GOTOOLCHAIN ?= auto

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOL    := go tool -modfile=tools/go.mod
BUILD   := CGO_ENABLED=0 go build -trimpath -buildvcs=false
FAST    := $(TOOL) gotestsum --format pkgname -- -race -short -parallel 8 -timeout 10m ./...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: toolchain ## build bin/flocker, one static binary (the default)
	$(BUILD) -ldflags "-s -w -X main.version=$(VERSION)" -o bin/flocker ./cmd/flocker

.PHONY: check
check: toolchain ## verify format, modules and style, find dead code, run the race-enabled fast tests
	@scripts/check.sh
	@$(FAST)

.PHONY: test
test: check e2e ## everything: check, then the kernel and end-to-end tests (root)

.PHONY: e2e
e2e: build setup ## only the kernel and end-to-end tests (root)
	@scripts/e2e.sh

.PHONY: test-vm
test-vm: ## the tests of the ZFS back end with OpenZFS, in a virtual machine (root; not part of test)
	@scripts/setup.sh vm
	@scripts/test-vm.sh $(FLAGS)

.PHONY: demo
demo: build bin/flocker-demo setup ## a three-node cluster on this machine; two databases move between its nodes
	@scripts/demo.sh

.PHONY: demo-clean
demo-clean: ## remove the demo's cluster and stop what was started for it
	@scripts/demo-clean.sh

.PHONY: bench
bench: build bin/flocker-bench setup ## measure, every figure beside its baseline (root)
	@scripts/cleanly.sh bin/flocker-bench

.PHONY: chaos
chaos: build bin/flocker-chaos setup ## kill, cut and fill at every phase of a move (root)
	@scripts/cleanly.sh bin/flocker-chaos

.PHONY: bin/flocker-demo bin/flocker-bench bin/flocker-chaos
bin/flocker-demo bin/flocker-bench bin/flocker-chaos: bin/flocker-%: toolchain
	$(BUILD) -o $@ ./test/$*

.PHONY: format
format: toolchain ## format the code and tidy both modules
	$(TOOL) gofumpt -w .
	go mod tidy
	cd tools && go mod tidy

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin

.PHONY: toolchain
toolchain:
	@scripts/setup.sh toolchain

.PHONY: setup
setup:
	@scripts/setup.sh
