# Two commands: `make demo` runs the system, `make test` tests it. Both set up what is missing.

# The newest Python that Segue is tested on and that can make an environment here. It is run to see: a shim of
# that name may lead to nothing, and Debian's Python has venv in a package of its own.
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done),\
	$(error expected Python 3.11, 3.12 or 3.13 with venv on the path; name one: make PYTHON=/path/to/python))
BIN := .venv/bin
JAVA_AND_MAVEN := $(and $(shell command -v java),$(shell command -v mvn))

# Where this variable is set, each process would compile Segue's modules again, and each test process
# the tests.
export PYTHONDONTWRITEBYTECODE :=

SEED ?= 1
FAULTS ?= 50
BROKERS ?= 1
MINUTES ?= 20
TRANSPORT ?= faust

.PHONY: setup system demo clients test soak check crash canary mutants deploy-test wheel-test bench quality lock schemas docs clean

setup: .venv/.installed var/kafka/.resolved var/clients/.installed

# The lock is installed as it is, hashes checked; then this project without its dependencies.
.venv/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m segue.compiling
	touch $@

# Without Java and Maven the demo runs on the embedded log, and tests that need Kafka are skipped.
var/kafka/.resolved: streams/pom.xml .venv/.installed
	mkdir -p var/kafka
ifneq ($(JAVA_AND_MAVEN),)
	$(BIN)/segue kafka jars
endif
	touch $@

# The generators of the clients, apart from what Segue itself needs. Where they cannot be had, the tests that need
# them are skipped.
GENERATOR := var/clients/python
var/clients/.installed: clients/requirements-generator.lock clients/typescript/package-lock.json .venv/.installed
	mkdir -p var/clients
	@($(BIN)/uv venv --quiet --clear --python $(BIN)/python $(GENERATOR) && $(BIN)/uv pip install --quiet \
		--python $(GENERATOR)/bin/python --require-hashes -r clients/requirements-generator.lock) || \
		echo "the generator of the Python client cannot be installed: its tests will be skipped"
	@(command -v npm >/dev/null && npm ci --prefix clients/typescript --silent --no-audit --no-fund --fetch-retries=1) || \
		echo "no npm, or no registry for it: the tests of the TypeScript client will be skipped"
	touch $@

# The API's document and both clients, made of the code.
clients: setup
	$(BIN)/python -m console.openapi > clients/openapi.json
	PATH="$(CURDIR)/$(GENERATOR)/bin:$$PATH" openapi-python-client generate --path clients/openapi.json --meta none \
		--config clients/python/generator.yaml --output-path clients/python/segue_client --overwrite
	cd clients/typescript && npm run --silent generate && npm run --silent build

# Chromium and promtool from Debian's packages, where apt-get works; without them the tests that need
# them are skipped.
system:
	@command -v chromium >/dev/null && command -v promtool >/dev/null || \
		{ command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium prometheus; } || \
		echo "no Chromium or promtool here: their tests will be skipped"

demo: setup
	$(BIN)/segue demo

# A file's tests stay in one process, and each process that meets a test with a broker has its own.
# tests/conftest.py says which files begin.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadfile --no-loadscope-reorder -n $$($(BIN)/python tests/processes.py)

# Generated streams for a property of the state; costly ones take a part of them. In all they are
# 24,000 here and 2,000 in `make test` (STREAMS=300). SEED=n draws the same ones again.
STREAMS ?= 3500

# Starts and stops of workers in `make soak`, and simulated nights.
CYCLES ?= 500
NIGHTS ?= 10000

# Long property runs, simulated nights and days, starts and stops of workers, then twenty minutes of rebalances under load.
soak: setup
	STATE_STREAMS=$(STREAMS) $(BIN)/pytest tests/state --timeout=0 --hypothesis-show-statistics \
		$(if $(filter command line,$(origin SEED)),--hypothesis-seed=$(SEED))
	$(BIN)/python -m tests.simulated --seed $(SEED)000000 --nights $(NIGHTS)
	$(BIN)/python -m tests.simulated --seed $(SEED) --hours 72
	STOPS=all $(BIN)/pytest tests/integration/test_stopping.py --timeout=0
	$(BIN)/python -m tests.integration.soak_stops --cycles $(CYCLES) --seed $(SEED) --transport $(TRANSPORT)
	$(BIN)/python -m tests.crash --seed $(SEED) --only scale,restart --minutes $(MINUTES) \
		--rate 400 --age-limit 30

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python docs/make_site.py
	$(BIN)/pytest -q tests/test_documentation.py tests/streams/test_records.py

# Faults drawn by a seed on a real broker; ends with the word `equal`.
crash: setup
	$(BIN)/python -m tests.crash --seed $(SEED) --faults $(FAULTS) --brokers $(BROKERS) \
		--transport $(TRANSPORT) $(if $(UPGRADE),--upgrade $(UPGRADE))

# A canary's life with two trainers and two workers; ends with the word `equal`.
canary: setup
	$(BIN)/python -m tests.canary --seed $(SEED)

# Small faults drawn by a seed; the tests of their part have to notice each.
# On one busy core 13 s for a mutant of policies and 35 s for one of the kernels, after a run of their tests without any.
MUTANTS ?= 200
COSMIC_RAY := var/mutants/python
mutants: setup $(COSMIC_RAY)/.installed
	$(BIN)/python -m tests.mutants --seed $(SEED) --mutants $(MUTANTS)

$(COSMIC_RAY)/.installed: tests/mutants/requirements.lock .venv/.installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(COSMIC_RAY)
	$(BIN)/uv pip install --quiet --python $(COSMIC_RAY)/bin/python --require-hashes -r $<
	touch $@

# Builds the images and runs the roles of the CPU image as its user: as root, with Debian's packages, 30 GB of
# disk. TARGETS=cpu leaves the GPU image out.
TARGETS ?= cpu,gpu
deploy-test: setup
	@command -v buildah >/dev/null && command -v podman >/dev/null && command -v debootstrap >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		buildah podman debootstrap; }
	$(BIN)/python -m tests.image --targets $(TARGETS)

# The wheel in a new environment of each Python (3.11 to 3.13) that uv finds: 8 GB of disk.
wheel-test: setup
	$(BIN)/python -m tests.wheel

# Some eleven minutes on two cores that do nothing else: the sum of its parts, not measured as a whole; more than
# twice that on a busy machine. The figures go to var/bench-throughput.json.
bench: setup
	$(BIN)/segue bench throughput --workers 2 --events 5000000 --peer-events 40000 --faust-events 2500 \
		--jobs segue,segue-librdkafka,drain,pathway,quix-streams,kafka-streams,faust

# Figures on real data that are missing, then benchmarks/QUALITY.md and benchmarks/FRESHNESS.md.
DATA ?= ../shared/data
quality: setup
	$(BIN)/python -m benchmarks.quality --data $(DATA)

# Four locks: of development, of what runs (the CPU image), of the GPU image, and of the tools that install
# them. The second and third hold versions of the first. Then those of programs in environments of their own.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
RUNTIME := --no-annotate -c requirements.lock --extra avro --extra librdkafka --extra multilingual --extra otel --extra ray pyproject.toml
lock:
	$(COMPILE) --extra dev --extra avro --extra dgl --extra otel --extra ray --extra evaluate --extra bench \
		--extra docs --extra librdkafka --extra multilingual pyproject.toml -o requirements.lock
	$(COMPILE) $(RUNTIME) -o requirements-runtime.lock
	$(COMPILE) $(RUNTIME) --group gpu --no-emit-package faiss-cpu -o requirements-gpu.lock
	printf 'uv\nsetuptools\nwheel\n' | $(COMPILE) - -o requirements-uv.lock
	printf 'cosmic-ray\n' | $(COMPILE) - -o tests/mutants/requirements.lock
	printf 'openapi-python-client\n' | $(COMPILE) - -o clients/requirements-generator.lock
	printf 'quixstreams\n' | $(COMPILE) - -o benchmarks/peers/requirements-quix-streams.lock
	printf 'pathway\n' | $(COMPILE) - -o benchmarks/peers/requirements-pathway.lock

schemas: setup
	$(BIN)/python -m streams.schemas

# The pages that are made of the code, then the site in var/site; a broken link is an error.
docs: setup
	$(BIN)/python -m segue.settings_page
	$(BIN)/python -m segue.metrics_page
	$(BIN)/python docs/make_site.py

clean:
	rm -rf .venv var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
