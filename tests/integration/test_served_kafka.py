"""`segue evaluate --served --kafka`: the product's lists do not depend on the log."""

from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.segue.test_served import events, items, run

pytestmark = pytest.mark.integration

ASKED = 6


def test_figures_on_kafka_are_those_of_the_embedded_log(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker)
    events().write_parquet(tmp_path / "events.parquet")
    items().write_parquet(tmp_path / "items.parquet")
    options = ["--served", "--live", "--asked", str(ASKED), "--models", "popularity"]
    embedded, kafka = run(tmp_path, *options), run(tmp_path, *options, "--kafka")

    def figures(report: dict) -> list[dict]:
        return [
            {name: value for name, value in row.items() if "seconds" not in name}
            for row in report["rows"] if row["model"] == "segue"
        ]  # fmt: skip

    modes = {(row["mode"], row["label"]) for row in figures(kafka)}
    assert modes == {("frozen", "horizon"), ("frozen", "next"), ("live", "next")}
    assert any(row["hr_at_10"] > 0 for row in figures(kafka))
    for row, other in zip(figures(kafka), figures(embedded), strict=True):
        assert row == other, (row["mode"], row["label"], row["segment"])
    admin = KafkaAdminClient(bootstrap_servers=broker)
    assert not [name for name in admin.list_topics() if "served" in name], "its topics are removed"
    admin.close()
