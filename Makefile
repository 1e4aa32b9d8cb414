# llama_edu: two commands do it all. `make book` builds what you read, `make test` proves it.
# Everything installs into .venv, once; PYTHON=/path/to/python chooses the interpreter.
# Without `make`, on Windows for one: `python -m tools.check book`, `python -m tools.check`.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= $(or $(shell command -v python3),python)
PY := .venv/bin/python

.PHONY: help env book pdf epub test lab student notebooks format lock clean distclean
.PHONY: lint types unit coverage nbval browser model

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: env ## Build the book and say which file to open
	@$(PY) -m tools.check book

pdf: env ## Build the book as a PDF (needs Chromium)
	@$(PY) -m tools.check book pdf

epub: env ## Build the book as an EPUB
	@$(PY) -m tools.check book epub

test: env ## Check everything: lint, format, types, book, tests, notebooks, browser
	@$(PY) -m tools.check

lab: env ## Open the notebooks in JupyterLab
	@$(PY) -m tools.check model || echo "Without it some cells show an error; the rest runs."
	@$(PY) -m jupyterlab book

student: env ## Copies of the chapters to work in, with stubs for solutions
	@$(PY) -m tools.notebooks.student

notebooks: env model ## Run every notebook again and store its outputs in place
	@$(PY) -m tools.pages.axes_css
	@$(PY) -m tools.notebooks.execute $(NB)
	@$(PY) -m tools.notebooks.printed_solutions

format: env ## Repair layout and simple lint
	@$(PY) -m ruff check --quiet --fix . && $(PY) -m ruff format --quiet .

lint: env ## Only lint, format check, types and layers
	@$(PY) -m tools.check lint format types layers

unit: env ## Only the unit and property tests
	@$(PY) -m tools.check model shapes unit ports

coverage: env ## Unit tests again, and which lines and branches they reach
	@$(PY) -m tools.check model coverage branches

nbval: env ## Only the notebooks, compared with what they store
	@$(PY) -m tools.check model notebooks

browser: env ## Only the pages in a browser (after `make book`)
	@$(PY) -m tools.check browser

model: env ## Fetch the real model the book uses (once)
	@$(PY) -m tools.check model

env: ## Make or refresh .venv
	@$(PYTHON) -m tools.environment

lock: env ## Refresh the pins under requirements/ (needs uv)
	@$(PY) -m tools.lock

clean: ## Remove what was built, keep .venv
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist
	find . -name .venv -prune -o -name __pycache__ -type d -print | xargs rm -rf

distclean: clean ## Remove .venv as well
	rm -rf .venv
