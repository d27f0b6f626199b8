"""A sweep that is started afresh, and dies at every point of that: the same command goes on, and nothing is lost."""

import pytest

from orchestrator.search import archive, study_names
from orchestrator.search.archive import archive_sweep, count_archives, finish_archive
from tests.search.studies import finish, open_search

STEPS = 4


class DeathError(Exception):
    """Stands for a death of the process."""


@pytest.fixture
def swept(root):
    """A root with a sweep of `demo` that has left something everywhere, beside one of `demo_1`."""
    for name in ("demo", "demo_1"):
        search = open_search(root, name)
        finish(search, search.propose())
        for place in (root.tensorboard(name), root.reports(name)):
            place.mkdir(parents=True)
            (place / "file").write_text(f"of {name}")
    return root


def look(root, name):
    """Say what lies under a name."""
    return [(place / "file").read_text() for place in (root.tensorboard(name), root.reports(name)) if place.exists()]


def assert_archived(root):
    assert study_names(root) == ["demo_1", "demo~1"]
    assert look(root, "demo~1") == ["of demo", "of demo"]
    assert look(root, "demo_1") == ["of demo_1", "of demo_1"]
    assert look(root, "demo") == []
    assert [trial.state for trial in open_search(root, "demo~1").trials()] == ["complete"]
    assert not root.archiving("demo").exists()
    assert count_archives(root, "demo") == 1


def test_a_sweep_is_kept_under_a_name_that_no_experiment_has(swept):
    assert archive_sweep(swept, "demo") == "demo~1"
    assert_archived(swept)
    assert archive_sweep(swept, "demo") is None  # there is nothing more of that name


@pytest.mark.parametrize("fresh_again", [True, False])
@pytest.mark.parametrize("died_before", range(STEPS))
def test_a_death_between_any_two_steps_is_made_good(swept, monkeypatch, died_before, fresh_again):
    steps = archive._steps

    def die():
        raise DeathError

    monkeypatch.setattr(archive, "_steps", lambda *names: (*steps(*names)[:died_before], die))
    with pytest.raises(DeathError):
        archive_sweep(swept, "demo")
    assert len(steps(swept, "demo", "demo~1")) == STEPS
    monkeypatch.undo()
    again = archive_sweep if fresh_again else finish_archive
    assert again(swept, "demo") == "demo~1"
    assert_archived(swept)


def test_a_death_before_the_first_step_leaves_all_as_it_was(swept, monkeypatch):
    def die(*_):
        raise DeathError

    monkeypatch.setattr(archive, "write_atomically", die)
    with pytest.raises(DeathError):
        archive_sweep(swept, "demo")
    monkeypatch.undo()
    assert finish_archive(swept, "demo") is None
    assert look(swept, "demo") == ["of demo", "of demo"]
    assert study_names(swept) == ["demo", "demo_1"]


def test_a_number_under_which_something_lies_is_passed_over(swept):
    swept.reports("demo~1").mkdir()
    assert archive_sweep(swept, "demo") == "demo~2"
    assert count_archives(swept, "demo") == 2
