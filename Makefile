# What a person types. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

up: ## build and start 3 replicas and 3 nodes on this host
	@deploy/up.sh

down: ## stop them; containers and networks of ours go too, the data stays
	@deploy/down.sh

clean-data: ## forget the cluster's state (after `make down`)
	@deploy/clean-data.sh

test: ## set up, then every test, the end-to-end ones on real Docker included
	@deploy/test.sh

check: ## format, lints, layering, licences: read-only
	@deploy/check.sh

fix: ## rewrite what `make check` would complain about, where a tool can
	@. deploy/env.sh && cargo fmt --all && cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## measure: side by side with etcd, then a cluster on Docker; less than half an hour
	@bench/run.sh

bench-versus: ## … only side by side with etcd
	@bench/run.sh versus

bench-failover: ## … only failover beside etcd, 50 interruptions of each sort
	@bench/run.sh versus-failover

bench-busy: ## … only: no election that nobody caused in 30 minutes with every core busy
	@bench/run.sh versus-busy

bench-cluster: ## … only the cluster on Docker: failover, Pod creation, a Deployment of 30
	@bench/run.sh cluster
SEEDS ?= 1000
# The release build takes half the time; openraft's assertions are on in `make test` and `make mutants`.
chaos: ## try the promises in the simulated world: SEEDS=n stores, and a twentieth as many whole clusters
	@. deploy/env.sh && cargo build --release --locked -q --workspace --bin chaos && chaos="$$CARGO_TARGET_DIR/release/chaos" && \
	  "$$chaos" --seeds $(SEEDS) && "$$chaos" --cluster --seeds $(or $(CLUSTERS),$(shell echo $$(( ($(SEEDS) + 19) / 20 ))))

MINUTES ?= 60
chaos-real: ## try them on real replicas that are killed, cut off, frozen, damaged; on loopback where there are no namespaces; MINUTES=n
	@MINUTES=$(MINUTES) deploy/chaos-real.sh

mutants: ## put every known bug into the store: the simulation must find each within 2000 seeds
	@. deploy/env.sh && cargo build --locked -q --workspace --features kontiki-chaos-tests/mutants --bin chaos && \
	  "$$CARGO_TARGET_DIR/debug/chaos" --mutants --seeds 2000

compose-up: ## 3 replicas and 3 nodes as containers
	@deploy/compose.sh up

compose-down: ## remove them and their data
	@deploy/compose.sh down

hosts: ## N hosts on this machine, each a network namespace with a Docker engine of its own (N=3)
	@deploy/hosts.sh up $(or $(N),3)

hosts-down: ## stop them; their state goes too
	@deploy/hosts.sh down

.PHONY: help up down clean-data test check fix bench bench-versus bench-failover bench-busy bench-cluster chaos chaos-real mutants compose-up \
  compose-down hosts hosts-down
