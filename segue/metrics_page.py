"""The page of all metrics, made of the code: `python -m segue.metrics_page [FILE]`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from agents import Tally
from agents.training.train_tally import TrainTally
from console import ConsoleMetrics
from segue.build_tally import BuildTally
from streams import EventRules, TopicSettings
from streams.rekeying import Rekeyer

__all__ = ["page", "registries"]

FILE = Path("docs") / "metrics.md"

_HEAD = """# Metrics

Made of the code by `python -m segue.metrics_page`; a test keeps them equal. Labels have few values:
partitions, reasons, routes as they are declared, item types of the catalogue, the last four
generations that were asked. No label holds what an event or a client sent.
"""


class _NoOutputs:
    """Outputs of a re-keyer that re-keys nothing."""

    async def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Drop records."""

    async def flush(self) -> None:
        """Do nothing."""


def registries() -> dict[str, CollectorRegistry]:
    """The metrics of each role, by its command."""
    rekeyed = CollectorRegistry()
    Rekeyer((), EventRules(), TopicSettings(), _NoOutputs(), rekeyed)
    return {
        "segue worker": Tally().registry,
        "segue trainer": TrainTally().registry,
        "segue static schedule": BuildTally().registry,
        "segue console": ConsoleMetrics().registry,
        "segue rekey": rekeyed,
    }


def page() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(
        line for role, registry in registries().items() for line in _role(role, registry)
    )


def _role(role: str, registry: CollectorRegistry) -> Iterator[str]:
    yield f"\n## {role}\n\n| metric | kind | labels | |\n|---|---|---|---|\n"
    for metric in registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = ", ".join(f"`{name}`" for name in metric._labelnames)
            end = "_total" if family.type == "counter" else ""
            text = family.documentation
            yield f"| `{family.name}{end}` | {family.type} | {labels} | {text} |\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.write_text(page())
    sys.stdout.write(f"{target}\n")
