"""References to compare with, and the count of faults at the end."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.auditor import find
from tests.faults.sweeps import Command, Place, Whole, Zygote

_FAULT = "fault"


@pytest.fixture(scope="session")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, mlflow_store_template: Path) -> Whole:
    """A sweep without faults."""
    place = Place(tmp_path_factory.mktemp("whole"), mlflow_store_template)
    return watch(place, zygote.start(place))


@pytest.fixture
def place(tmp_path: Path, mlflow_store_template: Path) -> Place:
    """A root of its own, with a store that is made already."""
    return Place(tmp_path, mlflow_store_template)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts sweeps."""
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def quick_whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, mlflow_store_template: Path) -> Whole:
    """A quick sweep without faults."""
    place = Place(tmp_path_factory.mktemp("quick"), mlflow_store_template, name="quick")
    return watch(place, zygote.start(place))


def watch(place: Place, command: Command) -> Whole:
    """Watch a sweep without faults."""
    spent, workers = command.observe()
    assert command.wait() == 0, command.said
    found = find(place.root, place.name)
    assert place.audit(found) == []
    return Whole(found=found, spent=spent, workers=workers)


@pytest.fixture
def quick_place(tmp_path: Path, mlflow_store_template: Path) -> Place:
    """A root for a quick sweep."""
    return Place(tmp_path, mlflow_store_template, name="quick")


@pytest.fixture
def inject(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note that a fault of a kind was injected."""
    return lambda kind: record_property(_FAULT, kind)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were injected, and how many survived."""
    injected: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            kinds = [str(kind) for key, kind in report.user_properties if key == _FAULT and report.when == "call"]
            injected.update(kinds)
            survived.update(kinds if outcome == "passed" else [])
    if not injected:
        return
    terminalreporter.section("faults")
    for kind, count in sorted(injected.items()):
        terminalreporter.write_line(f"{survived[kind]:>4} of {count:>3} survived: {kind}")
    total, good = injected.total(), survived.total()
    terminalreporter.write_line(f"faults injected: {total}, survived: {good}", bold=True, green=total == good)
