"""The parts of the build that pyproject.toml can not say: the extension module, the wheel's tag, the sdist's header."""

import os
import shutil
import sys

from setuptools import setup
from setuptools.command.sdist import sdist

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import build_tito  # noqa: E402  (beside this file)


class SdistWithHeader(sdist):
    """Adds tito.h and its parts, so that the sdist can be built where no checkout is."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        include = os.path.join(base_dir, "include")
        os.makedirs(include, exist_ok=True)
        for part in build_tito.PARTS:
            shutil.copyfile(os.path.join(build_tito.header_folder(), part), os.path.join(include, part))


# An sdist is made without a compiler and without the library.
extension = {} if "sdist" in sys.argv else {"cffi_modules": ["build_tito.py:ffibuilder"]}

setup(
    cmdclass={"sdist": SdistWithHeader},
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
    **extension,
)
