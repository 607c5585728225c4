# What CI calls is what a developer calls. Each target makes the environment it needs; nothing is installed outside .venv.
# ARGS is handed on: make demo ARGS="--port 8080", make test ARGS="tests/unit -k ledger", make lock ARGS=--upgrade

BIN := .venv/bin
ENVIRONMENT := PYTHON="$(PYTHON)" sh scripts/environment.sh

.DEFAULT_GOAL := help
.PHONY: help demo test servers soak bench bench-kafka lint format lock clean

help:
	@echo "make demo    run the shop: three services and a storefront on one SQLite file;"
	@echo "             with BROKER=kafka, and STORE=postgres, on servers that start and end with it"
	@echo "make test    run everything that this machine can run"
	@echo "make servers run a real Kafka and a real PostgreSQL until Ctrl-C"
	@echo "make bench   measure onward, its peers and hand-written loops"
	@echo "make bench-kafka the same with a real Kafka and a real PostgreSQL"
	@echo "make soak    a million events on them while workers and servers are killed"
	@echo "make lint    style, types, import rules, shape"
	@echo "make format  put the code into its one layout"
	@echo "make lock    write requirements/*.lock from pyproject.toml"
	@echo "make clean   remove what these targets made, .venv too"

demo:
ifeq ($(BROKER)$(STORE),)
	@$(ENVIRONMENT) demo
	@$(BIN)/onward demo shop $(ARGS)
else
	@sh scripts/install_servers.sh
	@$(ENVIRONMENT) test
	@$(BIN)/python -m scripts.demo $(if $(BROKER),--broker $(BROKER)) $(if $(STORE),--store $(STORE)) $(ARGS)
endif

test:
	@$(ENVIRONMENT) test
	@sh scripts/test.sh $(ARGS)

servers:
	@sh scripts/install_servers.sh
	@$(ENVIRONMENT) test
	@$(BIN)/python -m scripts.servers $(ARGS)

soak:
	@sh scripts/install_servers.sh
	@$(ENVIRONMENT) test
	@$(BIN)/python -m tests.integration.relay.soak $(ARGS)

bench:
	@$(ENVIRONMENT) bench
	@$(BIN)/python -m benchmarks $(ARGS)

bench-kafka:
	@sh scripts/install_servers.sh
	@$(ENVIRONMENT) bench
	@$(BIN)/python -m benchmarks.kafka $(ARGS)

lint:
	@$(ENVIRONMENT) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/shape.py

format:
	@$(ENVIRONMENT) test
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lock:
	@$(ENVIRONMENT) lock
	@sh scripts/lock.sh $(ARGS)

clean:
	rm -rf .venv .cache build dist src/*.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
