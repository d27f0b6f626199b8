"""The count of rooms, on graphs that are counted by eye, and what it says of this repository."""

from collections.abc import Iterable, Mapping

import grimp
import pytest

from tools.house import count_floors, describe_house, find_circles, gather_rooms, read_imports


def arrows(leads: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(others) for name, others in leads.items()}


def test_a_circle_is_found_with_all_that_lies_on_it():
    two = arrows({"a": "b", "b": "c", "c": "ad", "d": "", "e": "a", "f": "g", "g": "f"})
    assert find_circles(two) == [["a", "b", "c"], ["f", "g"]]
    assert find_circles(arrows({"a": "bc", "b": "c", "c": ""})) == []


def test_floors_are_the_longest_way_down():
    assert count_floors(arrows({"a": "bd", "b": "c", "c": "d", "d": "", "e": "d"})) == 4


def test_modules_share_a_room_by_their_package():
    imports = arrows({"p": ["p.a.m"], "p.a.m": ["p.a.n", "p.b"], "p.a.n": [], "p.b": []})
    assert gather_rooms(imports, "p") == arrows({"p": ["p.a"], "p.a": ["p.b"], "p.b": []})


@pytest.mark.parametrize("package", ["orchestrator", "orchestrator.training"])
def test_no_imports_go_round(package):
    imports = read_imports(package)
    assert len(imports) > 50
    assert find_circles(imports) == []
    assert find_circles(gather_rooms(imports, package)) == []


def test_the_table_names_each_room_and_ends_with_the_sums():
    lines = list(describe_house("orchestrator"))
    assert {"cli", "app", "training", "stats"} <= {line.split()[0] for line in lines if line}
    assert lines[-1].split() == ["circles", "of", "modules", "0"]


def test_a_test_imports_helpers_never_a_test():
    graph = grimp.build_graph("tests", cache_dir=None)
    tests = [module for module in graph.modules if module.rpartition(".")[2].startswith("test_")]
    assert len(tests) > 100
    assert {test: found for test in tests if (found := graph.find_modules_that_directly_import(test))} == {}
