"""Items nearest to a text, from the bundle that workers serve, as in the API's search."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.bundles.models import Models
from console.serving import Serving
from segue.roles import make_encoder
from segue.served_bundle import read_if_there
from segue.settings import Settings
from segue.showing import scored_rows, titles_of
from state import CorruptArtifact
from streams import read_catalogue, read_from
from streams.log_record import now_ms

__all__ = ["search_view"]


async def search_view(
    settings: Settings, text: str, types: Sequence[str] = (), k: int = 10
) -> dict[str, Any]:
    """Return the items nearest to a text, best first, as JSON values.

    types: if empty, all. Items added or removed since the bundle was made count as for the workers.
           Raises AdminError, CorruptArtifact if no complete bundle is served, and ValueError
    for a type that the bundle does not have.
    """
    topics = settings.topics
    encoder = await asyncio.to_thread(make_encoder, settings)
    with tempfile.TemporaryDirectory(prefix="segue-search-") as scratch:
        models = Models(settings.store(), Path(scratch), lambda: encoder, now_ms)
        try:
            await models.announced(await read_from(settings.kafka, topics.models))
            await models.rows_changed(await read_if_there(settings.kafka, topics.rows))
            if models.recommender is None:
                raise CorruptArtifact(
                    "no complete bundle is served; `segue status` shows the announced ones"
                )
            known = models.recommender.bundle.types
            if unknown := sorted(set(types) - set(known)):
                raise ValueError(f"expected types of {', '.join(known)}; got {', '.join(unknown)}")
            catalogue, _ = await read_catalogue(settings.kafka, topics, settings.item_sources)
            await models.catalogue(catalogue)
            serving = Serving(models, now_ms, batch=1, waiting=1)
            generation, found = await serving.search(text, types, k)
        finally:
            encoder.close()
    return {
        "text": text,
        "generation": generation,
        "items": scored_rows(found, titles_of(catalogue)),
    }
