# Shopkeeper: `make up` starts the shop, `make test` proves it. Everything else is below.
SHELL := /bin/bash
# uv fetches Python where it can; where it cannot, an installed one of at least 3.12 is taken.
PYTHON_FOUND := $(shell for p in $$(ls -d $$HOME/.pyenv/versions/3.1[2-9]*/bin/python3 2>/dev/null | sort -rV) python3.13 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { command -v "$$p"; break; }; done)
ifneq ($(PYTHON_FOUND),)
export UV_PYTHON ?= $(PYTHON_FOUND)
endif
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen

.PHONY: up test lint sync
sync: $(filter .uv/bin/uv,$(UV))  ## install everything from uv.lock
	@$(UV) sync --frozen --quiet

.uv/bin/uv:
	@python3 -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv
