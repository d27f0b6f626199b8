"""Every test of this room has a cache of data sets and of weights of its own."""

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import datasets
import pytest
import torch

from orchestrator.execution.processes import ProcessExecutor
from orchestrator.training.device import describe_device
from tests.training.narrow import narrow_networks, real_networks
from tests.training.targets import HERE


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """Let all runs of a module train a narrow network: it is about runs."""
    with narrow_networks():
        yield


@pytest.fixture(scope="package")
def fork_server() -> Iterator[None]:
    """Keep a fork server that has loaded what workers need, for all executors: it ends with the last of them."""
    with ProcessExecutor(f"{HERE}:run_narrow_or_die"):
        yield


@pytest.fixture
def wide() -> Iterator[None]:
    """Let a test in a module of narrow networks have the real one."""
    with real_networks():
        yield


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    before = torch.get_num_threads()
    yield folder
    torch.set_num_threads(before)


# Tests that need a GPU: `make test-gpu` fails without one, and prints a table

REQUIRED = "ORCHESTRATOR_REQUIRE_GPU"
LONGEST_S = 480
_reports: list[pytest.TestReport] = []


@cache
def find_missing() -> str | None:
    """Say why there is no GPU to test on; None where there is one."""
    found = describe_device()
    return found.why_cpu if found.fault is None else found.fault.message


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail where tests of a GPU were asked for and there is none, before any fixture; else they are skipped."""
    if item.get_closest_marker("gpu") is None or (missing := find_missing()) is None:
        return
    if os.environ.get(REQUIRED):
        pytest.fail(f"make test-gpu needs a CUDA GPU: {missing}", pytrace=False)
    pytest.skip(f"no CUDA GPU: {missing}")


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_BEGAN] = time.monotonic()


_BEGAN = pytest.StashKey[float]()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "gpu" in report.keywords and (report.when == "call" or not report.passed):
        _reports.append(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line a test: how it went, how long it took, and what it measured or why it failed."""
    if not _reports or not os.environ.get(REQUIRED):
        return
    write = terminalreporter.write_line
    terminalreporter.section("tests on a GPU")
    write(f"{'':7} {'s':>6}  test")
    for report in _reports:
        said = "; ".join(f"{name} {value}" for name, value in report.user_properties)
        if report.failed:
            said = str(report.longrepr).strip().splitlines()[-1]
        write(
            f"{report.outcome:7} {report.duration:6.1f}  {report.nodeid.rpartition('::')[2]}{': ' * bool(said)}{said}"
        )
    failed = sum(report.failed for report in _reports)
    write(f"{len(_reports) - failed} passed, {failed} failed on {_name_gpu()}; at most {LONGEST_S} s are meant for it")


def _name_gpu() -> str:
    gpus = describe_device().gpus
    return gpus[0].name if gpus else "no GPU"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where the tests of a GPU took longer than they may."""
    took = time.monotonic() - session.config.stash.get(_BEGAN, time.monotonic())
    if _reports and os.environ.get(REQUIRED) and took > LONGEST_S and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
