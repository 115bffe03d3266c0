"""Build the native engine where a C compiler is found; without one the install still succeeds."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "harness.engines._native",
                ["harness/engines/_native.pyx"],
                # No compiler, no headers: setuptools then leaves the module out, and the engine is "python".
                optional=True,
                extra_compile_args=["-O2"],
            )
        ],
        language_level=3,
    )
)
