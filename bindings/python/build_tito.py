"""Describes the extension module tito._tito to cffi: the declarations of tito.h, and a log sink that is a Python function.

tito.h is taken from the first place that has it:

    TITO_INCLUDE_DIR ── include/ beside this file (an sdist) ── abi/ of the checkout ── pkg-config tito

libtito is linked from TITO_LIBRARY_DIR, else from where pkg-config or the linker find it. At run time the loader finds
libtito.so.1 (or src/tito/_lib.py does, by TITO_LIBRARY): the wheel carries no copy of it and no search path.
"""

import os
import re
import shlex
import subprocess

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ["tito.h", "tito_admin.h", "tito_queue.h"]  # the first includes the others


def pkg_config(*arguments):
    """What pkg-config says of tito, in words; nothing when it knows none."""
    try:
        told = subprocess.run(["pkg-config", *arguments, "tito"], capture_output=True, text=True, check=False)
    except OSError:
        return []
    return shlex.split(told.stdout) if told.returncode == 0 else []


def header_folder():
    """The folder with tito.h and its parts."""
    folders = [
        os.environ.get("TITO_INCLUDE_DIR", ""),
        os.path.join(HERE, "include"),
        os.path.join(HERE, "..", "..", "abi"),
        *(flag[2:] for flag in pkg_config("--cflags-only-I", "--keep-system-cflags") if flag.startswith("-I")),
        "/usr/local/include",
        "/usr/include",
    ]
    for folder in folders:
        if folder and os.path.exists(os.path.join(folder, "tito.h")):
            return os.path.abspath(folder)
    raise SystemExit("tito.h was not found: install libtito-dev, or set TITO_INCLUDE_DIR")


def library_folders():
    given = os.environ.get("TITO_LIBRARY_DIR")
    if given:
        return [os.path.abspath(given)]
    return [flag[2:] for flag in pkg_config("--libs-only-L", "--keep-system-libs") if flag.startswith("-L")]


def declarations(text):
    """The header's declarations without comments, directives and macros, which cffi's parser does not take."""
    version = re.search(r"^#define TITO_ABI_VERSION (\d+)$", text, re.MULTILINE)
    if version is None:
        raise SystemExit("tito.h has no TITO_ABI_VERSION")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus\n[^#]*#endif\n", "", text)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    return "#define TITO_ABI_VERSION ...\n" + text.replace("TITO_API ", "")


def ffibuilder():
    folder = header_folder()
    text = ""
    for part in PARTS:
        with open(os.path.join(folder, part), encoding="utf-8") as file:
            text += file.read()
    builder = FFI()
    builder.cdef(declarations(text))
    builder.cdef('extern "Python" void tito_python_log(void *, int32_t, const char *);')
    builder.set_source(
        "tito._tito",
        '#include "tito.h"\n',
        include_dirs=[folder],
        library_dirs=library_folders(),
        libraries=["tito"],
        define_macros=[("_FORTIFY_SOURCE", "2")],
        extra_compile_args=["-O2", "-fstack-protector-strong", "-U_FORTIFY_SOURCE"],
        extra_link_args=["-Wl,-z,relro,-z,now"],
    )
    return builder
