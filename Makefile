# llama_edu: two commands do it all. `make book` builds what you read, `make test` proves it.
# Everything installs into .venv, once; PYTHON=/path/to/python chooses the interpreter.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python

.PHONY: help env book test lab student notebooks format lock clean distclean
.PHONY: lint types unit nbval browser model

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: env ## Build the book and say which file to open
	@$(PY) tools/check.py book

test: env ## Check everything: lint, format, types, tests, notebooks, book, browser
	@$(PY) tools/check.py

lab: env ## Open the notebooks in JupyterLab
	@$(PY) tools/check.py model || echo "Without it some cells show an error; the rest runs."
	@$(PY) -m jupyter lab book

student: env ## Make copies of the chapters to work in, with stubs for solutions
	@$(PY) tools/student.py

notebooks: env model ## Run every notebook again and store its outputs in place
	@$(PY) tools/axes_css.py
	@$(PY) tools/execute_notebooks.py $(NB)
	@$(PY) tools/printed_solutions.py

format: env ## Repair layout and simple lint
	@$(PY) -m ruff check --quiet --fix . && $(PY) -m ruff format --quiet .

lint: env ## Only lint, format check and types
	@$(PY) tools/check.py lint format types

unit: env ## Only the unit and property tests
	@$(PY) tools/check.py model unit

nbval: env ## Only the notebooks, compared with what they store
	@$(PY) tools/check.py model notebooks

browser: env ## Only the pages in a browser (after `make book`)
	@$(PY) tools/check.py browser

model: env ## Fetch the real model the book uses (once)
	@$(PY) tools/check.py model

env: ## Make or refresh .venv
	@PYTHON='$(PYTHON)' sh tools/env.sh

lock: ## Refresh the pins in requirements.txt (needs uv)
	@sh tools/lock.sh

clean: ## Remove what was built, keep .venv
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name .venv -prune -o -name __pycache__ -type d -print | xargs rm -rf

distclean: clean ## Remove .venv as well
	rm -rf .venv
