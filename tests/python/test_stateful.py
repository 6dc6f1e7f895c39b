"""Random operations against a model of dicts, on each engine: records, index entries, transactions, versions, events."""

import hypothesis
import hypothesis.strategies as st
import pytest
import tito
from conftest import ENGINES, place_of, scaled
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

IDS = st.sampled_from([f"id{i}" for i in range(6)])
NAMES = st.sampled_from(["a", "b", "c", "d\x00", "é", ""])
NUMBERS = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.5, -0.0, 2**62, -(2**63), 1e300]))
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3)
SPEC = {
    "table": "thing",
    "indexes": [
        {"name": "by_n", "fields": [{"name": "n", "type": "number"}, {"name": "name", "type": "string"}]},
        {"name": "by_tag", "fields": [{"name": "tags", "type": "string"}]},
        {"name": "positive", "fields": [{"name": "name", "type": "string", "order": "desc"}],
         "condition": lambda thing: (thing.get("n") or 0) > 0},
        {"name": "named_a", "fields": [{"name": "n", "type": "number"}], "where": {"name": "a"}},
    ],
    "unique_indexes": [{"name": "by_key", "fields": [{"name": "key", "type": "string"}]}],
    "events": lambda thing: [{"name": "changed", "payload": thing["id"]}],
}  # fmt: skip


def document_of(id, name, n, tags, key):
    document = {"id": id, "name": name, "n": n, "tags": tags}
    return document if key is None else {**document, "key": key}


DOCUMENTS = st.builds(document_of, IDS, NAMES, NUMBERS, TAGS, st.sampled_from([None, None, "k1", "k2", "k3"]))


def number_key(n):
    return (0, 0) if n is None else (1, n)


class Machine(RuleBasedStateMachine):
    engine = "memory"
    folder = None
    count = 0

    @initialize()
    def open(self):
        Machine.count += 1
        target, options = place_of(self.engine, self.folder / str(Machine.count))
        if self.folder is not None and self.engine == "rocksdb":
            (self.folder / str(Machine.count)).mkdir()
        self.db = tito.connect(target, **options)
        self.things = self.db.model(SPEC)
        self.queue = self.db.queue("changed")
        self.committed, self.view, self.tx = {}, None, None
        self.versions, self.events, self.new_events = {}, 0, 0

    def teardown(self):
        if hasattr(self, "db"):
            if self.tx is not None:
                self.tx.rollback()
            assert self.db.check("thing")["findings"] == []
            assert len(self.queue.history(limit=10000)) == self.events
            self.db.close()

    # ---- The model

    @property
    def state(self):
        return self.committed if self.tx is None else self.view

    def owner_of(self, key, id):
        return any(d.get("key") == key and other != id for other, d in self.state.items()) if key is not None else False

    def put(self, write, document, must, events):
        """Expects of a write what the model says."""
        id, there = document["id"], document["id"] in self.state
        try:
            stored = write(document, self.tx, events="INSERT" if events else None)
        except tito.AlreadyExists:
            assert must == "absent" and there
        except tito.NotFound:
            assert must == "present" and not there
        except tito.UniqueViolation as error:
            assert error.index == "by_key" and self.owner_of(document.get("key"), id)
        else:
            assert stored == document
            assert (must == "any" or there == (must == "present")) or self.tx is not None
            if self.tx is None:
                assert not self.owner_of(document.get("key"), id)
                self.versions.pop(id, None)
            self.lazy(document, must, there)
            self.state[id] = document
            self.new_events += bool(events)
            self.settled()
            return
        self.end_doomed()

    def lazy(self, document, must, there):
        """In a transaction, a conflict with what is stored may be told at the commit."""
        if self.tx is not None and (must == "absent" and there or self.owner_of(document.get("key"), document["id"])):
            self.doubtful = True

    def settled(self):
        if self.tx is None:
            self.events += self.new_events
            self.new_events = 0

    def end_doomed(self):
        if self.tx is None:
            return
        with pytest.raises(tito.Error):
            self.tx.commit()
        self.tx, self.view, self.new_events = None, None, 0

    # ---- The operations

    @rule(document=DOCUMENTS, events=st.booleans())
    def build(self, document, events):
        self.put(self.things.build, document, "absent", events)

    @rule(document=DOCUMENTS, events=st.booleans())
    def update(self, document, events):
        self.put(self.things.update, document, "present", events)

    @rule(document=DOCUMENTS, events=st.booleans())
    def save(self, document, events):
        self.put(self.things.save, document, "any", events)

    @rule(id=IDS, n=NUMBERS, name=st.one_of(st.none(), NAMES))
    def patch(self, id, n, name):
        changes = {"n": n, "name": name, "deep": {"x": n}}
        expected = {**self.state.get(id, {}), "deep": {**self.state.get(id, {}).get("deep", {}), "x": n}}
        for member in ("n", "name"):
            expected[member] = changes[member]
        expected = {m: v for m, v in expected.items() if v is not None or m not in changes}
        if n is None:
            del expected["deep"]["x"]
        try:
            assert self.things.patch(id, changes, self.tx) == expected
        except tito.NotFound:
            assert id not in self.state
            self.end_doomed()
        else:
            assert id in self.state
            self.state[id] = expected
            self.versions.pop(id, None)

    @rule(id=IDS, events=st.booleans())
    def delete(self, id, events):
        there = id in self.state
        assert self.things.delete_by_id(id, self.tx, events="DELETE" if events else None) == there
        self.state.pop(id, None)
        self.new_events += there and events
        self.settled()

    @precondition(lambda self: self.tx is None)
    @rule(id=IDS, n=NUMBERS)
    def compare_and_set(self, id, n):
        found = self.things.find_with_version(id)
        if found is None:
            return
        document, version = found
        old = self.versions.get(id)
        if old is not None and old != version:
            with pytest.raises(tito.VersionMismatch):
                self.things.save(document, if_version=old)
        self.committed[id], self.versions[id] = self.things.update_with_options(
            {**document, "n": n}, {"if_version": version, "version": True}
        )
        with pytest.raises(tito.VersionMismatch):
            self.things.save(document, if_version=version)

    @precondition(lambda self: self.tx is None)
    @rule()
    def begin(self):
        self.tx, self.doubtful = self.db.begin(), False
        self.view = dict(self.committed)

    @precondition(lambda self: self.tx is not None)
    @rule()
    def commit(self):
        try:
            self.tx.commit()
        except (tito.AlreadyExists, tito.UniqueViolation):
            assert self.doubtful
            self.new_events = 0
        else:
            assert not self.doubtful
            self.committed = self.view
            self.versions.clear()
        self.tx = self.view = None
        self.settled()

    @precondition(lambda self: self.tx is not None)
    @rule()
    def rollback(self):
        self.tx.rollback()
        self.tx, self.view, self.new_events = None, None, 0

    # ---- What reads must say

    @rule(ids=st.lists(IDS, max_size=6))
    def find(self, ids):
        if self.tx is not None and self.doubtful:
            return
        assert [self.things.find_by_id(id, None, self.tx) for id in ids] == [self.state.get(id) for id in ids]
        unique = sorted(set(ids))
        assert self.things.find_many(unique, None, self.tx) == [self.state[id] for id in unique if id in self.state]

    @rule(low=NUMBERS, high=NUMBERS, limit=st.integers(1, 4), reverse=st.booleans())
    def query(self, low, high, limit, reverse):
        if low is None or high is None or (self.tx is not None and self.doubtful):
            return
        query = self.things.query_by_index("by_n").between(low, high).limit(limit)
        expected = [d for d in self.state.values() if d.get("n") is not None and low <= d["n"] <= high]
        expected.sort(key=lambda d: (number_key(d["n"]), d.get("name") is not None, (d.get("name") or "").encode(), d["id"]))
        if reverse:
            query.reverse()
            expected.reverse()
        assert list(query.each(self.tx)) == expected
        assert query.count(self.tx) == len(expected)
        assert query.first(self.tx) == (expected[0] if expected else None)

    @rule(tag=st.sampled_from(["x", "y", "z"]))
    def query_others(self, tag):
        if self.tx is not None and self.doubtful:
            return
        ids = lambda query: sorted(d["id"] for d in query.each(self.tx))  # noqa: E731
        state = self.state.values()
        index = self.things.query_by_index
        assert ids(index("by_tag").value(tag)) == sorted(d["id"] for d in state if tag in d["tags"])
        assert ids(index("positive")) == sorted(d["id"] for d in state if (d.get("n") or 0) > 0)
        assert ids(index("named_a")) == sorted(d["id"] for d in state if d.get("name") == "a")
        assert ids(index("by_key").value("k1")) == sorted(d["id"] for d in state if d.get("key") == "k1")

    @invariant()
    def scan(self):
        if hasattr(self, "db") and self.tx is None:
            assert [d["id"] for d in self.things.scan(limit=100)] == sorted(self.committed)


@pytest.mark.parametrize("engine", ENGINES)
def test_random_operations(engine, tmp_path):
    kind = type("Machine_" + engine, (Machine,), {"engine": engine, "folder": tmp_path})
    steps = 50
    runs = {"memory": 120, "rocksdb": 40, "tikv": 15}[engine]
    hypothesis.stateful.run_state_machine_as_test(
        kind,
        settings=hypothesis.settings(
            max_examples=scaled(runs, 5),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
