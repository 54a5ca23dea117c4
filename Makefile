# Targets for developers and for CI. "make" lists them.
.DEFAULT_GOAL := help
.PHONY: help build test rare race lint fuzz soak demo bench picture deb rpm release image check clean server

VERSION ?= $(shell packaging/version)
PROGRAM ?= mbk
GOFLAGS_BUILD = -trimpath -tags urfave_cli_no_docs,urfave_cli_no_suggest -ldflags "-s -w -X mbk/internal/cli.Version=$(VERSION)"
SOAK ?= 30m
SOAK_ONLY ?=
SOAK_SEED ?=
FUZZTIME ?= 20s
BENCH ?= -size 256MiB -rounds 3
SERVER ?= docker.io/library/mariadb:11.8
ENGINE ?= $(or $(shell command -v podman),docker)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## the program, as ./mbk
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o $(PROGRAM) .

# The flags are those of build, so that nothing is compiled twice. MBK_TEST_REPOSITORY says into
# what kind of repositories the tests of internal/cli back up: folder, encrypted, s3, sftp,
# s3-encrypted or sftp-encrypted. Without it some choose one each, and the others take folders.
test: ## the tests, on one version each and without rare cases; MBK_TEST_VERSIONS="10.5 10.11 11.8": all
	CGO_ENABLED=0 GOFLAGS=-trimpath go test -vet=off -timeout 28m -parallel 3 ./...

rare: ## the tests of rare cases, which test leaves out
	@CGO_ENABLED=0 GOFLAGS=-trimpath MBK_TEST_VERSIONS="$${MBK_TEST_VERSIONS:-10.11 11.8}" go test -vet=off -timeout 60m -parallel 3 \
	  -run "^($$(awk '/^func Test/ {split($$2, n, "("); name = n[1]} /mariadbtest\.Rare\(t\)/ {print name}' internal/cli/*_test.go | paste -sd '|'))$$" ./internal/cli

race: ## the same tests with the race detector
	go test -race -timeout 90m ./...

lint: ## go.mod, gofmt, vet, staticcheck, and the rules of the house: imports, lengths, words, documents
	go mod tidy -diff
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	go vet -tags soak ./internal/cli
	go tool staticcheck ./...
	go test ./internal/test/house

fuzz: ## every fuzz test for FUZZTIME
	@go list ./... | while read -r p; do \
	  for f in $$(go test -list '^Fuzz' "$$p" | grep ^Fuzz); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$p" || exit 1; \
	  done; done

soak: SHELL := /bin/bash
soak: ## backups under fire on all versions, one line per run: SOAK=30m, or SOAK=2 rounds; SOAK_ONLY="DDL storm"
	@set -o pipefail; MBK_SOAK='$(SOAK)' MBK_SOAK_ONLY='$(SOAK_ONLY)' MBK_SOAK_SEED='$(SOAK_SEED)' \
	  go test -tags soak -timeout 0 -count=1 -v -run '^TestSoak$$' ./internal/cli | grep --line-buffered -vE '^ *(=== |--- PASS|PASS$$)'

demo: build server ## the main job on a throw-away server of this machine's MariaDB
	go run ./internal/test/demo "$(CURDIR)/mbk"

bench: build ## mbk and mariadb-backup in turn, into docs/benchmarks.md; BENCH="-size 1GiB -rounds 5"
	@for p in sysbench zstd lz4 rclone; do command -v $$p >/dev/null || { \
	  echo "==> Installing $$p from the package manager"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$p >/dev/null; }; done
	go run ./internal/test/bench -mbk "$(CURDIR)/mbk" -docs docs $(BENCH)

picture: ## docs/quickstart.svg, from a newcomer's first hour on a fresh Debian in a namespace
	MBK_PICTURE="$(CURDIR)/docs/quickstart.svg" MBK_TEST_VERSIONS=10.11 go test -count=1 -run '^TestNewcomer$$/bookworm' ./internal/cli

server: # a MariaDB from the package manager, if there is none
	@command -v mariadbd >/dev/null || test -x /usr/sbin/mariadbd || { \
	  echo "==> Installing MariaDB from the package manager"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mariadb-server mariadb-client >/dev/null; }

deb: ## a package for Debian and its kin, in dist/; ARCHES=arm64 for others than this machine's
	ARCHES="$(or $(ARCHES),$(shell go env GOARCH))" packaging/release deb

rpm: ## a package for Red Hat and its kin, in dist/
	ARCHES="$(or $(ARCHES),$(shell go env GOARCH))" packaging/release rpm

release: ## static tarballs, .deb, .rpm and SHA256SUMS for amd64 and arm64, in dist/
	packaging/release tar deb rpm

image: build ## a container image, mbk:11.8, on one of the server; SERVER=docker.io/library/mariadb:10.11 for another series
	rm -rf dist/image && mkdir -p dist/image && cp packaging/container/* $(PROGRAM) dist/image/
	$(ENGINE) build --file dist/image/Containerfile --build-arg BASE=$(SERVER) --tag mbk:$(lastword $(subst :, ,$(SERVER))) dist/image

check: lint race ## what a change must pass

clean: ## removes what was built
	rm -rf mbk dist
