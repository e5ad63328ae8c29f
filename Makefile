# Each target sets up what it needs; a second run installs nothing.
#
#   make demo        the embedded corpus through the whole job
#   make test        the tests
#   make test-slow   the suites that are too slow for every run, and property tests on ten times the examples;
#                    prints what they counted
#   make test-engines  exports on Qdrant, LanceDB, Milvus Lite and pgvector, the table in Spark and DuckDB, also as an
#                    Iceberg table; it installs them
#   make test-runners  the job on Prism, Flink and Spark on this machine, and what a worker's death does; it fetches
#                    them below .runners (Go, Java and Maven; 600 MB). CASES=quick: one refresh on each, and a worker
#                    that dies
#   make fuzz        every parser on damaged files, a minute each (NNN_FUZZ_SECONDS; half an hour in all)
#   make bench       how fast scoring is, relative to a plain matrix product (30 minutes)
#   make check       ruff and mypy
#   make lock        what the image installs, with hashes, of setup.py and constraints.txt
#   make sbom        the same as a bill of materials for auditors (sbom.json, CycloneDX)
#
# For CPU-only builds of PyTorch:  make demo PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu'

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
INSTALL := $(BIN)/python deploy/install.py $(PIP_FLAGS)

# What reads the table in programs of their own: the folder, and what pip puts there; and Maven's jars of Iceberg.
READERS := spark-3.5.7:pyspark==3.5.7 spark-4.0.1:pyspark==4.0.1 \
  duckdb-1.5.5:duckdb-extensions==1.5.5,duckdb-extension-iceberg==1.5.5,duckdb-extension-avro==1.5.5
ICEBERG := iceberg-3.5.7@org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.9.2 \
  iceberg-4.0.1@org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.10.1

# Of test-runners. Those of another name are all.
CASES := all
CASES_quick := -k '(same_table and (Prism or Flink-cluster or Spark-cluster)) or (worker_is_killed and Flink-cluster and partials)'

# Every program would compile all of its modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-slow test-engines test-runners fuzz bench check lock sbom clean

setup: $(INSTALLED)

$(BIN):
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): setup.py deploy/constraints.txt deploy/install.py | $(BIN)
	$(INSTALL) --editable '.[clip]'
	touch $@

$(TESTABLE): setup.py deploy/constraints.txt deploy/install.py | $(BIN)
	$(INSTALL) --editable '.[test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/nnn demo

test: $(TESTABLE)
	$(BIN)/python -m pytest -q -n auto --dist worksteal

bench: $(TESTABLE)
	$(INSTALL) --editable '.[test,bench]'
	$(BIN)/python tests/benchmarks/scoring.py

test-slow: $(TESTABLE)
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/python -m pytest -q --hypothesis-profile=thorough -m 'slow or counted or hypothesis'

test-engines: $(TESTABLE)
	$(INSTALL) --editable '.[test,engines]'
	for reader in $(READERS); do test -d $(VENV)/readers/$${reader%%:*} || \
	  $(BIN)/python -m pip install --quiet --target $(VENV)/readers/$${reader%%:*} $$(echo $${reader#*:} | tr , ' ') || \
	  exit 1; done
	! command -v mvn || for jars in $(ICEBERG); do for jar in $${jars#*@} org.xerial:sqlite-jdbc:3.46.1.3; do \
	  mvn -q -B dependency:copy -Dartifact=$$jar -DoutputDirectory=$(VENV)/readers/$${jars%%@*} || exit 1; done; done
	$(BIN)/python -m pytest -q -m engines

test-runners: $(TESTABLE)
	$(BIN)/python tests/runner_parts.py
	$(BIN)/python -m pytest -q -s -rs -m runners tests/deploy/test_runners.py $(CASES_$(CASES))

fuzz: $(TESTABLE)
	$(BIN)/python -m pytest -q -s -m fuzz tests/core/inputs/test_fuzz.py

check: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(INSTALLED)
	$(BIN)/python deploy/lock.py

sbom: $(INSTALLED)
	$(INSTALL) --editable '.[test,sbom]'
	cat deploy/requirements.txt deploy/requirements-torch.txt | $(BIN)/cyclonedx-py requirements --output-reproducible \
	  --output-file sbom.json -

clean:
	rm -rf $(VENV) nnn-demo *.egg-info
