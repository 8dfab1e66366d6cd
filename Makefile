# make test    everything but what needs a cluster
# make demo    one update, end to end, on real parts
# make bench   our figures beside a peer's
# make test-cluster   the same on a real cluster with Tekton
# make figures   what pull requests survive, and times, pods and memory on that cluster
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

IMAGE ?= apps-cd/steps:latest
DOCKER ?= docker
PYTHON_IMAGE ?=
KUSTOMIZE_IMAGE ?=
WORKERS ?= 5
# More than cores, because tests wait for servers.
TEST_WORKERS ?= $(shell echo $$((2 * $$(nproc))))
# What Python has compiled is kept: a step starts in a quarter of the time.
export PYTHONDONTWRITEBYTECODE :=

FUZZ_SECONDS ?= 60

.PHONY: help test fuzz test-cluster lint demo bench figures figures-reliability figures-cluster golden lock pin image image-help push clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

# All is pinned with hashes, so pip need not ask what depends on what.
$(VENV)/installed: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement tests/requirements.txt
	touch $@

test: $(VENV)/installed lint  ## everything but what needs a cluster
	$(BIN)/pytest --numprocesses=$(TEST_WORKERS)

lint: $(VENV)/installed  ## ruff, mypy, yamllint
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	$(BIN)/mypy
	$(BIN)/yamllint --strict .

# What it finds is written to .cache/fuzz: put it into tests/core/corpus, which `make test` replays.
fuzz: $(VENV)/installed  ## edits of any bytes with any arguments, FUZZ_SECONDS long; needs Linux on x86_64
	mkdir -p .cache/fuzz/corpus
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --target=.cache/fuzz/atheris \
	  --requirement tests/fuzz-requirements.txt
	PYTHONPATH=.cache/fuzz/atheris $(BIN)/python -m tests.core.fuzz_kustomization -max_total_time=$(FUZZ_SECONDS) -max_len=65536 \
	  -timeout=20 -rss_limit_mb=2048 -artifact_prefix=.cache/fuzz/ .cache/fuzz/corpus tests/core/corpus

demo: $(VENV)/installed  ## one update, end to end: real git, real Kaniko, a pull request to look at
	$(BIN)/python -m tests.sandbox.demo $(DEMO)

bench: $(VENV)/installed  ## our figures beside a peer's, in one run
	$(BIN)/python -m tests.bench

# KUBECONFIG, REGISTRY and HOST_IP say where, BUILDER_IMAGE which Kaniko. PYTEST=--keep-failed leaves a failed test's namespace.
# Restarts the API server, so nothing else may use the cluster meanwhile.
ALONE := tests/cluster/test_reconciler.py

test-cluster: $(VENV)/installed  ## the cases of the Pipeline, and all that only a cluster proves
	$(BIN)/pytest --world=cluster --numprocesses=$(WORKERS) --dist=worksteal --verbose --durations=0 --durations-min=1 \
	  tests/cluster tests/tekton/test_pipeline.py tests/tekton/test_runs.py --deselect=$(ALONE) $(PYTEST)
	$(BIN)/pytest --world=cluster --verbose --durations=0 --durations-min=1 $(ALONE) $(PYTEST)

figures: figures-reliability figures-cluster  ## both of the next two

# SHARE=5 measures a fifth of each.
figures-reliability: $(VENV)/installed  ## pull requests under fault, kills, races, secrets; fails where a bound is missed
	$(BIN)/python -m tests.reliability.figures $(if $(SHARE),--share=$(SHARE))

figures-cluster: $(VENV)/installed  ## times, pods and memory on a cluster, beside the catalog's way; fails if ours has more pods
	$(BIN)/python -m tests.cluster.figures

golden: $(VENV)/installed  ## renew the README's tables and the golden files
	$(BIN)/pytest --quiet --renew-golden

lock: $(VENV)/installed  ## renew the pins and hashes after a change of pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 --output-file images/steps/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 --output-file tests/requirements.txt --group dev pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 --output-file images/steps-dev/requirements.txt --group watch
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 --output-file tests/fuzz-requirements.txt --group fuzz

image:  ## build the steps' image
	$(DOCKER) build --file images/steps/Dockerfile --tag $(IMAGE) \
	  $(if $(PYTHON_IMAGE),--build-arg=PYTHON_IMAGE=$(PYTHON_IMAGE)) \
	  $(if $(KUSTOMIZE_IMAGE),--build-arg=KUSTOMIZE_IMAGE=$(KUSTOMIZE_IMAGE)) .

STEPS := $(patsubst steps/%.py,%,$(shell grep -l __main__ steps/*.py))

image-help:  ## --help of every entrypoint, inside the image
	for step in $(STEPS); do $(DOCKER) run --rm --read-only --network=none $(IMAGE) python -m steps.$$step --help > /dev/null || exit; done
	$(DOCKER) run --rm --read-only --network=none $(IMAGE) sh -c 'git --version && ssh -V && kustomize version'

push:  ## push the steps' image
	$(DOCKER) push $(IMAGE)

pin: $(VENV)/installed  ## write the digests of the base images into images/steps/Dockerfile
	for image in $$(sed -n 's/^ARG [A-Z]*_IMAGE=//p' images/steps/Dockerfile); do \
	  digest=$$($(DOCKER) buildx imagetools inspect --format '{{.Manifest.Digest}}' "$${image%@*}") || exit; \
	  sed -i "s#=$$image\$$#=$${image%@*}@$$digest#" images/steps/Dockerfile || exit; \
	done

clean:  ## forget what was installed and built here
	rm -rf $(VENV) .cache build .ruff_cache .pytest_cache .hypothesis
