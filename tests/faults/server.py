"""An MLflow server over a root's own store."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.sweeps import Place

MLFLOW = Path(sys.executable).with_name("mlflow")


class Server:
    """An MLflow server over the root's own store, so that the auditor finds everything where it always is."""

    def __init__(self, place: Place) -> None:
        self._place = place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        root = self._place.root
        with (self._place.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    *(str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}", "--serve-artifacts"),
                    *("--artifacts-destination", str(self._place.folder / "artifacts")),
                ],
                stdout=log,
                stderr=log,
                cwd=self._place.folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,
            )

    def wait(self, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        pytest.fail("the server does not answer")

    def kill(self) -> None:
        """Kill it with -9, with its children."""
        if self._process is None:
            return
        family = [psutil.Process(self._process.pid)]
        family += family[0].children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for member in family:
            with suppress(psutil.Error):
                member.kill()
        self._process.wait(30)
        self._process = None
