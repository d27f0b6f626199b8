"""Output in processes of their own, whose streams are closed, full, broken, or know few letters."""

import json
import os
import subprocess
import sys

import pytest

from orchestrator.machine.streams import write_data

PRELUDE = (
    "import sys\nfrom orchestrator.machine.streams import lost_output, protect_streams, write_data\nprotect_streams()\n"
)
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def run(code: str, *, shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    words = ["bash", "-c", shell, "bash", sys.executable, "-c", f"exec({PRELUDE + code!a})"]
    return subprocess.run(words, capture_output=True, env=os.environ | environment, timeout=60, check=False)


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "latin-1"}], ids=["C", "latin-1"])
def test_letters_without_a_code_are_plain_or_escaped(environment):
    done = run("print('─┼ · … \\u00d7 → 豆 \\U0001f331 \\udcff')\nprint('─ 豆', file=sys.stderr)", **environment)
    assert (done.returncode, done.stderr) == (0, b"- \\u8c46\n")
    # latin-1 has a code for the middle dot and the sign of multiplication
    shown = done.stdout.decode("latin-1").replace("·", "*").replace("\u00d7", "x")
    assert shown == "-+ * ... x -> \\u8c46 \\U0001f331 \\udcff\n"


def test_data_for_programs_are_utf_8_in_any_locale():
    done = run("print('a ─')\nwrite_data('豆 é\\n')\nprint('b')", **ASCII)
    assert done.stdout == "a -\n豆 é\nb\n".encode()


def test_data_go_to_whatever_stands_in_for_standard_output(capsys):
    write_data("豆\n")
    assert capsys.readouterr().out == "豆\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_remembered_and_raises_nothing(unbuffered):
    code = "for _ in range(3000): print('x' * 80)\nsys.stderr.write(f'{lost_output(sys.stdout).errno}')"
    done = run(code, shell='"$@" > /dev/full', PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, b"28")


def test_a_reader_that_has_enough_is_nothing_to_report():
    code = "for _ in range(30000): print('x' * 80)\nsys.stderr.write(str(lost_output(sys.stdout)))"
    done = run(code, shell='"$@" | head -1; exit "${PIPESTATUS[0]}"')
    assert (done.returncode, done.stderr) == (0, b"None")
    assert done.stdout == b"x" * 80 + b"\n"


def test_a_reader_that_is_slow_gets_all_although_the_pipe_does_not_wait():
    code = "import os\nos.set_blocking(1, False)\nfor _ in range(5000): print('x' * 80)"
    done = run(code, shell='"$@" | (sleep 1; wc -l)')
    assert (done.stdout.strip(), done.stderr) == (b"5000", b"")


def test_no_file_takes_the_place_of_a_stream_that_is_closed(tmp_path):
    path = tmp_path / "store.db"
    code = (
        f"store = open({str(path)!r}, 'w')\nprint('lost')\nprint('lost', file=sys.stderr)\n"
        "import os\nos.write(1, b'lost')\nos.write(2, b'lost')\nassert store.fileno() > 2\nstore.write('kept')"
    )
    assert run(code, shell='"$@" <&- >&- 2>&-').returncode == 0
    assert path.read_text() == "kept"


def test_notes_do_not_go_to_standard_output_where_standard_error_is_closed():
    code = "from orchestrator.cli.output import print_json, print_note\nprint_note('a note')\nprint_json({'a': 1})"
    done = run(code, shell='"$@" 2>&-')
    assert json.loads(done.stdout) == {"a": 1}


def test_streams_of_a_notebook_or_a_test_stay(capsys):
    done = run("import io\nsys.stdout = mine = io.StringIO()\nprotect_streams()\nassert sys.stdout is mine")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_says_with_its_exit_code_that_its_output_is_incomplete():
    words = "from orchestrator.cli import script\nsys.argv = ['orchestrator', 'config', 'schema']\nscript()"
    done = run(words, shell='"$@" > /dev/full')
    assert done.returncode == 5
    assert b"error: what was printed is incomplete: standard output: No space left" in done.stderr
    assert b"Traceback" not in done.stderr
    assert run(words, shell='"$@" >&-').returncode == 0
    assert run(words, shell='"$@" 2> /dev/full').returncode == 0
