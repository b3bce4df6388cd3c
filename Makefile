# What one types in this folder. `make` alone lists it. Python 3.10 to 3.13 and make are all that is needed.

# Say `make demo PYTHON=/path/to/python` to choose the interpreter; else the first of these that can be used is taken.
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.10 python

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.PHONY: help demo test lint docs docs-gettext minimal bench clean

help:
	@echo "make demo    text, tokenizer, training, evaluation, export and generated text, in runs/demo"
	@echo "make test    formatting, lint, types and every test"
	@echo "make lint    formatting, lint and types alone"
	@echo "make docs    the documentation site, English and Chinese, in docs/build/html"
	@echo "make minimal what runs models and no more: wheel, new environment, every command, its size"
	@echo "make bench   the quick tables of benchmarks/, other packages beside ours, in benchmarks/results"
	@echo "make clean   remove .venv, caches and built packages; runs/ stays"
	@echo "The first demo, test, lint or docs installs what it needs into .venv, in this folder (2.7 to 3.3 GB)."

demo: .venv/installed-train
	.venv/bin/python pipelines/run_all.py configs/demo.toml --out runs/demo

test: lint
	.venv/bin/python -m pytest -q --numprocesses 2 --dist loadfile

lint: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

# Warnings are errors.
SPHINX = .venv/bin/python -m sphinx -q --fail-on-warning --keep-going

docs: .venv/installed-docs
	$(SPHINX) -b html -d docs/build/doctrees docs docs/build/html
	$(SPHINX) -b html -d docs/build/doctrees-zh -D language=zh_CN docs docs/build/html/zh
	@echo docs/build/html/index.html

# After a change of a translated page: brings the catalogues up to date, where new texts are empty and changed ones fuzzy.
docs-gettext: .venv/installed-docs
	$(SPHINX) -b gettext -d docs/build/doctrees-gettext docs docs/build/gettext
	@cd docs/locale/zh_CN/LC_MESSAGES && for page in $$(find . -name '*.po'); do \
	  ../../../../.venv/bin/pybabel -q update --locale zh_CN --ignore-obsolete --ignore-pot-creation-date --no-wrap \
	    --input-file ../../../build/gettext/$${page%.po}.pot --output-file $$page || exit 1; \
	done

# With its own environment, away from .venv.
minimal:
	@$(find_python); "$$python" tests/minimal_install.py

bench: .venv/installed-bench
	@for table in $(TABLES); do \
	  echo "== $$table"; .venv/bin/python benchmarks/$$table.py --json benchmarks/results/$$table.json || exit 1; \
	done

# training_sizes.py takes an hour, gpu.py a GPU, and sentiment.py data sets.
TABLES = tokenizing training_step diagonal_step memory generation scoring classification_speed

clean:
	rm -rf .venv build dist docs/build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-train: pyproject.toml constraints.txt
	$(call install,train)
	@touch .venv/installed-train

.venv/installed-dev: pyproject.toml constraints.txt
	$(call install,train$(comma)dev)
	@touch .venv/installed-train .venv/installed-dev

# The notebook of the site trains a model.
.venv/installed-docs: pyproject.toml constraints.txt
	$(call install,train$(comma)docs)
	@touch .venv/installed-train .venv/installed-docs

# Packages to compare with come from here alone: nothing else may need them.
.venv/installed-bench: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(call install,train,-r benchmarks/requirements.txt)
	@touch .venv/installed-train .venv/installed-bench

# pip can take a package for installed that an interruption left half written. So the marks go before an install and
# come back after it, and a .venv without a mark is made afresh.
comma := ,
define install
	@if ! ls .venv/installed-* >/dev/null 2>&1; then $(find_python); "$$python" -m venv --clear .venv; fi
	@rm -f .venv/installed-*
	@echo "installing $(1) packages into .venv with $$(.venv/bin/python --version) (some minutes, 2.7 to 3.3 GB) ..."
	@.venv/bin/python -m pip install -q -c constraints.txt -e '.[$(1)]' $(2)
endef

define find_python
python=; bare=; \
for candidate in $(PYTHON); do \
  "$$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 || continue; \
  if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then python=$$candidate; break; fi; \
  bare=$${bare:-$$candidate}; \
done; \
if [ -z "$$python" ] && [ -n "$$bare" ]; then \
  echo "error: $$bare lacks venv or ensurepip; install them (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; \
elif [ -z "$$python" ]; then \
  echo "error: Python 3.10 to 3.13 is needed, tried: $(PYTHON); install one or say make PYTHON=/path/to/python" >&2; exit 1; \
fi
endef
