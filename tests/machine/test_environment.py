"""What the surroundings set for libraries, and what is left of it when they are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.machine.environment import claim_environment, repair_environment

NOTEBOOK = "module://matplotlib_inline.backend_inline"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("module://no_such_package.backend_inline", "agg"),
        ("module://", "agg"),
        ("module://json.no.such", "agg"),
        ("nonsense", "agg"),
        ("module://json", "module://json"),  # it can be loaded: whose it is, is not ours to say
        ("TkAgg", "TkAgg"),
        ("svg", "svg"),
        ("", ""),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_replaced_and_another_left(value, expected):
    environment = {"MPLBACKEND": value}
    repair_environment(environment)
    assert environment == {"MPLBACKEND": expected}


def test_nothing_is_set_where_nothing_was():
    environment: dict[str, str] = {}
    repair_environment(environment)
    assert environment == {}


@pytest.mark.parametrize(
    ("room", "value"), [("report.pictures.canvas", NOTEBOOK), ("tracking.mlflow.confusion", "nonsense")]
)
def test_pictures_are_drawn_in_a_shell_of_a_notebook(room, value):
    """In the notebook's own Python that module is there; here it is not, as in an environment of one's own."""
    done = run(f"import orchestrator.{room}", MPLBACKEND=value)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_has_its_own_backend_and_no_width_that_is_no_number(tmp_path):
    environment = {"MPLBACKEND": NOTEBOOK, "TERMINAL_WIDTH": "wide", "HOME": str(tmp_path)}
    claim_environment(environment)
    assert environment == {"MPLBACKEND": "agg", "HOME": str(tmp_path)}
    environment = {"TERMINAL_WIDTH": "90", "HOME": str(tmp_path)}
    claim_environment(environment)
    assert environment["TERMINAL_WIDTH"] == "90"


@pytest.mark.parametrize("variables", [{"HOME": "/dev/null/x"}, {"HOME": "/", "MPLCONFIGDIR": "/dev/null/x"}])
def test_matplotlib_has_a_folder_where_the_home_cannot_be_written(variables):
    code = (
        "import os\nfrom orchestrator.machine.environment import claim_environment\nclaim_environment()\n"
        "import matplotlib\nprint(matplotlib.get_cachedir(), os.environ['MPLCONFIGDIR'])"
    )
    done = run(code, **{"XDG_CONFIG_HOME": "", "MPLCONFIGDIR": "", **variables})
    assert (done.returncode, done.stderr) == (0, "")
    used, shared = done.stdout.split()
    assert used == shared
    assert not Path(used).exists()  # it went with the process


@pytest.mark.parametrize("value", ["error", "error::DeprecationWarning,once", "err"])
def test_a_warning_of_a_library_is_no_error_of_a_command(value):
    code = (
        "import os, warnings\nfrom orchestrator.machine.environment import claim_environment\nclaim_environment()\n"
        "warnings.warn('old', DeprecationWarning)\nwarnings.warn('strange')\n"
        "print(os.environ['PYTHONWARNINGS'])"
    )
    done = run(code, PYTHONWARNINGS=value)
    assert (done.returncode, "error" in done.stdout) == (0, False)
    assert "UserWarning: strange" in done.stderr


def test_a_command_starts_with_what_its_surroundings_say():
    code = "import sys\nfrom orchestrator.cli import script\nsys.argv = ['orchestrator', '--help']\nscript()"
    strange = {"TERMINAL_WIDTH": "wide", "COLUMNS": "many", "TERM": "dumb", "FORCE_COLOR": "x", "MPLBACKEND": "?"}
    done = run(code, **strange, PYTHONWARNINGS="error")
    assert done.returncode == 0, done.stderr
    assert "sweep" in done.stdout
