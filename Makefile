# Two commands: `make demo` shows it, `make test` checks it. Both set everything up first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.wordtide-installed

.PHONY: demo test setup bench pictures lock clean

setup: $(STAMP)

# --no-build-isolation: the build back end comes from the lock as well, with its hashes.
$(STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" ./scripts/setup "$(VENV)"
	@touch $@

demo: setup
	@$(BIN)/wordtide demo $(ARGS)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

# README's pictures, of a real demo; needs the system's Chromium.
pictures: setup
	$(BIN)/python -m scripts.pictures

# The lock for other versions: edit pyproject.toml, then this. No registry's address gets into it.
lock:
	uv pip compile pyproject.toml --extra dev --constraint constraints.txt --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
