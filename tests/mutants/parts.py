"""The parts of the project that are mutated, the tests that have to notice it, and mutants."""

from dataclasses import dataclass

KERNELS = ("state", "dynamic_layer")
"""The packages with compiled code."""


NIGHTS = ("tests/simulated/test_nights.py", "tests/simulated/test_days.py")
"""Of the simulation; its other tests put faults in by hand, and say little of a mutant."""
DOCTESTS = "tests/test_doctests.py"


@dataclass(frozen=True)
class Part:
    """Modules, and the tests that have to notice a fault in them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names.split())


PARTS = (
    Part(
        _in(
            "state",
            "actions batches blocks co_interactions commit_record deltas demand erasure histories"
            " items kernel merge names packing partition runs shown sorting summing"
            " taken taken_state transitions",
        ),
        ("tests/state", "tests/agents", *NIGHTS, DOCTESTS),
    ),
    Part(
        _in("streams", "positions offsets spans partition_log erasure_records source_topics")
        + _in("agents", "erased erasure forgetting ingest outputs")
        + _in("state", "checkpoint manifest opening"),
        ("tests/agents", "tests/state", "tests/streams", *NIGHTS, DOCTESTS),
    ),
    Part(
        _in("dynamic_layer/measure", "gate against_popularity intervals"),
        ("tests/dynamic_layer", DOCTESTS),
    ),
    Part(
        _in(
            "dynamic_layer/policies",
            "columns constants exploration expressions in_force limits masks match_rarity moment"
            " parsing policy rules selection values",
        )
        + _in("dynamic_layer/serving", "policy_lists limited_lists cooling")
        + _in("agents", "policies policy_text policy_versions"),
        (
            "tests/dynamic_layer",
            "tests/agents/test_policies.py",
            "tests/agents/test_policy_text.py",
            "tests/segue/test_policies.py",
            "tests/console/test_policies.py",
            DOCTESTS,
        ),
    ),
)


MODULES = tuple(module for part in PARTS for module in part.modules)


def part_of(module: str) -> Part:
    """Return the part that a module is in."""
    return next(part for part in PARTS if module in part.modules)


def own_tests(module: str) -> tuple[str, ...]:
    """Return the tests of the module's part that are those of its package."""
    package = f"tests/{module.split('/', maxsplit=1)[0]}"
    return tuple(name for name in part_of(module).tests if name.startswith(package))


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; `noticed` names the first test that failed, or is empty.

    within: the function of the line, with its class.
    """

    module: str
    line: int
    operator: str
    before: str
    after: str
    text: str = ""
    noticed: str = ""
    within: str = ""

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.module}:{self.line}  {self.before}  =>  {self.after}"

    @property
    def key(self) -> tuple[str, ...]:
        """What `explained.toml` names a mutant by; a line's number changes too often."""
        return self.module, self.within, self.before, self.after
