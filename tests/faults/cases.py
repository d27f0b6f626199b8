"""Which cases of a fault are in the default run."""

from typing import Any

import pytest


def one_of(first: Any, *others: Any) -> list[Any]:
    """Give cases of which the first is in the default run, and the others in `make test-faults`."""
    rest = [each if isinstance(each, tuple) else (each,) for each in others]
    return [first, *(pytest.param(*each, marks=pytest.mark.faults) for each in rest)]
