"""Compares the interface with the one that was published: what programs were compiled against must go on to work.

    frozen.py compare    exits with 1, and says what has changed, when something is not as in tito-1.0.abi; more is allowed
    frozen.py planted    changes the header in ways that `compare` must find, or must let pass
    frozen.py write      writes tito-1.0.abi anew: only after something was added, for a release

abidw and abidiff (libabigail) do the comparing. They are shown a small library made of tito.h and tito.map, a variable for
each function with its type and one for each enumeration, since the debug information of libtito itself also holds what the
header keeps opaque. That libtito exports these names and no other is checked by the linter.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ABI = HERE.parent.parent / "abi"
BASELINE = HERE / "tito-1.0.abi"
PARTS = ("tito_admin.h", "tito_queue.h")  # what tito.h includes


def stand_in(header, exported, folder):
    """Builds the library that abidw is shown."""
    names = re.findall(r"^\s+(tito_\w+);", exported, re.M)
    enums = re.findall(r"^enum (tito_\w+)", header, re.M)
    lines = ['#include "tito.h"']
    lines += [f"__typeof__({name}) *function_{name} = {name};" for name in names]
    for part in PARTS:
        folder.joinpath(part).write_text(ABI.joinpath(part).read_text())
    enums += [name for part in PARTS for name in re.findall(r"^enum (tito_\w+)", ABI.joinpath(part).read_text(), re.M)]
    lines += [f"enum {name} enum_{name};" for name in enums]
    folder.joinpath("tito.h").write_text(header)
    folder.joinpath("stand_in.c").write_text("\n".join(lines) + "\n")
    library = folder / "libtito.so.1"
    subprocess.run(
        ["cc", "-g", "-O0", "-fPIC", "-shared", "-Wl,-soname,libtito.so.1", "-o", library, "stand_in.c"], cwd=folder, check=True
    )
    return library


def write(library, path):
    options = ["--no-corpus-path", "--no-comp-dir-path", "--no-elf-needed", "--no-show-locs", "--type-id-style", "hash"]
    subprocess.run(["abidw", *options, "--out-file", path, library], check=True)


def changes(header, exported):
    """What abidiff says of an interface against the published one; empty: a program compiled against that one works."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = stand_in(header, exported, pathlib.Path(folder))
        except subprocess.CalledProcessError as err:
            return f"it does not compile: {err}"
        done = subprocess.run(["abidiff", "--no-added-syms", BASELINE, library], capture_output=True, text=True)
        return done.stdout + done.stderr if done.returncode != 0 else ""


def compare(header, exported):
    found = changes(header, exported)
    if found:
        print(found, "The published interface has changed: programs that were compiled against it would break.", sep="\n")
    return 1 if found else 0


# (name, what is replaced in the header, by what, names added to the map, whether it must be found)
PLANTED = [
    ("a parameter is wider", "tito_cq_fd(const tito_cq_t *cq)", "tito_cq_fd(const tito_cq_t *cq, int more)", "", True),
    ("a value moved", "TITO_CONFLICT = 200", "TITO_CONFLICT = 201", "", True),
    ("a field of a struct is narrower", "size_t len;\n} tito_slice;", "unsigned int len;\n} tito_slice;", "", True),
    ("a function more", "#ifdef __cplusplus\n}", "int tito_more(void);\n#ifdef __cplusplus\n}", "    tito_more;\n", False),
]


def planted(header, exported):
    failed = 0
    for name, old, new, more, wanted in PLANTED:
        if old not in header:
            print(f"FAIL  {name}: the header has no '{old}'")
            failed += 1
            continue
        found = changes(header.replace(old, new, 1), exported.replace("global:\n", "global:\n" + more, 1))
        ok = bool(found) == wanted and "does not compile" not in found
        failed += not ok
        print(f"{'ok   ' if ok else 'FAIL '} {name}: {'found' if found else 'not found'}")
        if not ok:
            print(found)
    gone = re.sub(r"\n\s+tito_abi_version;", "", exported)
    failed += not changes(header, gone)
    print("ok    a function less" if changes(header, gone) else "FAIL  a function less: not found")
    return 1 if failed else 0


def main():
    header = ABI.joinpath("tito.h").read_text()
    exported = ABI.joinpath("tito.map").read_text()
    if sys.argv[1:] == ["write"]:
        with tempfile.TemporaryDirectory() as folder:
            write(stand_in(header, exported, pathlib.Path(folder)), BASELINE)
        return 0
    if sys.argv[1:] not in (["compare"], ["planted"]):
        print(__doc__)
        return 2
    return (compare if sys.argv[1] == "compare" else planted)(header, exported)


if __name__ == "__main__":
    sys.exit(main())
