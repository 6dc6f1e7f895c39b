# The module that cffi makes of tito.h (build_tito.py): ffi, and lib with its functions and constants.
from typing import Any

ffi: Any
lib: Any
