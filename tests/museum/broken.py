"""Shows that the museum's tests can fail: builds tito with one of the bugs put back, and runs the test.

    python3 tests/museum/broken.py BUILD_DIR [ID…]      for example: /tmp/broken m04 m07

The tree is copied beside the build first; what is checked out stays as it is. For each bug the test must fail with it and
pass without it. Each entry: the id, a file of core, what stands there, and what makes the bug of it.
"""

import os
import shutil
import subprocess
import sys

BUGS = [
    # The writes are sent again at a new timestamp.
    ("m01", "core/tikv/commit.c", "    if (status == TI_OK && c.pessimistic)\n",
     """    if (status == TI_CONFLICT) {
        ti_commit_request again = *request;
        ti_commit_result second;
        (void)ti_pd_timestamp(t->cluster.pd, &again.start_ts, call, err);
        again.fresh_ts = TI_TS_NONE;
        ti_met_locks_free(&c.met);
        ti_arena_free(&c.arena);
        status = ti_tikv_commit(e, &again, &second, call, err);
        *result_out = second;
        return status;
    }
    if (status == TI_OK && c.pessimistic)
"""),
    # An answer to the primary's commit that does not come is a failure.
    ("m02", "core/tikv/commit.c", "    p->committer->lost_primary = true;\n", "    p->committer->lost_primary = false;\n"),
    # A refusal of async commit is overlooked.
    ("m03", "core/tikv/prewrite.c", "    if (c->async && r->min_commit_ts == 0)\n        c->async = false;\n", ""),
    # No lock expires where a commit is forced into 2PC.
    ("m04", "core/tikv/resolver.c", "    request.current_ts = k->current_ts;\n",
     "    request.current_ts = k->force_sync ? 0 : k->current_ts;\n"),
    # A pessimistic lock without its primary means that its transaction was rolled back.
    ("m05", "core/tikv/resolver_clear.c", " == whole_region &&\n            locks[i]->lock_type != KVRPCPB__OP__PessimisticLock)",
     " == whole_region)"),
    # The error of a whole answer is not looked at.
    ("m06", "core/tikv/scan.c", "    if (r->error == NULL)\n        return take_pairs(", "    if (r != NULL)\n        return take_pairs("),
    # A leader that is not in the cache is asked of PD.
    ("m07", "core/tikv/region.c", "return was_valid && peer.store_id != 0 && insert_with_leader(c, r, peer);",
     "return was_valid && peer.store_id == 0 && insert_with_leader(c, r, peer);"),
    # A busy store is asked again, whatever happens.
    ("m08", "core/tikv/region_error.c", "    if (atomic_fetch_add(&region->busy, 1) < 1)\n        return;\n",
     "    if (atomic_load(&region->busy) < 1)\n        return;\n"),
    # The leader of PD is looked up once.
    ("m09", "core/tikv/pd.c", "    if (looked_since(pd, generation))\n        return TI_OK;\n",
     "    if (looked_since(pd, generation + 1))\n        return TI_OK;\n"),
    # Nobody minds who uses a backoff.
    ("m10", "core/tikv/backoff.c", "    ti_require(b->owner == ti_thread_self());\n", ""),
    # A refused commit timestamp is replaced at once, each time.
    ("m11", "core/tikv/commit.c", "    if (!p->moved)\n        return TI_OK;\n", "    if (!p->moved || p->moves == 0)\n        return TI_OK;\n"),
    # The age of the transaction is forgotten.
    ("m12", "core/tikv/commit.c", "    return (uint64_t)ttl + ti_age_ms(c->request->start_ts, c->now_ts);\n",
     "    return (uint64_t)ttl;\n"),
    # The bound is looked at nowhere but at the beginning.
    ("m13", "core/tikv/commit.c", "    if (r->not_after != TI_TS_NONE && c->commit_ts > r->not_after)\n",
     "    if (r->not_after == 1 && c->commit_ts > r->not_after)\n"),
    # Locks of async commits are waited for.
    ("m14", "core/tikv/resolver.c", "primary->use_async_commit && !k->force_sync &&", "primary->lock_ttl == 0 && !k->force_sync &&"),
    # What is unknown is tried again.
    ("m15", "core/kv/retry.c", "    if (class != TI_CLASS_CONFLICT && class != TI_CLASS_TRANSIENT)\n",
     "    if (class != TI_CLASS_CONFLICT && class != TI_CLASS_TRANSIENT && class != TI_CLASS_UNKNOWN)\n"),
]


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def build(tree, out, name):
    made = run(["cmake", "--build", out, "-j2", "--target", f"test_{name}"])
    if made.returncode != 0:
        sys.exit(f"{name} does not build:\n{made.stdout[-3000:]}")
    try:
        done = run([os.path.join(out, "tests/museum", f"test_{name}")], timeout=120)
    except subprocess.TimeoutExpired:
        return False, "it does not end"
    lines = [line for line in done.stdout.splitlines() if "ERROR" in line or "error" in line or "assert" in line]
    return done.returncode == 0, (lines or [f"it ends with {done.returncode}"])[0].strip()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    base = os.path.abspath(sys.argv[1])
    tree, out = os.path.join(base, "tree"), os.path.join(base, "build")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(root, tree, ignore=shutil.ignore_patterns(".git", "build"), copy_function=shutil.copy)
    if not os.path.exists(out):
        os.makedirs(out)
    run(["cmake", "-G", "Ninja", "-S", tree, "-B", out, "-DCMAKE_BUILD_TYPE=Debug", "-DTITO_TESTING=ON", "-DTITO_BENCH=OFF"], check=True)
    wrong = 0
    for bug, path, there, broken in BUGS:
        if len(sys.argv) > 2 and bug not in sys.argv[2:]:
            continue
        name = "museum_" + next(f[:-2] for f in sorted(os.listdir(os.path.join(tree, "tests/museum"))) if f.startswith(bug))
        source = os.path.join(tree, path)
        with open(source, encoding="utf-8") as f:
            text = f.read()
        if text.count(there) != 1:
            sys.exit(f"{bug}: {path} has changed: {there!r} is there {text.count(there)} times")
        good, said = build(tree, out, name)
        with open(source, "w", encoding="utf-8") as f:
            f.write(text.replace(there, broken))
        bad, seen = build(tree, out, name)
        with open(source, "w", encoding="utf-8") as f:
            f.write(text)
        print(f"{bug}: {'passes' if good else 'FAILS: ' + said}; with the bug: {'PASSES' if bad else seen}", flush=True)
        wrong += not good or bad
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
