"""Writes a list for every user to one file, for mailings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from console import Replica, Serving
from console.serving import Wanted
from console.state_reads import title, users_like

__all__ = ["SCHEMA", "write_lists"]

#: Users whose lists are written together, and whose lists are made together.
CHUNK, AT_ONCE = 2_000, 32
LOOK_S = 0.05

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "place": pa.int32(),
        "item_type": pa.string(),
        "item_id": pa.string(),
        "score": pa.float32(),
        "title": pa.string(),
        "generation": pa.int64(),
    }
)


async def write_lists(
    replica: Replica,
    serving: Serving,
    file: Path,
    wanted: Wanted,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write a list for every user with a history to a Parquet file; returns the number of users.

    A row for each place, by user and place from 1; a user whose list is empty has no row. Opens and
    closes the replica. progress: told of users done and of all. The file appears when it is whole.
    Raises what the replica raises.
    """
    partial = file.with_name(f"{file.name}.partial")
    done = 0
    async with replica:
        following = asyncio.ensure_future(replica.run())
        try:
            while not replica.ready and not following.done():
                await asyncio.sleep(LOOK_S)
            if following.done():
                following.result()
            users = users_like(replica, "", most=None)
            with pq.ParquetWriter(partial, SCHEMA) as writer:
                async for count, rows in _lists(replica, serving, users, wanted):
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    done += count
                    progress(done, len(users))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    partial.replace(file)
    return done


async def _lists(
    replica: Replica, serving: Serving, users: Sequence[str], wanted: Wanted
) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
    """Yield numbers of users and the rows of their lists."""
    for first in range(0, len(users), CHUNK):
        some = users[first : first + CHUNK]
        states = [await replica.user(user) for user in some]
        pages = []
        for begin in range(0, len(states), AT_ONCE):
            asked = states[begin : begin + AT_ONCE]
            pages += await asyncio.gather(*(serving.page(state, wanted) for state in asked))
        yield (
            len(some),
            [
                {
                    "user_id": user,
                    "place": place,
                    "item_type": item.item_type,
                    "item_id": item.item_id,
                    "score": item.score,
                    "title": title(replica, item.item_type, item.item_id),
                    "generation": page.generation,
                }
                for user, page in zip(some, pages, strict=True)
                for place, item in enumerate(page.items, 1)
            ],
        )
