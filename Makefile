# The front door: `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

CARGO ?= cargo
VERSIONS := 22 16
# One place for everything that is built, whatever the environment says: tests and tools look for it there.
export CARGO_TARGET_DIR := $(CURDIR)/target

MODULE := target/release/res_planfix.so
MODULES := $(VERSIONS:%=target/asterisk-%/res_planfix.so)
SOURCES := $(shell find src include -type f) Cargo.toml Cargo.lock build.rs wrapper.h
# Sets what the machine lacks and cannot have installed: see tools/prepare.
prepare = prepared=$$(tools/prepare $(1)); eval "$$prepared"

.PHONY: all modules check test test-pure test-loader test-live test-chaos fuzz sanitize faults bench load chaos siege demo install samples uninstall clean help

all: ## Build target/release/res_planfix.so for the Asterisk of this machine (or ASTERISK_INCLUDE_DIR)
	@$(call prepare,build)
	headers=$$(tools/asterisk headers)
	ASTERISK_INCLUDE_DIR=$$headers $(CARGO) build --release --locked --lib
	cp -f target/release/libres_planfix.so $(MODULE).new
	mv -f $(MODULE).new $(MODULE)
	echo "$(MODULE) is built against $$headers"

modules: $(MODULES) ## Build the module for the private Asterisk 22 and 16, for the tests and the demo

target/asterisk-%/res_planfix.so: $(SOURCES)
	@$(call prepare,build)
	headers=$$(tools/asterisk include $*)
	ASTERISK_INCLUDE_DIR=$$headers $(CARGO) build --release --locked --lib
	mkdir -p $(@D)
	cp -f target/release/libres_planfix.so $@.new
	mv -f $@.new $@

check: ## Format, lints, licences, house rules
	@$(call prepare,build)
	export ASTERISK_INCLUDE_DIR=$$(tools/asterisk include 22)
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings
	$(CARGO) test --locked --no-default-features --test licences --test house
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace --document-private-items --quiet

test: test-pure test-loader test-live test-chaos ## All tests, on a real Asterisk 22 and 16

test-pure: ## Tests that need no Asterisk
	@$(call prepare,test)
	$(CARGO) test --locked --no-default-features
	$(CARGO) test --locked -p planfix-sandbox

test-loader: ## The module in a small fake host, for both versions
	@$(call prepare,test)
	for version in $(VERSIONS); do
		ASTERISK_INCLUDE_DIR=$$(tools/asterisk include $$version) $(CARGO) test --locked --test loader
	done

test-live: modules ## Real calls through a real Asterisk 22 and 16
	@$(call prepare,test)
	$(CARGO) build --locked -p planfix-sandbox
	# They wait more than they work, each for its own Asterisk.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --locked -p harness

test-chaos: modules ## Three minutes of `make chaos`, with the same faults each time
	@$(call prepare,test)
	$(CARGO) build --locked -p planfix-sandbox
	$(CARGO) run --locked --quiet -p harness --bin chaos -- --minutes 1.5 --seed 12

fuzz: ## Fuzz what reads and follows: RUNS=1000000 or SECONDS=60 for each target, TARGET=one of fuzz/fuzz_targets
	@$(call prepare,fuzz)
	CARGO=$(CARGO) RUNS=$(RUNS) SECONDS_EACH=$(SECONDS) tools/fuzz $(TARGET)

sanitize: ## Sanitizers, Miri and valgrind (docs/sanitizers.md); WHAT=address, thread, miri or valgrind for one of them
	@$(call prepare,sanitize)
	CARGO=$(CARGO) tools/sanitize $(WHAT)

faults: ## Can the tests fail? Puts the faults of tests/faults into a copy, one by one; FAULT=one of them
	@$(call prepare,test)
	CARGO=$(CARGO) tools/faults $(FAULT)

demo: modules ## Real calls, a stand-in CRM, an outage; KEEP=1 leaves it running
	@$(call prepare,demo)
	$(CARGO) build --release --locked -p planfix-sandbox -p harness
	exec target/release/demo $(if $(KEEP),--keep)

bench: modules ## Measure, as ratios in one run; prints the table and writes docs/benchmarks.md
	@$(call prepare,bench)
	$(CARGO) build --release --locked -p planfix-sandbox -p harness
	exec target/release/bench

load: modules ## Ten thousand calls at fifty a second on 22 and 16: every card that opens closes (seven minutes)
	@$(call prepare,demo)
	$(CARGO) build --release --locked -p planfix-sandbox -p harness
	exec target/release/load

chaos: modules ## Calls while everything around the module fails; MINUTES=1 SEED= VERSION=22|16, or CYCLES=1000 of load and unload
	@$(call prepare,demo)
	$(CARGO) build --release --locked -p planfix-sandbox -p harness
	exec target/release/chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(VERSION),--version $(VERSION)) $(if $(CYCLES),--cycles $(CYCLES))

siege: modules ## A million events while the CRM is away, then back; writes docs/outage.md; EVENTS=1000000 RATE=1000 VERSION=22|16
	@$(call prepare,demo)
	$(CARGO) build --release --locked -p planfix-sandbox -p harness
	exec target/release/siege $(if $(EVENTS),--events $(EVENTS)) $(if $(RATE),--rate $(RATE)) $(if $(VERSION),--version $(VERSION))

install: ## Install the module and its documentation where this machine's asterisk.conf says (DESTDIR, ASTERISK_CONF)
	@tools/install module

samples: ## Install planfix.conf.sample, and planfix.conf if there is none
	@tools/install samples

uninstall: ## Remove what `make install` installed; planfix.conf and the spool stay
	@tools/install uninstall

clean: ## Remove what was built
	$(CARGO) clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
