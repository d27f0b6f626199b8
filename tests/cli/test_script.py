"""The installed command: what it leaves behind is complete, and it does not take its objects apart."""

import subprocess
import sys
from importlib.metadata import version

import pytest

CODE = """
import atexit
import sys
from orchestrator.cli import script


class Witness:
    def __del__(self):
        print("taken apart")


witness = Witness()
atexit.register(print, "said at the end")
sys.argv = ["orchestrator", *sys.argv[1:]]
script()
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, timeout=60, check=False)


def test_output_and_exit_code_arrive_and_what_was_registered_runs(tmp_path):
    done = run("config", "schema")
    assert done.returncode == 0
    assert done.stdout.endswith("}\nsaid at the end\n")
    lost = run("pareto", "nobody", "--root", str(tmp_path))
    assert (lost.returncode, lost.stdout) == (3, "said at the end\n")
    assert "no sweep called 'nobody'" in lost.stderr


def test_a_reader_that_has_enough_is_no_error():
    silent = CODE.replace('atexit.register(print, "said at the end")', "")
    words = [sys.executable, "-c", silent, "config", "schema"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert "Traceback" not in said


def test_the_version_is_that_of_the_package():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"orchestrator {version('freeze-orchestrator')}\nsaid at the end\n")


@pytest.mark.parametrize("thread", [False, True])
def test_a_traceback_is_whole_and_shows_no_credentials(thread):
    fault = "def fail(): raise RuntimeError('no answer from http://anna:Zq7planted@host/x')\n"
    call = "(lambda t: t.start() or t.join() or {})(threading.Thread(target=fail))" if thread else "fail()"
    patch = f"import orchestrator.config, threading\n{fault}orchestrator.config.json_schema = lambda: {call}\nscript()"
    program = CODE.replace("\nscript()", f"\n{patch}")
    done = subprocess.run(
        [sys.executable, "-c", program, "config", "schema"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (0 if thread else 1)
    assert "RuntimeError: no answer from http://***@host/x" in done.stderr
    assert "Traceback" in done.stderr
    assert "Zq7planted" not in done.stdout + done.stderr
