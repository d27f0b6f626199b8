"""How a run hears that it is to stop: at the end of an epoch, from its sink."""

from orchestrator.errors import RunStoppedError
from orchestrator.interfaces import EpochSink
from orchestrator.records.runs import EpochMetrics


class StopRequest:
    """Whether runs were asked to stop. Asking is safe in a signal handler: it takes no lock."""

    def __init__(self) -> None:
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether runs were asked to stop."""
        return self._asked

    def ask(self) -> None:
        """Ask them; once is as good as often."""
        self._asked = True

    def ending(self, on_epoch: EpochSink) -> EpochSink:
        """Wrap a sink: it delivers each epoch, and then raises `RunStoppedError` once a stop was asked for."""

        def deliver(metrics: EpochMetrics) -> None:
            on_epoch(metrics)
            if self._asked:
                raise RunStoppedError(f"stopped on request after epoch {metrics.number}")

        return deliver
