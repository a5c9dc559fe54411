# Shopkeeper: `make up` starts the shop, `make test` proves it. Everything else is below: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# uv fetches Python where it can; where it cannot, an installed one that pyproject.toml allows is taken.
PYTHON_FOUND := $(shell for p in $$(ls -d $$HOME/.pyenv/versions/3.1[2-4]*/bin/python3 2>/dev/null | sort -rV) python3.14 python3.13 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 15))' 2>/dev/null && { command -v "$$p"; break; }; done)
ifneq ($(PYTHON_FOUND),)
export UV_PYTHON ?= $(PYTHON_FOUND)
endif
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
SHOP ?= k8s/samples/bookshop.yaml
ARGS ?=

# Every program starts in half the time when Python may keep what it compiled; images for containers often forbid that.
unexport PYTHONDONTWRITEBYTECODE

# The images are $(IMAGE_REGISTRY)/shop-<service>:$(VERSION), as charts/shop names them.
export IMAGE_REGISTRY ?= localhost/shopkeeper
export VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)
INSTALL ?= shop

.PHONY: help up down test e2e lint format bench bench-compare bench-operator bench-recommend dashboards images push kind k3d minikube helm-install operator-install package new-service generate schemas diagram browser sync clean

help:  ## show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

up: sync  ## start the whole shop on http://localhost:8080 (Ctrl-C ends it; SHOP=other.yaml, ARGS="--detach")
	@$(RUN) shopctl up $(SHOP) $(ARGS)

down: sync  ## end a shop that was started with --detach
	@$(RUN) shopctl down $(ARGS)

test: lint browser  ## lint, then every test with real PostgreSQL, NATS, Valkey and Chromium
	@$(RUN) python -m tests.run $(ARGS)

e2e: sync  ## the shop on a real cluster: $KUBECONFIG's, else kind, else one made here (ARGS="-k rollout")
	@$(RUN) python -m tests.kubernetes $(ARGS)

lint: sync  ## ruff, mypy --strict and the import contracts
	@$(RUN) ruff check
	@$(RUN) ruff format --check --quiet || { $(RUN) ruff format --diff --quiet; echo "make format puts this right"; exit 1; }
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo

format: sync  ## let ruff sort the imports and lay out the code
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

bench: sync  ## load a shop of its own at a fixed arrival rate (ARGS="--rate 200 --seconds 30 --json")
	@$(RUN) python -m tests.load.bench $(ARGS)

bench-compare: sync  ## a commit against the files here, in turns: make bench-compare BASE=main (ARGS="--pairs 5 --rates 20,90")
	@test -n "$(BASE)" || { echo 'Against which commit? make bench-compare BASE=main' >&2; exit 2; }
	@UV="$(abspath $(UV))" $(RUN) python -m tests.load.compare --base "$(BASE)" $(ARGS)

bench-operator: sync  ## Shops on a real API server (ARGS="--shops 300 --runs 5 --json")
	@$(RUN) python -m tests.load.operator_bench $(ARGS)

bench-recommend: sync  ## how good recommendations are for simulated shoppers, and what training costs (ARGS="--seeds 2 --json")
	@$(RUN) python -m tests.load.recommend_evaluation $(ARGS)

dashboards: sync  ## draw docs/dashboards/*.svg: a shop with customers for some minutes, and a Prometheus (ARGS="--seconds 60")
	@$(RUN) python -m tests.load.dashboards $(ARGS)

images:  ## build every service's image, with docker or buildah (IMAGE_REGISTRY, VERSION)
	@services/images.sh build
	@services/images.sh sizes

push:  ## push them to IMAGE_REGISTRY
	@services/images.sh push

kind:  ## a kind cluster, images built and loaded, the shop on http://localhost:8080 (INSTALL=operator: operator and a Shop)
k3d:  ## the same with k3d
minikube:  ## the same with minikube
kind k3d minikube:
	@k8s/up.sh $@ $(INSTALL)

helm-install:  ## install or upgrade the shop in the cluster of kubectl's context (IMAGE_REGISTRY, VERSION, RELEASE, NAMESPACE, VALUES, ARGS)
	@k8s/install.sh shop $(ARGS)

operator-install:  ## the operator and a Shop in the cluster of kubectl's context (IMAGE_REGISTRY, VERSION, NAMESPACE, SHOP, ARGS)
	@k8s/install.sh operator $(ARGS)

package:  ## dist/*.tgz: the charts at VERSION, ready for `helm push dist/shop-*.tgz oci://...`
	@charts/package.sh "$(VERSION)" dist

new-service: sync  ## write a new service: make new-service NAME=loyalty (KIND=grpc: with a gRPC server, too)
	@test -n "$(NAME)" || { echo 'Which one? make new-service NAME=loyalty' >&2; exit 2; }
	@$(RUN) python -m shop.devkit.scaffold $(NAME) $(if $(KIND),--kind $(KIND))
	@$(RUN) ruff check --quiet --fix services/$(NAME) && $(RUN) ruff format --quiet services/$(NAME)
	@$(UV) lock --quiet && $(UV) sync --frozen --quiet
	@$(MAKE) --no-print-directory generate

generate: sync  ## write every file that follows from the services' manifests, the models and the charts
	@$(RUN) python -m shop.devkit.generate
	@$(RUN) python -m tests.contracts.golden
	@$(RUN) python -m tests.architecture.package_diagram
	@$(RUN) python -m observability.generate
	@$(RUN) python -m tests.charts.generate
	@$(RUN) python -m observability.document

schemas: sync  ## write the golden schema of every new or extended event, call and .proto file
	@$(RUN) python -m tests.contracts.golden

diagram: sync  ## redraw the package diagram of docs/architecture.md from the imports
	@$(RUN) python -m tests.architecture.package_diagram

browser: sync  ## make sure that the browser tests find a Chromium
	@$(RUN) python -m tests.chromium

sync: $(filter .uv/bin/uv,$(UV))  ## install everything from uv.lock
ifeq ($(PYTHON_FOUND),)
	@$(UV) python find '>=3.12,<3.15' >/dev/null 2>&1 || $(UV) python install 3.13 >/dev/null 2>&1 \
	|| { echo 'Python 3.12, 3.13 or 3.14 is missing and uv could not fetch one: install it and try again.' >&2; exit 1; }
endif
	@$(UV) sync --frozen --quiet

clean:  ## remove caches and builds; keeps the shop's data (.shop) and the installed tools
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find services k8s tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# A machine with only python3: its venv, else its pip, brings uv.
.uv/bin/uv:
	@{ python3 -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv; } 2>/dev/null \
	|| { rm -rf .uv && mkdir -p .uv/bin && python3 -m pip install --quiet --disable-pip-version-check --target .uv/lib uv && ln -s ../lib/bin/uv .uv/bin/uv; } \
	|| { rm -rf .uv; echo 'uv is missing and pip cannot bring it. Install uv (https://docs.astral.sh/uv/) and try again.' >&2; exit 1; }
