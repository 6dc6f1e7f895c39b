"""The declarations of tito.h, parsed by cffi: they are the functions of tito.map, and the library has them all.

    python3 declared.py tito.cdef.h tito.map [libtito.so]
"""

import re
import sys

import cffi


def map_names(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return set(re.findall(r"\b(tito_\w+);", text))


def main():
    declarations, symbol_map = sys.argv[1:3]
    ffi = cffi.FFI()
    with open(declarations, encoding="utf-8") as file:
        text = file.read()
    ffi.cdef(text)
    declared = set(re.findall(r"\b(tito_\w+)\(", text))
    wanted = map_names(symbol_map)
    problems = ["%s is in tito.map and not in tito.h" % name for name in sorted(wanted - declared)]
    problems += ["%s is in tito.h and not in tito.map" % name for name in sorted(declared - wanted)]
    if len(sys.argv) > 3:
        library = ffi.dlopen(sys.argv[3])
        for name in sorted(declared):
            if not hasattr(library, name):
                problems.append("%s is declared and not in the library" % name)
        if ffi.string(library.tito_status_name(library.TITO_CONFLICT)) != b"conflict":
            problems.append("tito_status_name answers something else through cffi")
    print("\n".join(problems) or "%d functions" % len(declared))
    return 1 if problems or len(declared) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
