"""The tutorial of the web application is true: its blocks are run, in order, as a reader would."""

import json
import re

import pytest

from tests.documentation import ShellBlock
from tests.integration.test_documentation_blocks import (
    DEADLINE_S,
    PORT,
    ROOT,
    add_program,
    free_port,
    run,
    runnable,
)

PAGE = ROOT / "docs" / "my-shop.md"


def test_the_page_shows_a_part_of_the_program():
    [shown] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown in (ROOT / "examples" / "shop.py").read_text()


@pytest.mark.timeout(DEADLINE_S + 60)
def test_a_web_application_gets_lists_by_its_rules(tmp_path):
    add_program(tmp_path / ".venv" / "bin" / "python")
    add_program(tmp_path / ".venv" / "bin" / "segue", "-m segue ")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    application = tmp_path / "var" / "my-shop" / "app" / "bin" / "python"
    add_program(application, path=ROOT / "clients" / "python")
    port = free_port()
    blocks = [
        ShellBlock(page=b.page, line=b.line, text=b.text.replace(PORT, port), reason="")
        for b in runnable(PAGE)
    ]
    said = dict(zip((block.place for block in blocks), run(blocks, tmp_path), strict=True))
    [written, wrong, applied, lists, again, gone] = [
        next(said[b.place] for b in blocks if words in b.text)
        for words in (
            "$shop products",
            "item.stok",
            "s/stok/",
            "$shop order",
            "for time",
            "$shop sold",
        )
    ]
    assert "120 products written, 0 refused" in written
    assert "line 1, column 11: there is no 'item.stok'" in wrong
    assert "version 1 of the policy of *" in applied
    with (tmp_path / "var" / "my-shop" / "products.jsonl").open() as file:
        products = {row["name"]: row for row in map(json.loads, file)}
    parts = re.split(r"(?m)^(?=1\. )", lists)[1:]
    assert len(parts) == 3
    for part, country in zip(parts, ("DE", "DE", "US"), strict=True):
        rows = [products[re.sub(r"  [\d.]+  .*", "", line[3:])] for line in part.splitlines()]
        assert len(rows) == 8
        assert all(country in row["markets"] for row in rows)
        assert len({row["creator"] for row in rows}) == 8
    assert products["Old Crime, book 3"]["name"] not in parts[1]
    rested = set(parts[2].splitlines())
    assert not {line[3:] for line in rested} & {line[3:] for line in again.splitlines()}
    assert len(re.findall(r"is in no list after \d+\.\d\d s", gone)) == 2
