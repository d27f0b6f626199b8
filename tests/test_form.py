"""The form of the repository: what the README promises exists, and what the house rules ask for holds."""

import ast
import builtins
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import orchestrator
from orchestrator import errors

HERE = Path(__file__).parents[1]
SOURCES = sorted((HERE / "orchestrator").rglob("*.py"))
BENCHMARKS = [path for folder in ("benchmarks", "tools") for path in sorted((HERE / folder).rglob("*.py"))]
MAKEFILE = (HERE / "Makefile").read_text()
README = (HERE / "README.md").read_text()
HEAVY = {
    "torch",
    "torchvision",
    "torchmetrics",
    "pytorch_lightning",
    "lightning",
    "mlflow",
    "tensorboard",
    "datasets",
    "pandas",
    "matplotlib",
    "plotly",
    "scipy",
}


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert phony, "the Makefile declares its targets in .PHONY"
    return set(phony[1].split())


def run_make(*words: str, folder: Path = HERE) -> subprocess.CompletedProcess[str]:
    """Run make as a person would, although these tests may run under `make test` themselves."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=folder, env=plain, capture_output=True, text=True, check=False)


def readme_commands(tool: str) -> list[list[str]]:
    """Command lines of `tool` in the README's shell blocks, comments taken off, as words."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line.removeprefix("$ "), comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words and Path(words[0]).name == tool]


@cache
def command_tree() -> Any:
    from orchestrator.cli.commands import app

    return typer.main.get_command(app)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Follow words down the tree of commands; returns the command and the words that are its own."""
    command, rest = command_tree(), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    return command, rest


# The package


def test_all_is_sorted_and_complete():
    tree = ast.parse(Path(orchestrator.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("orchestrator.")
        for alias in node.names
    }
    assert orchestrator.__all__ == sorted(orchestrator.__all__)
    assert set(orchestrator.__all__) == imported == set(orchestrator._HOMES)


def test_each_public_name_is_what_its_module_calls_so():
    for name, module in orchestrator._HOMES.items():
        assert getattr(orchestrator, name) is getattr(importlib.import_module(f"orchestrator.{module}"), name)
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    with pytest.raises(AttributeError, match="module 'orchestrator' has no attribute 'nothing'"):
        orchestrator.nothing  # noqa: B018


def test_the_command_line_starts_without_what_its_commands_need():
    code = (
        "import sys\nimport orchestrator.cli.commands\n"
        "print(sorted({'pydantic', 'numpy', 'yaml', 'http.client', 'psutil', 'torch', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def exception_classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Classes of the package whose base is, by its name, an exception."""
    builtin = {
        name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
    }
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases}
                if bases & builtin or any(base.endswith(("Error", "Exception")) for base in bases):
                    yield path, node


def test_every_exception_has_our_base():
    found = list(exception_classes())
    assert {"ConfigError", "SetupError"} <= {node.name for _, node in found}
    ours = {name for name, value in vars(errors).items() if isinstance(value, type)}
    strangers = [
        f"{path.relative_to(HERE)}: {node.name}"
        for path, node in found
        if node.name != "OrchestratorError" and not {ast.unparse(base) for base in node.bases} <= ours
    ]
    assert strangers == []
    for name in ours:
        assert issubclass(getattr(errors, name), errors.OrchestratorError)


EVERYWHERE = {"numpy", "psutil", "pydantic", "pydantic_core"}
SHARED = {
    "huggingface_hub": {"doctor", "training"},
    "matplotlib": {"lettering", "report", "tracking"},
    "sqlalchemy": {"search", "tracking"},
}
"""Libraries that several rooms import. Every other one has one room, which a new adapter need not declare."""


def imported_libraries(path: Path) -> set[str]:
    """Libraries that a file imports, also within functions; what it imports for annotations alone is left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    modules = [
        module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in typing_only
        for module in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    return {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"orchestrator"}


def test_each_library_is_known_to_one_room():
    rooms: dict[str, set[str]] = {}
    for path in SOURCES:
        room = path.relative_to(HERE / "orchestrator").parts[0].removesuffix(".py")
        for library in imported_libraries(path) - EVERYWHERE:
            rooms.setdefault(library, set()).add(room)
    assert {key: found for key, found in rooms.items() if len(found) > 1} == SHARED
    homes = {"optuna": "search", "mlflow": "tracking", "torch": "training", "yaml": "config", "rich": "cli"}
    assert {library: rooms[library] for library in homes} == {library: {room} for library, room in homes.items()}


def test_no_file_is_long():
    files = [*SOURCES, *BENCHMARKS, *sorted((HERE / "tests").rglob("*.py"))]
    long = {str(path.relative_to(HERE)): n for path in files if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}


def test_no_function_is_long():
    functions = [
        (path, node)
        for path in (*SOURCES, *BENCHMARKS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [
        f"{path.relative_to(HERE)}: {node.name}, {node.end_lineno - node.lineno + 1} lines"
        for path, node in functions
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > 50
    ]
    assert long == []


def test_public_classes_have_names_of_their_own():
    named: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(str(path.relative_to(HERE)))
    assert {name: places for name, places in named.items() if len(places) > 1} == {}


def test_what_a_library_keeps_to_itself_is_used_in_one_file_alone():
    adapters = {
        "atexit": "cli/exits.py",
        "multiprocessing": "execution/forkserver.py",
        "mlflow": "tracking/mlflow/internals.py",
        "pickle": "training/network/tensor_heads.py",
        "pytorch_lightning": "training/run/internals.py",
    }
    private = re.compile(r"noqa: SLF001|^ *from (?!orchestrator)\S+ import .*\b_[a-z]", flags=re.MULTILINE)
    users = {str(path.relative_to(HERE)) for path in (*SOURCES, *BENCHMARKS) if private.search(path.read_text())}
    assert users == {f"orchestrator/{path}" for path in adapters.values()}
    locks = {str(path.relative_to(HERE)) for path in SOURCES if "import fcntl" in path.read_text()}
    assert locks == {"orchestrator/storage/flock.py"}


# The command line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in ("sweep", "status", "trials", "pareto", "best", "ui", "config")),
        *([*command, "--help"] for command in (("data",), ("data", "check"), ("doctor",), ("cache",))),
        *(["cache", command] for command in ("info", "clear")),
        *([command, "nothing-is-called-so"] for command in ("status", "trials", "pareto", "best")),
    ],
    ids=" ".join,
)
def test_light_commands_load_no_heavy_library(arguments, tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['orchestrator', *{arguments!r}]\n"
        "from orchestrator.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)), code or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", "ORCHESTRATOR_ROOT": str(tmp_path), "PYTHONPATH": str(HERE), "TERM": "dumb"},
        cwd=HERE,
    )
    expected = 3 if arguments[-1] == "nothing-is-called-so" else 0
    assert done.stdout.splitlines()[-1:] == [f"LOADED [] {expected}"], done.stderr


def test_the_readme_names_the_main_commands():
    assert {words[0] for words in readme_commands("make")} >= {"sweep", "demo", "ui", "pareto", "test", "check"}
    assert {words[0] for words in readme_commands("orchestrator")} >= {"sweep", "status", "pareto", "best"}


@pytest.mark.parametrize("words", readme_commands("orchestrator"), ids=" ".join)
def test_each_command_of_the_readme_parses(words):
    command, rest = find_command(words)
    assert not hasattr(command, "commands"), f"there is no command {' '.join(words)}"
    command.make_context(words[0], rest, resilient_parsing=False).close()


@pytest.mark.parametrize("words", readme_commands("make"), ids=" ".join)
def test_each_make_of_the_readme_is_a_target(words):
    done = run_make("-n", *words)
    assert done.returncode == 0, done.stderr
    assert words[0] in make_targets()


# The Makefile and the set-up


def test_every_target_has_a_help_line():
    helped = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, flags=re.MULTILINE))
    assert helped == make_targets()
    shown = run_make("help").stdout
    assert {line.split()[1] for line in shown.splitlines()} == make_targets()


def test_set_turns_each_word_into_an_override():
    words = "trainer.max_epochs=1 search.seeds=[0,1] model.weights=it's.pth"
    lines = run_make("-n", "sweep", "EXPERIMENT=demo", f"SET={words}").stdout.splitlines()
    assert shlex.split(lines[-1]) == [
        *(".venv/bin/orchestrator", "sweep", "demo", "--with-source"),
        *("--set", "trainer.max_epochs=1", "--set", "search.seeds=[0,1]", "--set", "model.weights=it's.pth"),
    ]


def test_an_old_python_is_refused_with_a_sentence(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(HERE / name, tmp_path)
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = run_make("setup", f"PYTHON={old}", folder=tmp_path)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_clean_spares_results_and_environment(tmp_path):
    shutil.copy(HERE / "Makefile", tmp_path)
    kept = [
        "mlruns/mlflow.db",
        "mlruns/__pycache__/x",
        ".venv/bin/python",
        "orchestrator/a.py",
        "tests/a.py",
        "benchmarks/a.py",
        "tools/a.py",
        "docs/conf.py",
    ]
    gone = [".mypy_cache/x", ".pytest_cache/x", "build/x", "dist/x", "orchestrator/b/__pycache__/a.pyc"]
    for name in [*kept, *gone]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert run_make("clean", folder=tmp_path).returncode == 0
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert [name for name in gone if (tmp_path / name).exists()] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-lowest.lock"])
def test_a_lock_has_a_hash_for_each_package_and_no_address(name):
    lock = (HERE / name).read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*(-|#)(?!-hash)", lock, flags=re.MULTILINE)  # no options, no comments
    entries = re.split(r"\n(?=\S)", lock.strip())
    unhashed = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert unhashed == []
    assert all(re.match(r"[a-z0-9-]+==\S+", entry) for entry in entries)


def test_the_lowest_versions_are_those_that_are_declared():
    declared = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = dict(re.match(r"([a-z0-9-]+)>=([0-9.]+)", each).groups() for each in declared)
    lock = (HERE / "requirements-lowest.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", lock, flags=re.MULTILINE))
    # 2.6 is met by 2.6.0, and by 2.6.1 where 2.6.0 does not go with the others
    higher = [name for name, bound in bounds.items() if not f"{locked[name]}.".startswith(f"{bound}.")]
    assert higher == []


def test_hooks_run_what_make_check_runs_before_the_tests():
    hooks = yaml.safe_load((HERE / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # nothing is fetched
    commands = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)[1].replace("$(BIN)", ".venv/bin")
    *before, tests = [line.strip() for line in commands.splitlines()]
    assert "pytest" in tests
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == before


def test_every_decision_is_listed_by_its_title():
    folder = HERE / "docs" / "adr"
    titles = [(path.read_text().partition("\n")[0], path.name) for path in sorted(folder.glob("0*.md"))]
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), flags=re.MULTILINE)
    assert [(f"# {title}", file) for title, file in listed] == titles


def test_the_recipes_name_files_that_are_there():
    recipes = (HERE / "CONTRIBUTING.md").read_text().partition("## Recipes")[2]
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", recipes)) - {"orchestrator/", "tests/"}
    assert len(named) > 15
    assert [
        name for name in sorted(named) if not any((place / name).exists() for place in (HERE / "orchestrator", HERE))
    ] == []


def test_ci_calls_the_readmes_own_commands():
    script = (HERE / ".ci" / "run").read_text()
    called = re.findall(r"^make (\S+)$", script, flags=re.MULTILINE)
    assert called[-1:] == ["check"]
    assert set(called) <= {words[0] for words in readme_commands("make")}


# The configuration


def test_the_experiments_that_ship_validate():
    from orchestrator.config import load_experiment

    for name in ("beans", "beans-all", "demo-source", "demo"):
        assert load_experiment(name, HERE / "experiments.yaml").name == name
