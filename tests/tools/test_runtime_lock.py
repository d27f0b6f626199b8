"""What of the lock the package needs to run: the rest is for developers."""

from tools.runtime_lock import LOCK, find_needed, select_entries


def test_what_runs_is_needed_and_what_tests_is_not():
    needed = find_needed("freeze-orchestrator")
    assert {
        "torch",
        "optuna",
        "mlflow",
        "sqlalchemy",
        "pyyaml",
    } <= needed  # sqlalchemy: only MLflow and Optuna ask for it
    assert not {"pytest", "ruff", "mypy", "sphinx", "hatchling", "freeze-orchestrator"} & needed


def test_an_entry_is_kept_whole_with_its_hashes():
    lock = "a==1 \\\n    --hash=sha256:1\nab==2 \\\n    --hash=sha256:2\n    --hash=sha256:3\n"
    assert select_entries(lock, {"ab", "c"}) == "ab==2 \\\n    --hash=sha256:2\n    --hash=sha256:3\n"


def test_the_lock_names_all_that_is_needed():
    named = {line.partition("==")[0] for line in LOCK.read_text().splitlines() if not line.startswith(" ")}
    assert find_needed("freeze-orchestrator") <= named
