"""Fixtures of the tests that interrupt runs."""

import pytest

from tests.training.run.resumed import BEST, EPOCHS, best_tensors, train


@pytest.fixture(scope="module")
def alone(tmp_path_factory, narrow):
    """The oracle: the run left alone."""
    folder = tmp_path_factory.mktemp("alone")
    result, seen = train(folder)
    assert (result.epochs_run, result.best_epoch) == (EPOCHS, BEST)
    return result, seen, best_tensors(folder)
