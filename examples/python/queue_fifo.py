# A first-in-first-out queue: five users are created with an event each, a worker handles the events in that order.
#
#     queue_fifo [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
import argparse
import os
from typing import List

import tito

parser = argparse.ArgumentParser(prog="queue_fifo", description="TARGET: a directory, memory:, …")
parser.add_argument("--db", metavar="TARGET", default=os.environ.get("TITO_DB", "memory:"))
arguments = parser.parse_args()


class User(tito.Document, table="user"):
    name: str

    def events(self) -> List[tito.EventSpec]:
        return [{"name": "user"}]


with tito.connect(arguments.db) as db:
    db.queue("user", partitions=1, ordering="partition")  # one after the other, whatever the key
    users = db.model(User)

    # each user and its event are stored in one transaction
    ids: List[str] = []
    for i, name in enumerate(("Alice", "Bob", "Carol", "Dave", "Erin"), start=1):
        user = users.build(User(id=tito.uuid(), name=name), events=tito.INSERT)
        ids.append(user.id)
        print(f"Created user {i}: {name} ({user.id})")

    worker = db.worker(concurrency=4)
    seen: List[str] = []

    @worker.on("user")
    def handle(event: tito.Event, tx: tito.Transaction) -> None:
        """Returning acknowledges the event; raising would have it tried again."""
        assert event.entity_id is not None
        seen.append(event.entity_id)
        print(f"[{len(seen)}] Processing event: {event.action} - {event.entity} (sequence: {event.sequence})")
        if len(seen) == len(ids):
            worker.stop()

    worker.run()  # until stop(), or SIGINT or SIGTERM
    assert seen == ids, "the events came in another order"
    print(f"Complete! Processed {len(seen)} events in FIFO order")
