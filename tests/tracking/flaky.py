"""An MLflow store that fails on command: the client is the real one, calls to it are cut off."""

from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow.spooling import SpoolingTracker
from orchestrator.tracking.mlflow.tracker import MlflowTracker


class FlakyClient:
    """Calls the real client, unless `faults` gives "before" (the request is lost) or "after" (its answer is)."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self.faults: Iterator[str | None] | None = None
        self.calls = 0

    def go_down(self) -> None:
        self.faults = iter(lambda: "before", None)

    def come_back(self) -> None:
        self.faults = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            fault = next(self.faults, None) if self.faults is not None else None
            if fault == "before":
                raise MlflowException(f"API request to {name} failed: connection refused")
            answer = method(*args, **kwargs)
            if fault == "after":
                raise MlflowException(f"API request to {name} failed: timeout")
            return answer

        return call


class FlakyTracker(SpoolingTracker):
    """A spooling tracker over a flaky client, with no pause between tries.

    Attributes:
        client: The flaky client; there once the sweep has started.
        said: What the user heard.
    """

    def __init__(self, root: Root, faults: Callable[[], Iterator[str | None]] | None = None) -> None:
        self.said: list[str] = []
        self.inner = MlflowTracker(root, "demo", None)
        self.client: FlakyClient | None = None
        self._make_faults = faults
        super().__init__(self.inner, root, "demo", self.said.append)

    def start_sweep(self, start: Any) -> None:
        if self.client is None:
            client, experiment = self.inner._open()
            self.client = FlakyClient(client)
            self.inner._opened = (self.client, experiment)
        self.client.come_back()
        super().start_sweep(start)
        if self._make_faults is not None:
            self.client.faults = self._make_faults()

    def _lose(self, error: Exception, took_s: float = 0.0) -> None:
        super()._lose(error, took_s)
        self._next_try = 0.0

    def settle(self) -> None:
        """Let the store answer, and deliver all that waits."""
        if self.client is not None:
            self.client.come_back()
        self._deliver_all(None)
