"""Build the native engine where that is possible; elsewhere the install still succeeds, without it.

Only Linux has the clock and the queues that it needs. Without a compiler setuptools leaves an optional extension
out, and pip prints nothing about it: `make` and `harness doctor` say which engines there are.
"""

import sys

from setuptools import Extension, setup

if sys.platform == "linux":
    from Cython.Build import cythonize

    extensions = cythonize(
        [
            Extension(f"harness.engines.{name}", [f"harness/engines/{name}.pyx"], extra_compile_args=["-O2"])
            for name in ("_native", "_probes")
        ],
        language_level=3,
    )
    for extension in extensions:
        extension.optional = True  # set here, since cythonize makes new objects and forgets it
else:
    extensions = []

setup(ext_modules=extensions)
