# SPDX-License-Identifier: Apache-2.0
# The targets that a newcomer needs: demo and test. See CONTRIBUTING.md.

GO := scripts/go
export CGO_ENABLED := 0
revision := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

.PHONY: demo test build setup lint man deb deb-check bench survey levels fuzz

demo: build ## watch a running Debian kernel get fixed, in a virtual machine
	@scripts/demo

test: build ## every test, those in virtual machines included
	@scripts/test

build: setup ## bin/kmend
	@[ -x bin/kmend ] || echo "building bin/kmend"
	@$(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.revision=$(revision)' -o bin/kmend ./cmd/kmend

setup: ## install what is missing
	@scripts/setup

lint: setup ## gofmt, go vet, staticcheck (pinned in tools.mod)
	@scripts/lint

man: build ## the manual pages, in out/man
	@bin/kmend man -o out/man && echo "man: out/man; read one with: man -l out/man/kmend-build.1"

deb: setup ## a package for Debian 12, in out/deb: see docs/install.md
	@scripts/deb

deb-check: setup ## builds it twice, and holds it against lintian and a bare Debian
	@scripts/deb-check

bench: build ## the figures of docs/architecture.md, as a table
	@scripts/bench

survey: build ## build and prove a list of fixes: see docs/survey.md
	@scripts/survey

levels: build ## what each level of -flive-patching costs: see docs/levels-tradeoff.md
	@scripts/levels

fuzz: setup ## every fuzz target for FUZZTIME (20s)
	@scripts/fuzz
