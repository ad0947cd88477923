"""What a shop knows of its products: stock, price, creator and the markets where it may sell."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

__all__ = ["with_attributes"]

#: Products of one creator, on average; of all products, so many are sold in each market.
OF_ONE_CREATOR, SOLD_IN = 4, 0.8
SOLD_OUT, MOST_IN_STOCK = 0.1, 40

ATTRIBUTES = pa.struct(
    [
        ("stock", pa.int64()),
        ("price", pa.float64()),
        ("creator", pa.string()),
        ("markets", pa.list_(pa.string())),
    ]
)


def with_attributes(catalogue: pa.Table, markets: Sequence[str], seed: int) -> pa.Table:
    """Return a catalogue with a column `attributes`, drawn from a seed.

    A tenth is sold out. Prices are 5 to 100. A product is sold in one market at least.
    """
    rng = np.random.default_rng([seed, *b"shop"])
    size = catalogue.num_rows
    creators = max(1, size // OF_ONE_CREATOR)
    stock = np.where(
        rng.random(size) < SOLD_OUT, 0, rng.integers(1, MOST_IN_STOCK + 1, size=size)
    )  # fmt: skip
    price = np.round(np.exp(rng.uniform(np.log(5), np.log(100), size=size)), 2)
    creator = rng.integers(creators, size=size)
    sold = rng.random((size, len(markets))) < SOLD_IN
    sold[np.arange(size), rng.integers(len(markets), size=size)] = True
    rows = [
        {
            "stock": int(stock[row]),
            "price": float(price[row]),
            "creator": f"creator-{creator[row]:04d}",
            "markets": [market for market, here in zip(markets, sold[row], strict=True) if here],
        }
        for row in range(size)
    ]
    return catalogue.append_column("attributes", pa.array(rows, ATTRIBUTES))
