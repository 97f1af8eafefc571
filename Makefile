# Thin wrappers around the `gptjax` command. Each target first makes sure that .venv has the
# project installed, so that one command is enough on a fresh machine.
#
#   make pretrain [CONFIG=…] [DATA=…] [OUT=…] [ARGS=…]             make test      make setup
#   make finetune TASK=… [DATA=…] [INIT=…] [OUT=…] [ARGS=…]        make check     make clean
#   make evaluate RUN=… DATA=… [TASK=…]                            make bench
#   make generate RUN=… PROMPT=…                                   make doctor
#   make docs (the docs as a site: build/site)
#   make parity (beside transformers and PyTorch, which it installs)
#   make reliability [HOURS=…] [SEED=…] [OUT=…] (kills, damage, full disks, mutated inputs)
#
# PYTHON=python3.12 chooses the interpreter, ACCELERATOR=cpu|gpu|tpu the build of jax, UPGRADE=1
# the newest versions instead of those in constraints.txt. CONFIG is a preset's name or a file.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup pretrain finetune evaluate generate tokenizer doctor test check lint parity reliability bench bench-parity docs clean

# The first Python of at least 3.11 that runs (a name on the PATH may be a shim that does not).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ACCELERATOR ?= $(shell \
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then echo gpu; \
  elif [ -n "$$TPU_NAME$$TPU_WORKER_ID" ] || compgen -G '/dev/accel*' >/dev/null; then echo tpu; \
  else echo cpu; fi)

CONFIG ?= tiny
# As environment variables their values need no quoting in the commands below.
export CONFIG DATA OUT RUN PROMPT TASK INIT ARGS
GPTJAX := .venv/bin/gptjax
# A build of jax for an accelerator chooses versions itself. An environment that was upgraded stays
# so until `make clean`, or the next target would bring the versions of the file back.
NEWEST := .venv/.newest
ifeq ($(ACCELERATOR)$(UPGRADE)$(wildcard $(NEWEST)),cpu)
VERSIONS := --constraint constraints.txt
which := with the versions of constraints.txt
else
VERSIONS := $(if $(UPGRADE),--upgrade --upgrade-strategy eager)
which := with the newest versions
endif
# Installing in place is what we want, so nobody need read setuptools' warning about it.
INSTALL := PYTHONWARNINGS='ignore:Editable installation' .venv/bin/python -m pip install
# Of pip's lines those that tell how far it is.
SHOW := | awk '/^ *Downloading / {print "  downloading " $$2, $$3, $$4; fflush()} \
  /^Installing collected/ {print "  unpacking " NF - 3 " packages"; fflush()}'
# A stamp names what was installed for it, so that another accelerator or a changed setup.cfg
# installs again and anything else does not.
BASE := .venv/.installed-$(ACCELERATOR)
DEV := .venv/.installed-$(ACCELERATOR)-dev
PARITY := .venv/.installed-$(ACCELERATOR)-parity
DOCS := .venv/.installed-$(ACCELERATOR)-docs
# The build of jax comes with an extra, the CPU's with none.
extra_gpu := [gpu]
extra_tpu := [tpu]

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,13p'

setup: $(BASE)
	@echo "ready: .venv/bin/gptjax --help (or, after source .venv/bin/activate, gptjax --help)"

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "make: no Python 3.11 or later was found; name one: make PYTHON=…" >&2; exit 2; }
	@echo "creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "updating pip"
	@set -o pipefail; $(INSTALL) --upgrade pip $(SHOW)

$(BASE): setup.cfg pyproject.toml constraints.txt $(if $(UPGRADE),FORCE) | .venv/bin/python
	@echo "installing gptjax for the $(ACCELERATOR) $(which); this takes a minute or more"
	@$(if $(UPGRADE),touch $(NEWEST))
	@set -o pipefail; $(INSTALL) $(VERSIONS) --editable '.$(extra_$(ACCELERATOR))' $(SHOW)
	@touch $@

$(DEV): $(BASE)
	@echo "installing the tools for tests and checks $(which)"
	@set -o pipefail; $(INSTALL) $(VERSIONS) --editable '.[dev]' $(SHOW)
	@touch $@

$(PARITY): $(BASE)
	@echo "installing PyTorch and transformers for comparisons $(which)"
	@set -o pipefail; $(INSTALL) $(VERSIONS) --editable '.[parity]' $(SHOW)
	@touch $@

$(DOCS): $(BASE)
	@echo "installing what builds the docs site $(which)"
	@set -o pipefail; $(INSTALL) $(VERSIONS) --editable '.[docs]' $(SHOW)
	@touch $@

FORCE:

# What a target needs is asked for before anything is installed; it may be an option in ARGS too.
option_RUN := --run
option_DATA := --data
option_TASK := --task
option_OUT := --out
example_finetune := TASK=snli
example_tokenizer := DATA=path/to/texts OUT=my.model
example_evaluate := RUN=runs/pretrain/tiny DATA=path/to/text.txt
example_generate := RUN=runs/pretrain/tiny PROMPT=The
goal := $(firstword $(MAKECMDGOALS))
need-%:
	@name=$*; case " $$ARGS" in *" $(option_$*)"*) exit 0 ;; esac; [ -n "$${!name}" ] || \
	  { echo "make: $* is missing, for example: make $(goal) $(example_$(goal))" >&2; exit 2; }

pretrain: $(BASE)
	@GPTJAX_MAKE=pretrain $(GPTJAX) pretrain --config "$$CONFIG" $(if $(DATA),--data "$$DATA") $(if $(OUT),--out "$$OUT") $(ARGS)

# DATA may be several words here (train=FILE valid=FILE), so it is not quoted.
finetune: need-TASK $(BASE)
	@GPTJAX_MAKE=finetune $(GPTJAX) finetune $(if $(TASK),--task "$$TASK") $(if $(DATA),--data $(DATA)) $(if $(INIT),--init "$$INIT") \
	  $(if $(OUT),--out "$$OUT") $(if $(filter command line environment,$(origin CONFIG)),--config "$$CONFIG") $(ARGS)

tokenizer: need-OUT $(BASE)
	@$(GPTJAX) tokenizer $(if $(DATA),--data "$$DATA") $(if $(OUT),--out "$$OUT") $(ARGS)

evaluate: need-RUN need-DATA $(BASE)
	@$(GPTJAX) evaluate $(if $(RUN),--run "$$RUN") $(if $(DATA),--data "$$DATA") $(if $(TASK),--task "$$TASK") $(ARGS)

generate: need-RUN $(BASE)
	@$(GPTJAX) generate $(if $(RUN),--run "$$RUN") $(if $(PROMPT),--prompt "$$PROMPT") $(ARGS)

doctor: $(BASE)
	@$(GPTJAX) doctor $(ARGS)

test: $(DEV)
	@.venv/bin/python -m pytest -m "not slow" $(ARGS)

lint: $(DEV)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

check: lint test

bench: $(DEV)
	@.venv/bin/python experiments/benchmark.py $(ARGS)

parity: $(DEV) $(PARITY)
	@GPTJAX_PARITY=1 .venv/bin/python -m pytest tests/parity $(ARGS)

# The same command goes on where it stopped. Without SEED it draws a new one, and prints it.
reliability: $(DEV)
	@.venv/bin/python -m tests.reliability --out "$${OUT:-runs/reliability}" $(if $(SEED),--seed $(SEED)) \
	  $(if $(HOURS),--hours $(HOURS)) $(ARGS)

bench-parity: $(DEV) $(PARITY)
	@.venv/bin/python experiments/benchmark.py $(ARGS)

# Search needs a server: no browser lets a page of a file read another file.
docs: $(DOCS)
	@.venv/bin/python docs/site.py build
	@.venv/bin/zensical build --strict --clean --config-file build/zensical.toml
	@echo "read it: .venv/bin/python -m http.server --directory build/site"

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
