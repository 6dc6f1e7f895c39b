"""Loads the extension module, and through it libtito.so.1.

The system's loader finds libtito.so.1 in the usual places. TITO_LIBRARY names another file: it is loaded first, and the
loader takes a library that is already there under the same name.

INVARIANT: what is imported from here speaks this interface version or a later one.
"""

from __future__ import annotations

import ctypes
import os

# Kept, so that the library stays loaded.
_preloaded = None
if os.environ.get("TITO_LIBRARY"):
    _preloaded = ctypes.CDLL(os.environ["TITO_LIBRARY"])

try:
    from tito._tito import ffi, lib
except ImportError as error:
    if "libtito" in str(error):
        raise ImportError(
            f"{error}. tito needs libtito.so.1: install libtito1 (or `cmake --install`), "
            "or set TITO_LIBRARY to the file"
        ) from error
    raise

if lib.tito_abi_version() < lib.TITO_ABI_VERSION:
    raise ImportError(
        f"libtito.so.1 has interface version {lib.tito_abi_version()}, "
        f"this module was built for {lib.TITO_ABI_VERSION}: install a newer libtito1"
    )

NULL = ffi.NULL


def text_of(piece: object) -> str:
    """A borrowed tito_slice as text."""
    data: bytes = ffi.buffer(piece.data, piece.len)[:] if piece.len else b""  # type: ignore[attr-defined]
    return data.decode("utf-8", "replace")


__all__ = ["NULL", "ffi", "lib", "text_of"]
