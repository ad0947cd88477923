"""One play of the tutorial's radio station, now: `hear.py LISTENER SONG`."""

import json
import os
import sys
from datetime import UTC, datetime

from kafka import KafkaProducer

listener, slug = sys.argv[1:]
play = {
    "who": {"no": int(listener)}, "did": "finish", "at": datetime.now(UTC).isoformat(),
    "what": {"slug": slug, "class": slug.split("-")[0]},
}  # fmt: skip
producer = KafkaProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"])
producer.send("radio.heard", json.dumps(play).encode(), listener.encode())
producer.flush()
