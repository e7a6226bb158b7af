# The commands of this package. Each sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a run is made of; name any of them on the command line: make reproduce-mnist SEED=7
BUDGET ?= quick
PRESET ?=
SEED ?=
RUN ?=
DATA_DIR ?=
GPUS ?=
SLOTS_PER_GPU ?=
CPU_SLOTS ?=
THREADS ?=
PLAN ?= quick
AUTHORS_DATA ?=
RIVALS ?=
PAGE ?=
export TORCH TORCH_INDEX DATA_DIR CAFFE CAFFE_STOP YES
CHOICES = --budget $(BUDGET) $(if $(PRESET),--preset $(PRESET)) $(if $(SEED),--seed $(SEED)) \
	$(if $(RUN),--run $(RUN)) $(if $(GPUS),--gpus $(GPUS)) \
	$(if $(SLOTS_PER_GPU),--slots-per-gpu $(SLOTS_PER_GPU)) \
	$(if $(CPU_SLOTS),--cpu-slots $(CPU_SLOTS)) $(if $(THREADS),--threads $(THREADS))

SOURCES_OF_SETUP := pyproject.toml CMakeLists.txt prototxt_gen/caffe.proto tools/setup_env.py
ifneq ($(TORCH)$(TORCH_INDEX),)
SOURCES_OF_SETUP += always # a named PyTorch is installed even where one is already
endif

.PHONY: always help setup setup-dev caffe data-mnist data-cifar10 data-cifar100 data-svhn \
	reproduce-mnist reproduce-cifar reproduce-svhn search-mnist search-mnist-v1 search-cifar10 \
	search-svhn stability transfer audit rivals doctor test test-full check docs format clean

help: ## list these commands
	@grep -hE '^[a-z0-9 -]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-30s %s\n", $$1, $$2}'

setup: $(VENV)/ready ## create .venv with everything that a run needs

setup-dev: $(VENV)/ready-dev ## the same, with what the tests need

$(VENV)/ready: $(SOURCES_OF_SETUP)
	@$(PYTHON) tools/setup_env.py --venv $(VENV)
	@touch $@

$(VENV)/ready-dev: $(SOURCES_OF_SETUP)
	@$(PYTHON) tools/setup_env.py --venv $(VENV) --extra dev
	@touch $(VENV)/ready $@

$(VENV)/ready-rivals: $(SOURCES_OF_SETUP)
	@$(PYTHON) tools/setup_env.py --venv $(VENV) --extra rivals
	@touch $(VENV)/ready $@

$(VENV)/ready-docs: $(SOURCES_OF_SETUP)
	@$(PYTHON) tools/setup_env.py --venv $(VENV) --extra docs
	@touch $(VENV)/ready $@

caffe: ## fetch real Caffe (CPU, from Debian's packages) into .caffe
	@bash tools/get_caffe.sh .caffe

data-mnist data-cifar10 data-cifar100 data-svhn: setup ## prepare a data set alone, into data/ (PRESET, SEED, DATA_DIR)
	@$(BIN)/python -m data_prep $(@:data-%=%) --out data \
		$(if $(PRESET),--preset $(PRESET)) $(if $(SEED),--seed $(SEED))

reproduce-mnist: setup ## MNIST: data, search, final training, table, report (BUDGET=quick)
	@$(BIN)/metaqnn reproduce mnist $(CHOICES)

DATA_OF_reproduce-cifar := cifar10
DATA_OF_reproduce-svhn := svhn
reproduce-cifar reproduce-svhn: ## the same for CIFAR-10 and SVHN (DATA_DIR: your copies of their files)
	@$(PYTHON) tools/need_data.py $(DATA_OF_$@) $@
	@$(MAKE) --no-print-directory setup
	@$(BIN)/metaqnn reproduce $(DATA_OF_$@) $(CHOICES)

search-mnist search-mnist-v1 search-cifar10 search-svhn: setup ## the search alone; -v1 is the first version's own space
	@$(BIN)/metaqnn search $(@:search-%=%) $(CHOICES)

stability: setup ## ten searches on a tenth of SVHN, and how far they spread (BUDGET, SEED, DATA_DIR)
	@$(BIN)/metaqnn stability $(CHOICES)

transfer: ## the best net of a finished run on other data sets, Table 5 (RUN, DATA_DIR)
	@$(if $(RUN),,echo "make transfer: name a finished run with RUN=..." >&2; exit 2)
	@$(MAKE) --no-print-directory setup
	@$(BIN)/metaqnn transfer $(RUN) $(if $(GPUS),--gpus $(GPUS)) $(if $(THREADS),--threads $(THREADS))

audit: setup ## every claim of the paper with a verdict (AUTHORS_DATA: a folder for the authors' own data; RUN; RIVALS: a study of `make rivals`)
	@$(BIN)/metaqnn audit $(if $(AUTHORS_DATA),--authors-data $(AUTHORS_DATA)) \
		$(foreach run,$(RUN),--run $(run)) $(if $(RIVALS),--rivals $(RIVALS))

rivals: $(VENV)/ready-rivals ## Q-learning against other searchers on a surrogate (AUTHORS_DATA; PLAN=quick, full; PAGE)
	@$(BIN)/metaqnn rivals --authors-data $(or $(AUTHORS_DATA),data/authors) --plan $(PLAN) \
		$(if $(RUN),--run $(RUN)) $(if $(PAGE),--page $(PAGE))

doctor: setup ## is this machine ready for a run?
	@$(BIN)/metaqnn doctor mnist --budget $(BUDGET) $(if $(PRESET),--preset $(PRESET)) \
		$(if $(RUN),--run $(RUN)) $(if $(GPUS),--gpus $(GPUS)) \
		$(if $(SLOTS_PER_GPU),--slots-per-gpu $(SLOTS_PER_GPU)) \
		$(if $(CPU_SLOTS),--cpu-slots $(CPU_SLOTS))

check: setup-dev ## ruff, mypy and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: check ## lint, types and the fast tests, against real Caffe where it can be had
	@bash tools/get_caffe.sh .caffe || echo "no real Caffe here: the conformance tests will skip"
	@$(BIN)/python -m pytest -m "not slow" tests

test-full: setup-dev ## the slow suites: crashes, long conformance, a whole run
	@bash tools/get_caffe.sh .caffe || echo "no real Caffe here: the conformance tests will skip"
	@$(BIN)/python -m pytest -m slow tests

docs: $(VENV)/ready-docs ## build the documentation into build/docs, its links checked
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -E \
		-d build/docs-doctrees docs build/docs
	@echo "docs: build/docs/index.html"

format: setup-dev ## format the sources and sort their imports
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove the environment and the caches (data, runs and .caffe stay)
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
