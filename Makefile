# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
BIN := .venv/bin
PROOF_RUNS ?= 1000
# Every process of a node compiles what it imports unless somebody has before.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve check test proof tools bench stripe-live listen clean

demo: .venv/.runtime            ## real calls on a node of its own; open var/demo/index.html afterwards
	$(BIN)/pay-ivr demo

serve: .venv/.runtime           ## a node on loopback that keeps running; prints the console URL and a one-time login
	$(BIN)/pay-ivr serve

check: .venv/.dev               ## format, lint, types, contracts, fast tests (about two minutes)
	sh infra/setup/check.sh
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not slow and not proof" --durations=5

test: tools .venv/.dev          ## everything a landing needs
	sh infra/setup/check.sh
	sh infra/setup/tests.sh

proof: tools .venv/.dev .tools/listen/.ready  ## the long runs: full counts, long timers, big fuzz, mutation
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m proof
	$(BIN)/pay-ivr verify leak --runs $(PROOF_RUNS) --json var/leak.json
	$(BIN)/pay-ivr verify charges --json var/charges.json
	$(BIN)/pay-ivr verify ledger --json var/ledger.json
	$(BIN)/pay-ivr verify ledger --postgres embedded --json var/ledger-postgres.json
	$(BIN)/pay-ivr verify pins --json var/pins.json

bench: tools .venv/.dev         ## ratios only, each measured in one run -> var/bench/
	$(BIN)/python tests/bench/media.py --install-rtpengine
	$(BIN)/python -m tests.bench.payments
	$(BIN)/python -m tests.bench.ledger
	$(BIN)/python -m tests.bench.pins

stripe-live: .venv/.dev         ## a real Stripe test account, with STRIPE_TEST_KEY in the environment
	$(BIN)/python -m tests.live.stripe

listen: .venv/.dev .tools/listen/.ready  ## a recogniser reads the prompts back
	$(BIN)/python -m pytest -q -m proof tests/listen

tools:                          ## foreign programs for tests: sipp, baresip, chromium-headless-shell, iptables, ip, multimon-ng, sipvicious, gcc
	sh infra/setup/tools.sh

.venv/.runtime: requirements.lock pyproject.toml
	sh infra/setup/venv.sh runtime

.venv/.dev: requirements-dev.lock requirements.lock pyproject.toml
	sh infra/setup/venv.sh dev

.tools/listen/.ready: requirements-listen.lock
	sh infra/setup/listen.sh

clean:
	rm -rf .venv var dist
