"""Which lost runs are tried again, and how many runs at a time memory suffices for."""

from orchestrator.config.models import Experiment
from orchestrator.errors import OrchestratorError, RunError
from orchestrator.interfaces import Observer
from orchestrator.sweep.jobs import Job


class Retries:
    """Decides how a run that was lost is tried again.

    Args:
        experiment: Says how often.
        observer: Hears of each.
        workers: Runs at a time that the executor has room for.

    Attributes:
        at_once: Runs at a time from now on.
    """

    def __init__(self, experiment: Experiment, observer: Observer, workers: int) -> None:
        self._retries = experiment.execution.retries
        self._on_gpu = experiment.trainer.accelerator == "gpu"
        self._observer = observer
        self.at_once = workers

    def allow(self, job: Job) -> bool:
        """Return whether a run may be tried once more."""
        return job.attempts <= self._retries

    def prepare(self, job: Job, error: OrchestratorError, *, under_way: int) -> bool:
        """Prepare the next attempt; returns whether it has to wait until fewer runs are under way.

        A run that found no memory is tried alone on a GPU, as that was what was full. Elsewhere it waits until there is
        one run less, now and from now on.
        """
        job.attempts += 1
        crowded = isinstance(error, RunError) and error.cause == "out_of_memory"
        job.alone = crowded and self._on_gpu
        self._observer.on_message(f"{job.start.name} is tried again{' alone' * job.alone}: {error.message}")
        if not crowded or job.alone or under_way <= 1:
            return False
        self.at_once = max(1, min(self.at_once, under_way) - 1)
        self._observer.on_message(f"memory does not suffice: from now on at most {self.at_once} at a time")
        return True
