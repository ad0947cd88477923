import asyncio
import os
import time

from segue_client import AuthenticatedClient
from segue_client.api.lists import get_recommendations
from segue_client.api.records import write_events
from segue_client.models import Event, ProblemBody

shop = AuthenticatedClient(
    os.environ["SEGUE_URL"], os.environ["SEGUE_TOKEN"], raise_on_unexpected_status=True
)


async def bought(user: str, item: str, order: str) -> list[str]:
    event = Event(user, item, "podcast", "stream", time.time_ns() // 1_000_000)
    written = await write_events.asyncio(client=shop, body=event, idempotency_key=order)
    if isinstance(written, ProblemBody):
        raise SystemExit(written.detail)
    made = await get_recommendations.asyncio(client=shop, user=user, at_least=written.at_least)
    return [place.item_id for place in made.items]


print(asyncio.run(bought("user-1", "i1", "order-1")))
