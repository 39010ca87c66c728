# make up runs everything, make test tests everything; both set up what they need. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help up test lint format chaos fuzz soak bench bench-peers generate lock web clean setup setup-test

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## The environment and the page, as `make up` needs them
	@$(PYTHON) scripts/setup.py up

setup-test: ## The same, with what tests and linters need
	@$(PYTHON) scripts/setup.py test

up: setup ## Run the system: servers, producer, worker, dashboard; with your handlers: HANDLERS=myjobs
	@exec $(BIN)/workqueue up $(if $(HANDLERS),--handlers $(HANDLERS))

test: setup-test ## All tests
	@$(BIN)/python scripts/debian.py
	$(BIN)/python -m pytest -n 4 --dist loadgroup
	@if [ -d web/node_modules ]; then cd web && npm test --silent; else echo "the page's tests are skipped: there is no Node >= 20.19"; fi

lint: setup-test ## What CI checks first
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -d web/node_modules ]; then cd web && npm run --silent lint; else echo "the page's linters are skipped: there is no Node >= 20.19"; fi

format: setup-test ## Format Python and the page
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@if [ -d web/node_modules ]; then cd web && npm run --silent format; fi

chaos: setup-test ## No job is lost under fire: SEED=3 SECONDS=120 JOBS=12000 PAUSE=1.5 WORKERS=3 REDIS_ONLY=1
	@$(BIN)/workqueue chaos --embedded $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(PAUSE),--pause $(PAUSE)) $(if $(WORKERS),--workers $(WORKERS)) \
		$(if $(REDIS_ONLY),--redis-only)

fuzz: setup-test ## Mangled connections against both services, for an hour: SEED=3 SECONDS=600
	@$(BIN)/python -m tests.http.fuzz $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

soak: setup-test ## Both services under hostile clients and a Redis that refuses, for 30 minutes: SEED=3 SECONDS=600
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

bench: setup-test ## README's figures, with their floors
	@$(BIN)/python -m benchmarks

bench-peers: setup-test ## The same work on other job systems: ONLY=saq,bullmq ROUNDS=3 JOBS=500000 PEER_PYTHON=/path/to/python3.12
	@$(BIN)/python -m benchmarks.peers $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(PEER_PYTHON),--python $(PEER_PYTHON))

generate: setup-test ## Files that are made from others
	@$(BIN)/python -m scripts.generate_api
	@$(BIN)/python -m scripts.generate_rooms

lock: ## Newer versions into locks/ (needs uv)
	@scripts/lock.sh

web: setup ## Build the page

clean: ## Everything that was made, data of `make up` included
	rm -rf .venv .setup .workqueue web/node_modules services/producer/static .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
