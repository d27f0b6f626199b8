"""What MLflow keeps to itself: all that we use of it."""

from mlflow.entities import Metric, Run
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache


def forget_artifact_places() -> None:
    """Ask the store again where the artifacts of runs lie; else that is remembered as long as the process lives."""
    _artifact_repos_cache.clear()


def read_latest_metrics(run: Run) -> list[Metric]:
    """Return the latest point of each metric with its step, which the public dict lacks."""
    return list(run.data._metric_objs)  # noqa: SLF001
