"""Policies as text: read, written, and mistakes with their places."""

import msgspec
import pytest

from agents.policy_text import PolicyFile, fault_in, parse_policy, policy_text
from agents.policy_versions import (
    AttributeTypes,
    PolicyConflict,
    checked,
    difference,
    write_version,
)
from dynamic_layer import PolicyError, rules_of
from streams import ListPolicy, Record, decode

LONG = '''# what the shop wants
list = "mix"
filter = """
item.stock > 0
  and item.stok > 1
"""

[[boost]]
when = "item.stock > 9"
factor = 2

[[ boost ]] # the second
factor = 1.5
when = 'item.stock +'
'''
TYPES = '[types]\n"item.stock" = "number"\n'


def test_what_is_written_is_read_as_the_same_policy():
    rules = rules_of(
        {
            "filter": 'item."shop.price" < 3\n and item.name like \'"\\x7f%\'\x7f',
            "boost": [{"when": "item.a", "factor": 2.5}], "same": [["title"], ["a", "b"]],
            "fresh": {"half_life_days": 3}, "cooling": {"showings": 2}, "diversity": 0.1,
            "quota": [{"when": "item.a", "least": 1}, {"when": "item.b", "most": 2}],
            "slots": [{"position": 1, "item_type": "song", "item_id": "x"}],
            "types": {"item.shop.price": "number", 'item.odd "name"': "text"},
        }
    )  # fmt: skip
    policy = PolicyFile(list_name='the "mix"', rules=rules)
    assert parse_policy(policy_text(policy)) == policy
    nothing = PolicyFile(list_name="*", rules=rules_of({}))
    assert parse_policy(policy_text(nothing)) == nothing


@pytest.mark.parametrize(
    ("text", "where", "place", "what"),
    [
        (LONG + TYPES, "filter", (5, 7), "there is no 'item.stok'"),
        (LONG.replace("stok", "stock") + TYPES, "boost[1].when", (14, 20), "near '+'"),
        ('filter = "item.x > 1"', "filter", (1, 11), "there is no 'item.x'"),
        ("filter = 'item", "", (1, 15), "Expected"),
        ('list = "mix"\nfilter = ' + "[" * 3000 + "]" * 3000, "", (2, 3009), "nested too deeply"),
        ("diversity = 3", "diversity", (1, 13), "<= 1"),
        ("filtre = 'x'", "filtre", (1, 11), "unknown field"),
        ("\n[[cap]]\nattribute = 'a'\nmost = 0", "cap[0].most", (4, 8), ">= 1"),
        ("\n[[cap]]\nmost = 1", "cap[0]", (2, 1), "attribute"),
        ("\n[fresh]\nattribute = 'stock'\n" + TYPES, "fresh.attribute", (3, 14), "expected a time"),
        ("same = [['a'], ['b']]", "same[0]", (1, 8), "no attribute 'a'"),
        ("boost = [{when = 'x', factor = -1}]", "boost[0].factor", (1, 9), "> 0"),
        ("list = 3", "list", (1, 8), "expected the name"),
    ],
)
def test_a_mistake_has_its_place_in_the_text(text, where, place, what):
    with pytest.raises(PolicyError) as caught:
        checked(parse_policy(text), AttributeTypes())
    found = fault_in(text, caught.value)
    assert (found.where, (found.line, found.column)) == (where, place)
    assert what in found.what


def test_a_difference_is_by_line():
    before, after = rules_of({"diversity": 0.1}), rules_of({"diversity": 0.2, "same": [["a"]]})
    assert difference(before, before, ("version 1", "version 2")) == []
    assert difference(before, after, ("version 1", "version 2")) == [
        "--- version 1", "+++ version 2", "@@ -1,3 +1,8 @@", " {",
        '-  "diversity": 0.1', '+  "diversity": 0.2,', '+  "same": [', "+    [", '+      "a"',
        "+    ]", "+  ]", " }",
    ]  # fmt: skip


class Topic:
    """Records, and what somebody else appends before the next one."""

    def __init__(self):
        self.records, self.others = [], []

    async def read(self):
        return list(self.records)

    async def append(self, key, value):
        for record in [*self.others, (key, value)]:
            self.records.append(Record("p", 0, len(self.records), 0, *record))
        self.others = []

    def rules(self):
        """Rules of version 1, as workers have them."""
        last = [record for record in self.records if record.key.endswith(b"/00000001")][-1]
        return decode(ListPolicy, last.value).rules


async def test_the_first_of_two_writers_of_a_version_wins():
    topic, policy = Topic(), PolicyFile(list_name="mix", rules=rules_of({"diversity": 0.1}))

    async def write(after, rules=policy.rules, author="ann"):
        made = PolicyFile(list_name="mix", rules=rules)
        return await write_version(
            topic.read, topic.append, made, author=author, comment="", now_ms=1, after=after
        )

    theirs = ListPolicy(list="mix", version=1, author="bob", created_at=1, rules={})
    topic.others = [(theirs.key, msgspec.json.encode(theirs))]
    with pytest.raises(PolicyConflict, match="of mix is 1 by bob"):
        await write(0)
    assert topic.rules() == {}
    with pytest.raises(PolicyConflict):
        await write(0)
    assert (await write(1)).version == 2
    assert (await write(None)).version == 3
    assert len(topic.records) == 5
