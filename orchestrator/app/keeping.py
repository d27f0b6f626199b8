"""What is kept of a sweep in its tracking store afterwards."""

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.masking import MASK
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root


def mend_store(root: Root, say: Callable[[str], None]) -> None:
    """Let the root's own MLflow store look for artifacts where the root lies now, before somebody else opens it.

    Where that cannot be done (it is being swept by another path, or cannot be written), `say` hears why.
    """
    from orchestrator.tracking.mlflow.database import follow_root

    try:
        for said in follow_root(root):
            say(said)
    except OrchestratorError as error:
        say(f"warning: {error.message}; artifacts may not be shown")


def keep_report(
    sweep: Sweep, files: Sequence[Path], mlflow_uri: str | None = None, say: Callable[[str], None] | None = None
) -> None:
    """Keep pictures of a sweep as artifacts of its MLflow parent run.

    Args:
        sweep: The sweep.
        files: The pictures.
        mlflow_uri: The tracking store, where it is not the one that the study names: that has no credentials.
        say: Hears what was mended in the store; None: the log does.

    Raises:
        SetupError: The tracking store cannot be reached.
        NotFoundError: The sweep has no parent run there.
    """
    from orchestrator.tracking.mlflow.tracker import MlflowTracker

    experiment = sweep.experiment
    uri = mlflow_uri or experiment.tracking.mlflow_uri
    if uri is not None and MASK in uri:
        raise SetupError(
            f"the study does not keep the credentials of its tracking store, {uri}: the pictures are not kept there",
            hint="give its address: --mlflow-uri",
        )
    MlflowTracker(sweep.root, experiment.name, uri, say).keep_files(files)
