"""Executes a scenario (README.md) with the Python binding and prints its trace.

    python run.py SCENARIO.json [TARGET [NAMESPACE]]
"""

import json
import sys

import tito
from tito._lib import ffi, lib


def host_raises(document):
    raise ValueError("as asked")


HOST = {
    "not_draft": lambda document: document.get("status") != "draft",
    "post_events": lambda document: [{"name": "post", "payload": document.get("title")}],
    "author": lambda document: document.get("author"),
    "tag_ids": lambda document: document.get("tag_ids"),
    "raises": host_raises,
}


def shown_text(text):
    out = []
    for c in text:
        out.append("\\" + c if c in '"\\' else f"\\u{ord(c):04x}" if c < " " else c)
    return '"' + "".join(out) + '"'


def shown(value):
    """value as JSON with sorted keys."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        out = ffi.new("char[32]")
        return ffi.buffer(out)[: lib.tito_json_write_double(value, out)].decode()
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, dict):
        return "{" + ",".join(shown_text(k) + ":" + shown(value[k]) for k in sorted(value, key=str.encode)) + "}"
    return "[" + ",".join(map(shown, value)) + "]"


def with_functions(value):
    if isinstance(value, dict):
        return HOST[value["host"]] if set(value) == {"host"} else {k: with_functions(v) for k, v in value.items()}
    return [with_functions(v) for v in value] if isinstance(value, list) else value


class Runner:
    def __init__(self, db, scenario):
        self.db, self.txs, self.versions, self.last = db, {}, {}, None
        self.queues = {name: db.queue(name, **options) for name, options in scenario.get("queues", {}).items()}
        self.models = {name: db.model({"table": name, **with_functions(s)}) for name, s in scenario["models"].items()}

    def run(self, step):
        op = step["op"]
        self.tx = self.txs.get(step["tx"]) if "tx" in step and op != "begin" else None
        model = self.models.get(step.get("model"))
        return getattr(self, "op_" + op)(step, model)

    def write(self, step, function, *what):
        options = {"version": True}
        if "events" in step:
            options["events"] = step["events"]
        if "if_version" in step:
            options["if_version"] = self.versions[step["if_version"]]
        document, version = function(*what, options, self.tx)
        if "keep_version" in step:
            self.versions[step["keep_version"]] = version
        return document

    def op_build(self, step, model):
        return self.write(step, model.build_with_options, step["document"])

    def op_update(self, step, model):
        return self.write(step, model.update_with_options, step["document"])

    def op_save(self, step, model):
        return self.write(step, model.save_with_options, step["document"])

    def op_patch(self, step, model):
        return self.write(step, model.patch_with_options, step["id"], step["changes"])

    def op_delete(self, step, model):
        return model.delete_by_id(step["id"], self.tx, events=step.get("events"))

    def op_find(self, step, model):
        return model.find_by_id(step["id"], step.get("relationships"), self.tx)

    def op_find_many(self, step, model):
        return model.find_many(step["ids"], step.get("relationships"), self.tx)

    def asked(self, step, model):
        query = model.query_by_index(step["index"])
        for value in step.get("values", ()):
            query.value(value)
        for name, value in step.get("bounds", ()):
            getattr(query, name)(value)
        for path in step.get("relationships", ()):
            query.relationship(path)
        if "limit" in step:
            query.limit(step["limit"])
        if step.get("cursor"):
            query.cursor(self.last)
        if step.get("reverse"):
            query.reverse()
        return query.keys_only() if step.get("keys_only") else query

    def page(self, page):
        self.last = page.cursor
        return {"items": page.items, "more": page.cursor is not None}

    def op_query(self, step, model):
        return self.page(self.asked(step, model).execute(self.tx))

    def op_first(self, step, model):
        return self.asked(step, model).first(self.tx)

    def op_count(self, step, model):
        return self.asked(step, model).count(self.tx)

    def op_scan(self, step, model):
        return self.page(model.scan(self.tx, limit=step.get("limit"), reverse=step.get("reverse", False)))

    def op_begin(self, step, model):
        self.txs[step["tx"]] = self.db.begin()
        return True

    def op_commit(self, step, model):
        self.txs.pop(step["tx"]).commit()
        return True

    def op_rollback(self, step, model):
        self.txs.pop(step["tx"]).rollback()
        return True

    def op_publish(self, step, model):
        self.queues[step["type"]].publish(step["key"], step["payload"], self.tx)
        return True

    def op_history(self, step, model):
        found = self.queues[step["type"]].history(state=step["state"])
        return [{name: e.get(name) for name in ("key", "action", "entity", "references", "payload", "attempts")} for e in found]

    def op_work(self, step, model):
        worker, seen = self.db.worker(retry={"max_retries": 0}), []

        @worker.on(step["type"])
        def handle(event):
            seen.append([event.key, event.action, event.payload])
            if len(seen) == step["count"]:
                worker.stop()
            if event.key in step.get("fail", ()):
                raise RuntimeError("as asked")

        worker.run()
        return seen

    def op_check(self, step, model):
        return self.db.check(step["model"])["findings"]

    def op_reindex(self, step, model):
        self.db.reindex(step["model"])
        return True


def trace(scenario, target, namespace=None):
    with tito.connect(target, namespace=namespace) as db:
        runner = Runner(db, scenario)
        for number, step in enumerate(scenario["steps"], start=1):
            try:
                result = shown(runner.run(step))
            except tito.Error as error:
                about = (error.table, error.index) if error.code != "handler_failed" else ()
                result = " ".join(["!" + error.code, *filter(None, about)])
            yield f"{number} {step['op']} {result}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    sys.stdout.reconfigure(encoding="utf-8")
    for line in trace(given, *(sys.argv[2:4] or ["memory:"])):
        print(line)
