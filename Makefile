# `make run` and `make test` do everything on a machine that has Python 3.11 and make. `make help` lists the rest.

PYTHON ?= python3.11
APP_ENV := .venv
DEV_ENV := .venv-dev
ARGS ?=
CONFIG ?= voices
CORPORA ?= ravdess nemo banglaser
VERSION ?= 0.5.0
# All but the first, which is tested on: each is left out once.
OTHERS = $(wordlist 2,$(words $(CORPORA)),$(CORPORA))

# Written last, so that a broken installation is tried again, and newer than what it was made from, so that nothing is
# installed twice.
APP_READY := $(APP_ENV)/.ready
DEV_READY := $(DEV_ENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-bench run test fuzz load soak cluster fresh lint format bench looks results retrain constraints clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(APP_READY) ## make .venv with what the app needs and nothing more

setup-dev: $(DEV_READY) ## make .venv-dev with what training, tests and checks need too

run: setup ## open the page; options as in make run ARGS="--port 8000"
	$(APP_ENV)/bin/python app.py $(ARGS)

test: setup-dev ## run the tests; options as in make test ARGS="-k download"
	$(DEV_ENV)/bin/python -m pytest $(ARGS)

fuzz: setup-dev ## read 10,000 broken, lying and hostile files, into tests/fuzz/fuzz.json; options as in make fuzz ARGS="--cases 500"
	$(DEV_ENV)/bin/python -m tests.fuzz $(ARGS)
	$(DEV_ENV)/bin/python -m tests.load.table

load: setup-dev ## 64 visitors with 20 recordings each, at once, into tests/load/crowd.json and docs/reliability.md
	$(DEV_ENV)/bin/python -m tests.load.crowd $(ARGS)
	$(DEV_ENV)/bin/python -m tests.load.table

soak: setup-dev ## 2,000 requests in a row, into tests/load/soak.json and docs/reliability.md
	$(DEV_ENV)/bin/python -m tests.load.soak $(ARGS)
	$(DEV_ENV)/bin/python -m tests.load.table

cluster: setup-dev ## 2,000 real clips by Ray Data, a node lost half-way, into tests/bench/cluster.json: make cluster DATA=DIR
	@test -n "$(DATA)" || { echo "Say where the corpora are: make cluster DATA=DIR" >&2; exit 1; }
	$(DEV_ENV)/bin/python -m tests.cluster --data "$(DATA)" --count 2000 --out tests/bench/cluster.json
	$(DEV_ENV)/bin/python -m tests.bench.scaling

fresh: setup-dev ## install requirements.txt alone into a new environment, as a Space does, and ask the app there
	$(DEV_ENV)/bin/python -m tests.fresh $(ARGS)

lint: setup-dev ## check style (ruff) and types (mypy)
	$(DEV_ENV)/bin/ruff check .
	$(DEV_ENV)/bin/ruff format --check .
	$(DEV_ENV)/bin/mypy

format: setup-dev ## repair what ruff can
	$(DEV_ENV)/bin/ruff check --fix .
	$(DEV_ENV)/bin/ruff format .

bench: setup-dev ## measure how fast everything is, beside what it can be compared with, into docs/speed.md (half an hour)
	$(DEV_ENV)/bin/python -m tests.bench $(ARGS)
	$(DEV_ENV)/bin/python -m tests.bench.scaling
	$(DEV_ENV)/bin/python -m train report

setup-bench: setup-dev ## add to .venv-dev what only the bench compares with (transformers, matplotlib)
	$(DEV_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-bench.txt

looks: setup-dev ## take pictures of the page into build/looks: desktop and phone, light and dark, every tab
	$(DEV_ENV)/bin/python -m tests.browser.screenshots --looks build/looks

results: setup-dev ## figures from the stored logits, and the README's tables from those
	$(DEV_ENV)/bin/python -m train evaluate --config $(CONFIG)
	test ! -f train/results/compare.json || $(DEV_ENV)/bin/python -m train compare
	$(DEV_ENV)/bin/python -m train report

retrain: setup-dev ## everything from the corpora to the README's tables: make retrain DATA=DIR (hours)
	@test -n "$(DATA)" || { echo "Say where the corpora are: make retrain DATA=DIR" >&2; exit 1; }
	$(DEV_ENV)/bin/python -m train prepare --data "$(DATA)" --corpora $(CORPORA)
	$(DEV_ENV)/bin/python -m train pretrained
	$(DEV_ENV)/bin/python -m train fit --config $(CONFIG) --fold 0 1 2 3 4 --resume
	$(DEV_ENV)/bin/python -m train evaluate --config $(CONFIG) --data "$(DATA)"
	test ! -d "$(DATA)/noise" || $(DEV_ENV)/bin/python -m train evaluate --config $(CONFIG) --data "$(DATA)" --robustness
	$(if $(OTHERS),$(DEV_ENV)/bin/python -m train probe --config $(CONFIG))
	$(if $(OTHERS),$(DEV_ENV)/bin/python -m train fit --config $(CONFIG) --leave-out $(OTHERS) --resume)
	$(if $(OTHERS),$(DEV_ENV)/bin/python -m train evaluate --config $(CONFIG) --data "$(DATA)" --fold --leave-out $(OTHERS))
	$(DEV_ENV)/bin/python -m train fit --config $(CONFIG) --all --resume
	$(DEV_ENV)/bin/python -m train export --config $(CONFIG) --out assets/model --version $(VERSION)
	$(DEV_ENV)/bin/python -m train report

constraints: ## resolve requirements*.txt afresh and write constraints.txt
	rm -rf build/constraints
	$(call make_env,build/constraints)
	build/constraints/bin/python -m pip install --quiet -r requirements-dev.txt
	{ sed -n '/^#/p' constraints.txt; build/constraints/bin/python -m pip freeze | sed 's/+cpu$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints

clean: ## remove caches and what builds leave
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the environments too
	rm -rf $(APP_ENV) $(DEV_ENV)

$(APP_READY): requirements.txt constraints.txt
	@echo "Making $(APP_ENV) ..."
	$(call make_env,$(APP_ENV))
	@echo "Installing what the app needs into $(APP_ENV) (about 1 GB; a minute or two) ..."
	@$(APP_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt
	@touch $@

$(DEV_READY): $(wildcard requirements*.txt) constraints.txt
	@echo "Making $(DEV_ENV) ..."
	$(call make_env,$(DEV_ENV))
	@echo "Installing what training and tests need into $(DEV_ENV) (about 2.5 GB; some minutes) ..."
	@$(DEV_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	@touch $@

# The pins are for Python 3.11, so another one is refused before pip fails on them in a less readable way.
define make_env
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 is needed, and '$(PYTHON)' is not one (or is not found)." >&2; \
		echo "Install Python 3.11, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
endef
