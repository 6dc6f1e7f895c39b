# A web service on asyncio: notes in JSON over HTTP, and a worker that counts what was written. Python's own library only.
#
#     service [--db TARGET] [--port PORT]      port 0: a free one, which is printed
#
#     curl -d '{"text": "hello", "topic": "a"}' localhost:8080/notes;  curl localhost:8080/notes?topic=a;  …/notes/ID;  …/count
import argparse
import asyncio
import json
import os
from typing import Any, Dict, List, Tuple
from urllib.parse import parse_qsl, urlsplit

import tito
import tito.aio


class Note(tito.Document, table="note"):
    text: str
    topic: str = "none"
    written_at: float = 0

    indexes = [tito.index("by_topic", "topic", "-written_at")]

    def events(self) -> List[tito.EventSpec]:
        return [{"name": "note"}]


class Service:
    def __init__(self, db: tito.aio.Database) -> None:
        self.notes, self.counts = db.model(Note), db.model({"table": "count"})
        self.worker = db.worker(concurrency=8)
        self.worker.on("note", self.count)

    async def count(self, event: tito.Event, tx: tito.aio.Transaction) -> None:
        """In one transaction with the acknowledgement: each note counts once, whatever crashes."""
        known = await self.counts.find_by_id("notes", None, tx) or {"id": "notes", "n": 0}
        await self.counts.save({**known, "n": known["n"] + 1}, tx)

    async def answer(self, method: str, path: str, asked: Dict[str, str], body: bytes) -> Tuple[int, Any]:
        if (method, path) == ("POST", "/notes"):
            given = json.loads(body)
            note = Note(tito.uuid(), str(given["text"]), str(given.get("topic", "none")), tito.now())
            return 201, vars(await self.notes.build(note, events=tito.INSERT))
        if (method, path) == ("GET", "/notes"):
            query = self.notes.query_by_index("by_topic").value(asked.get("topic", "none"))
            page = await query.limit(int(asked.get("limit", 20))).cursor(asked.get("cursor")).execute()
            return 200, {"items": [vars(note) for note in page], "cursor": page.cursor}
        if (method, path) == ("GET", "/count"):
            return 200, await self.counts.find_by_id("notes") or {"n": 0}
        found = await self.notes.find_by_id(path[7:]) if method == "GET" and path.startswith("/notes/") else None
        return (200, vars(found)) if found else (404, {"error": "not_found"})

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            method, target, _ = (await reader.readline()).decode("latin-1").split()
            size = 0
            while (line := (await reader.readline()).strip().lower()):
                size = int(line[15:]) if line.startswith(b"content-length:") else size
            url = urlsplit(target)
            try:
                status, value = await self.answer(method, url.path, dict(parse_qsl(url.query)), await reader.readexactly(size))
            except (tito.InvalidArgument, ValueError, KeyError, TypeError) as error:
                status, value = 400, {"error": str(error)}
            body = json.dumps(value).encode()
            writer.write(b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                         b"Connection: close\r\n\r\n%b" % (status, len(body), body))
            await writer.drain()
        finally:
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="service")
    parser.add_argument("--db", default=os.environ.get("TITO_DB", "memory:"))
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    async with await tito.aio.connect(given.db) as db:
        service = Service(db)
        async with await asyncio.start_server(service.connected, "127.0.0.1", given.port) as server:
            print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notes", flush=True)
            await service.worker.run()  # until SIGINT or SIGTERM; then the server stops, then the database


asyncio.run(main())
