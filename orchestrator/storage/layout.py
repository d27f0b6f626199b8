"""Where a sweep writes: every path under one root."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SetupError

DEFAULT_ROOT = "mlruns"

# Files of a training, in its folder.
SPEC_FILE = "spec.json"
BEST_CHECKPOINT = "best.ckpt"
PREDICTIONS_FILE = "predictions.npz"
RESULT_FILE = "result.json"
RECORD_FILE = "record.json"
"""For which run it was made."""
RUNG_FILE = "rung-{:03d}.json"
"""Where it stood after so many epochs."""


@dataclass(frozen=True, slots=True)
class Root:
    """The folder that holds everything a sweep writes, `mlruns/` by default.

    Attributes:
        path: Absolute path of the folder.
    """

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "Root":
        """Name the root at `path`; nothing is created."""
        return cls(Path(path).expanduser().resolve())

    def create(self) -> None:
        """Create the root folder and check that it can be written.

        Raises:
            SetupError: The folder cannot be created or written, or its path cannot be part of a store's address.
        """
        if strange := re.search(r"\?|%[0-9A-Fa-f]{2}", str(self.path)):
            raise SetupError(
                f"the path of the root, {self.path}, has {strange[0]!r} in it, which means something else in a "
                "database's address",
                hint="choose another --root",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot create the root {self.path}: {error}", hint="choose another --root") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise SetupError(f"the root {self.path} cannot be written", hint="choose another --root")

    @property
    def option(self) -> str:
        """What a command needs after its name to find this root: empty for the default one, else ` --root PATH`."""
        return "" if self.path == Path(DEFAULT_ROOT).resolve() else f" --root {shlex.quote(str(self.path))}"

    @property
    def mlflow_db(self) -> Path:
        """SQLite file of the MLflow store."""
        return self.path / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        """Default tracking URI: the SQLite store under the root."""
        return f"sqlite:///{self.mlflow_db}"

    @property
    def identity(self) -> Path:
        """File that says which root this is, wherever it lies; there once it has used a store that others may use."""
        return self.path / "root.json"

    @property
    def optuna_db(self) -> Path:
        """SQLite file of the Optuna studies."""
        return self.path / "optuna.db"

    @property
    def artifacts(self) -> Path:
        """Folder of MLflow's artifacts."""
        return self.path / "artifacts"

    def run_dir(self, fingerprint: str) -> Path:
        """Folder of one training: specification, checkpoint, result. Named by what identifies the result."""
        return self.path / "checkpoints" / fingerprint

    def tensorboard(self, experiment: str | None = None) -> Path:
        """TensorBoard folder of all experiments, or of one."""
        folder = self.path / "tensorboard"
        return folder if experiment is None else folder / safe_name(experiment)

    def reports(self, experiment: str) -> Path:
        """Folder of an experiment's pictures."""
        return self.path / "reports" / safe_name(experiment)

    def lock(self, experiment: str) -> Path:
        """File that is locked while a sweep of the experiment lives."""
        return self.path / "locks" / f"{safe_name(experiment)}.lock"

    def progress(self, experiment: str) -> Path:
        """File that says how far the sweep of the experiment is."""
        return self.path / "locks" / f"{safe_name(experiment)}.json"

    def spool(self, experiment: str) -> Path:
        """File of what the tracking store has not received yet."""
        return self.path / "spool" / f"{safe_name(experiment)}.jsonl"

    def refused(self, experiment: str) -> Path:
        """File of what the tracking store has refused; it is offered again with each start of the sweep."""
        return self.path / "spool" / f"{safe_name(experiment)}.refused.jsonl"

    def archiving(self, experiment: str) -> Path:
        """File that is there while the experiment's last sweep is being put aside to start afresh."""
        return self.path / "locks" / f"{safe_name(experiment)}.archiving"

    @property
    def cache(self) -> Path:
        """Folder of what was worked out once and may be worked out again."""
        return self.path / "cache"

    def relative(self, path: Path) -> str:
        """Write `path` relative to the root, so that a root can be moved; elsewhere the absolute path."""
        return str(path.relative_to(self.path)) if path.is_relative_to(self.path) else str(path)


def safe_name(name: str) -> str:
    """Make `name` safe as one path component: no separators, no leading dot.

    A `~` stays: it marks what was put aside (`beans~1`), and no experiment of a configuration file has one.
    """
    return re.sub(r"[^\w+.=~-]", "_", name).lstrip(".") or "_"
