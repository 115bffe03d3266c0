"""`python -m harness.engines`: one line that says which engines there are, for `make`."""

from harness.engines.choice import BUILD_HINT, native_problem

problem = native_problem()
if problem:
    print(f"engines: python only; native is not here: {problem}\n  hint: {BUILD_HINT}")  # noqa: T201
else:
    print("engines: native and python")  # noqa: T201
