"""What a topic of items of another owner costs each process: memory and time by item.

python -m benchmarks.item_sources
"""

import time
import tracemalloc

from streams import Item, ItemCatalogue, ItemSourceSettings, Record, TopicSettings, encode

ITEMS, BATCH = 100_000, 1_000


def records() -> list[Record]:
    """One record for each item, of about 330 bytes."""
    items = (
        Item(
            item_id=f"{number:08d}", item_type="product", title=f"Title of product {number}",
            description="x" * 200, attributes={"stock": number % 9, "price": 9.5},
        )
        for number in range(ITEMS)
    )  # fmt: skip
    return [
        Record("shop", 0, number, number, item.key, encode(item))
        for number, item in enumerate(items)
    ]


def read(made: list[Record]) -> ItemCatalogue:
    """Return the catalogue of all records."""
    catalogue = ItemCatalogue(TopicSettings(), (ItemSourceSettings(topic="shop"),))
    for start in range(0, len(made), BATCH):
        catalogue.take(made[start : start + BATCH])
    return catalogue


def main() -> None:
    """Print the figures."""
    made = records()
    started = time.process_time()
    read(made)
    seconds = time.process_time() - started
    tracemalloc.start()
    kept = read(made)
    held = tracemalloc.get_traced_memory()[0]
    assert kept.decides("product", "00000000") is not None  # noqa: S101 it holds them
    size = sum(len(one.value or b"") for one in made) / ITEMS
    print(f"{ITEMS:,} items of {size:.0f} bytes: {held / ITEMS:.0f} bytes and", end=" ")
    print(f"{seconds / ITEMS * 1e6:.1f} us an item")


if __name__ == "__main__":
    main()
