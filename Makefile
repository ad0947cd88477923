# Two commands: `make demo` runs the system, `make test` tests it. Both set up what is missing.

PYTHON ?= python3.11
BIN := .venv/bin
JAVA_AND_MAVEN := $(and $(shell command -v java),$(shell command -v mvn))

SEED ?= 1
FAULTS ?= 50
MINUTES ?= 20

.PHONY: setup system demo test soak check crash canary bench quality lock schemas docs clean

setup: .venv/.installed var/kafka/.resolved

# The lock is installed as it is, hashes checked; then this project without its dependencies.
.venv/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -c "from state import compile_kernels; compile_kernels()"
	touch $@

# Without Java and Maven the demo runs on the embedded log, and tests that need Kafka are skipped.
var/kafka/.resolved: deploy/kafka/pom.xml .venv/.installed
	mkdir -p var/kafka
ifneq ($(JAVA_AND_MAVEN),)
	$(BIN)/segue kafka jars
endif
	touch $@

# Chromium and promtool from Debian's packages, where apt-get works; without them the tests that need
# them are skipped.
system:
	@command -v chromium >/dev/null && command -v promtool >/dev/null || \
		{ command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium prometheus; } || \
		echo "no Chromium or promtool here: their tests will be skipped"

demo: setup
	$(BIN)/segue demo

# A file's tests stay in one process, and each process that meets a test with a broker has its own. One
# process more than cores: such tests wait a lot. tests/conftest.py says which files begin.
PROCESSES := $(shell cores=$$(nproc); echo $$((cores < 3 ? cores + 1 : 4)))
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadfile --no-loadscope-reorder -n $(PROCESSES)

# Generated streams for a property of the state; costly ones take a part of them. In all they are
# 24,000 here and 2,000 in `make test` (STREAMS=300). SEED=n draws the same ones again.
STREAMS ?= 3500

# Long property runs, then twenty minutes of rebalances under load.
soak: setup
	STATE_STREAMS=$(STREAMS) $(BIN)/pytest tests/state --timeout=0 --hypothesis-show-statistics \
		$(if $(filter command line,$(origin SEED)),--hypothesis-seed=$(SEED))
	$(BIN)/python -m tests.crash --seed $(SEED) --only scale,restart --minutes $(MINUTES) \
		--rate 400 --age-limit 30

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/pytest -q tests/test_documentation.py tests/streams/test_records.py

# Faults drawn by a seed on a real broker; ends with the word `equal`.
crash: setup
	$(BIN)/python -m tests.crash --seed $(SEED) --faults $(FAULTS)

# A canary's life with two trainers and two workers; ends with the word `equal`.
canary: setup
	$(BIN)/python -m tests.canary --seed $(SEED)

# About twenty minutes on two cores; the figures go to var/bench-throughput.json.
bench: setup
	$(BIN)/python benchmarks/transport.py
	$(BIN)/segue bench throughput --workers 2

# Figures on real data that are missing, then benchmarks/QUALITY.md and docs/freshness.md.
DATA ?= ../shared/data
quality: setup
	$(BIN)/python -m benchmarks.quality --data $(DATA)

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra dev --extra avro --extra dgl --extra otel --extra ray --extra evaluate --extra bench --extra docs pyproject.toml -o requirements.lock
	printf 'uv\nsetuptools\nwheel\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header - -o requirements-uv.lock

schemas: setup
	$(BIN)/python -m streams.schemas

# The pages that are made of the code, then the site in var/site; a broken link is an error.
docs: setup
	$(BIN)/python -m segue.settings_page
	$(BIN)/python -m segue.metrics_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
