# make help lists the targets. Targets install what they miss where they may, and say what to install where not.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
GO ?= go
export CGO_ENABLED ?= 0
FUZZTIME ?= 10s
TORTURE_CYCLES ?= 200
# Modules of their own, so that nobody inherits what they depend on.
NESTED := adapters examples/live examples/migrate examples/service bench
TORTURE_TIME ?= 10m

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## one static binary, bin/handstamp
	$(GO) build -trimpath -o bin/handstamp ./cmd/handstamp

.PHONY: test
test: ## all tests (installs PostgreSQL, PgBouncer and Redis where it may)
	scripts/needservers
	$(GO) test -timeout 30m $$($(GO) list ./... | grep -v /internal/fault/scenario)
	$(GO) test -timeout 30m -tags handstamp_nocache . ./server ./forwardauth ./handstamptest ./remote
	scripts/fleet
	for m in $(NESTED); do (cd $$m && $(GO) test ./...); done

.PHONY: race
race: ## all tests under the race detector (needs a C compiler)
	scripts/needservers
	CGO_ENABLED=1 $(GO) test -race -timeout 40m $$($(GO) list ./... | grep -v /internal/fault/scenario) # its nodes are processes
	for m in adapters examples/live examples/migrate examples/service; do (cd $$m && CGO_ENABLED=1 $(GO) test -race ./...); done

.PHONY: check
check: ## build, format, vet, arrows, tidy, generated files, lint
	$(GO) build ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags handstamp_testclock ./cmd/handstamp
	GOARCH=386 $(GO) vet ./...
	$(GO) test -run 'TestArrows|TestOneDriver' .
	$(GO) mod tidy -diff
	$(GO) mod verify
	for m in $(NESTED); do (cd $$m && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) mod verify); done
	scripts/generated
	$(MAKE) lint

.PHONY: lint
lint: ## the linters of .golangci.yml
	cd tools && $(GO) build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...
	root=$$PWD; for m in $(NESTED); do (cd $$m && $$root/bin/golangci-lint run --config $$root/.golangci.yml ./...); done

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s) each
	scripts/fuzz $(FUZZTIME)

.PHONY: torture
torture: ## the long forms: TORTURE_CYCLES (200) of kill -9, long simulations, a fleet under random faults for TORTURE_TIME (10m)
	scripts/needservers
	HANDSTAMP_TORTURE_CYCLES=$(TORTURE_CYCLES) HANDSTAMP_SIM_RUNS=200000 $(GO) test -count=1 -timeout 3h ./revoke ./store/... ./cmd/... .
	HANDSTAMP_TORTURE=1 HANDSTAMP_TORTURE_TIME=$(TORTURE_TIME) $(GO) test -count=1 -timeout 12h -v ./internal/fault/scenario

.PHONY: fleet
fleet: ## the numbers of docs/fleet.md: revocation over two nodes, remotes, waiting for the fleet
	scripts/needservers
	HANDSTAMP_TORTURE=1 FLEET_TIMEOUT=3h scripts/fleet -count=1 -run 'Revocation|WaitForTheFleet|Costs'

.PHONY: release
release: ## archives for all platforms, checksums, bill of materials: dist/
	scripts/release

.PHONY: browser
browser: ## the pages in a real browser (installs chromium with apt-get when it is missing)
	scripts/need chromium chromium
	$(GO) test -count=1 -tags browser ./server/...

.PHONY: bench
bench: ## benchmarks: verify by form and store, refresh, sign, hash
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: vuln
vuln: ## known vulnerabilities, where the scanner can be had
	scripts/vuln
