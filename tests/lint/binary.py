"""The rules about the built library: what it exports, and how it is hardened.

A rule takes the path of the shared library (and the symbol map) and yields one line of text per violation.
"""

import re
import subprocess


def _output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def map_names(text):
    """The names in the global parts of a version script."""
    text = re.sub(r"/\*.*?\*/|#[^\n]*", "", text, flags=re.S)
    names = set()
    for body in re.findall(r"\{(.*?)\}", text, re.S):
        part = body.split("local:")[0].replace("global:", "")
        names |= {name.strip() for name in part.split(";") if name.strip()}
    return names


def exported(library):
    names = set()
    for line in _output("nm", "-D", "--defined-only", library).split("\n"):
        fields = line.split()
        # Versions of the map appear as absolute symbols.
        if len(fields) == 3 and fields[1] != "A":
            names.add(fields[2].split("@")[0])
    return names


def symbols(library, map_text):
    """The library exports what abi/tito.map names, and nothing else."""
    wanted, found = map_names(map_text), exported(library)
    for name in sorted(wanted - found):
        yield "%s is in tito.map and not exported" % name
    for name in sorted(found - wanted):
        yield "%s is exported and not in tito.map" % name


def hardening(library):
    """Full RELRO, no executable stack, stack protector, no RPATH, no text relocations."""
    dynamic = _output("readelf", "-dW", library)
    segments = _output("readelf", "-lW", library)
    undefined = _output("nm", "-D", "--undefined-only", library)
    if "GNU_RELRO" not in segments:
        yield "no RELRO segment"
    if not re.search(r"BIND_NOW|Flags:.*\bNOW\b", dynamic):
        yield "not bound at load time (BIND_NOW)"
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        yield "carries an RPATH"
    if "TEXTREL" in dynamic:
        yield "has text relocations"
    stack = re.search(r"GNU_STACK.*", segments)
    if not stack or "E" in stack.group(0).split()[-2]:
        yield "executable stack"
    if "__stack_chk_fail" not in undefined:
        yield "no stack protector"


def soname(library, wanted):
    """The library names itself by its major version."""
    found = re.search(r"\(SONAME\).*\[(.*)\]", _output("readelf", "-dW", library))
    if not found or found.group(1) != wanted:
        yield "SONAME is %s, not %s" % (found.group(1) if found else "absent", wanted)
