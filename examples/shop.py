"""What a shop does with Segue. Each command is one thing that its web application would do."""

import json
import os
import sys
import time
from pathlib import Path

from segue_client import AuthenticatedClient
from segue_client.api.lists import recommend
from segue_client.api.policies import apply_policy, check_policy
from segue_client.api.records import write_events, write_impressions, write_items, write_users
from segue_client.models import (
    Event,
    Impression,
    Item,
    PolicyApply,
    PolicyText,
    ShownItem,
    User,
    UserList,
)

segue = AuthenticatedClient(
    os.environ["SEGUE_URL"], os.environ["SEGUE_TOKEN"], raise_on_unexpected_status=True
)
ROWS = Path("var/my-shop/products.jsonl").read_text().splitlines()
PRODUCTS = {row["sku"]: row for row in map(json.loads, ROWS)}


def now():
    return time.time_ns() // 1_000_000


def entry(sku, **changes):
    """A product as a record of Segue's catalogue: what the rules need are its attributes."""
    row = PRODUCTS[sku] | changes
    attributes = {name: row[name] for name in ("stock", "price", "creator", "markets")}
    texts = {"title": row["name"], "description": row["about"]}
    return Item.from_dict(
        {"item_id": sku, "item_type": row["kind"], **texts, "attributes": attributes}
    )


def products():
    """All products, with their attributes. At most 1,000 records a request."""
    written = write_items.sync(client=segue, body=[entry(sku) for sku in PRODUCTS])
    print(f"{written.accepted} products written, {written.rejected} refused")


def customer(user, country):
    """A new customer, or new attributes of one."""
    print(write_users.sync(client=segue, body=User(user, country=country)).at_least)


def rules(file):
    """Check the policy in a file, and put it in force."""
    text = Path(file).read_text()
    said = check_policy.sync(client=segue, body=PolicyText(text))
    if not said.good:
        print(f"line {said.fault.line}, column {said.fault.column}: {said.fault.what}")
        return
    body = PolicyApply(after=said.newest, text=text, author="the shop", comment="from the tutorial")
    written = apply_policy.sync(client=segue, body=body)
    print(f"version {written.version} of the policy of {said.list_}")
    time.sleep(2)  # until all workers and consoles follow it


def front_page(user, at_least=(), seen=True):
    """The list of a customer, and the record that it was shown."""
    body = UserList(user, k=8, titles=True, at_least=list(at_least))
    places = recommend.sync(client=segue, body=body).items
    for number, place in enumerate(places, 1):
        product = PRODUCTS[place.item_id]
        print(f"{number}. {place.title}  {product['price']:.2f}  {product['creator']}")
    if seen:
        items = [ShownItem(p.item_id, p.item_type, n) for n, p in enumerate(places, 1)]
        write_impressions.sync(
            client=segue, body=Impression(user, items, now(), list_id="mix/front page")
        )
    return [place.item_id for place in places]


def order(user, sku):
    """An order, and the list that includes it. A repeat under the same number writes nothing."""
    number = f"order-{now()}"  # use your own order numbers
    event = Event(user, sku, PRODUCTS[sku]["kind"], "stream", now())
    written = write_events.sync(client=segue, body=event, idempotency_key=number)
    front_page(user, written.at_least)


def sold_out(user):
    remove(user, lambda sku: entry(sku, stock=0))


def take_down(user):
    remove(user, lambda sku: Item(sku, PRODUCTS[sku]["kind"], deleted=True))


def remove(user, record):
    """The first product of a list leaves; the next list is without it."""
    sku = front_page(user, seen=False)[0]
    write_items.sync(client=segue, body=record(sku))
    started = time.monotonic()
    body = UserList(user, k=100)
    while any(p.item_id == sku for p in recommend.sync(client=segue, body=body).items):
        time.sleep(0.01)
    print(f"{sku} is in no list after {time.monotonic() - started:.2f} s")


COMMANDS = (products, customer, rules, front_page, order, sold_out, take_down)

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    {command.__name__: command for command in COMMANDS}[name](*arguments)
