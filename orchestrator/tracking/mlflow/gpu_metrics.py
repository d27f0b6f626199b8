"""What the GPUs of a sweep do, as MLflow's system metrics of its run: utilisation, memory, power and energy."""

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
from mlflow.system_metrics.metrics import gpu_monitor

from orchestrator.machine import nvml
from orchestrator.tracking.mlflow.internals import read_latest_metrics
from orchestrator.tracking.mlflow.run import now_ms

PREFIX = "system/"
_INTERVAL_S = 10.0
_ENDING_S = 2.0
"""Longest time that a sample which is under way holds up the end of a sweep."""
_WH = 3.6e6
"""Millijoules of a watt-hour."""
_LOG = logging.getLogger(__name__)


class GpuMetrics:
    """A thread that logs what GPUs do to a run, every ten seconds (`MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`).

    The energy is that of the driver's counter since the sweep began, all calls of it added up, whoever used the GPU.
    What the library of a GPU does not know is left out; a store that does not answer misses a sample.

    Args:
        client: The store.
        run_id: The run.
        gpus: UUIDs of the GPUs, in the order in which torch numbers them.
    """

    def __init__(self, client: MlflowClient, run_id: str, gpus: Sequence[str]) -> None:
        self._client = client
        self._run_id = run_id
        self._gpus = gpus
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._log, daemon=True, name="gpu-metrics")

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Log a last sample, and end."""
        self._over.set()
        self._thread.join(_ENDING_S)

    def _log(self) -> None:
        with nvml.opened() as there:
            handles = [nvml.find_gpu(uuid) for uuid in self._gpus] if there else []
            handles = [handle for handle in handles if handle is not None]
            if not handles:
                return
            step, earlier = self._read_earlier()
            monitor: Any = _Monitor(handles, earlier)  # MLflow's methods have no types
            setting: Any = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
            interval = setting.get() or _INTERVAL_S
            over = False
            while not over:
                over = self._over.wait(interval)  # the last sample comes after the last run
                monitor.collect_metrics()
                now = now_ms()
                found = monitor.aggregate_metrics()
                points = [Metric(f"{PREFIX}{name}", value, now, step) for name, value in found.items()]
                monitor.clear_metrics()
                step += 1
                try:
                    self._client.log_batch(self._run_id, metrics=points)
                except Exception as error:  # noqa: BLE001 - results wait for a store that is away; a sample does not
                    _LOG.debug("a sample of the GPUs is lost: %s", error)

    def _read_earlier(self) -> tuple[int, Mapping[str, float]]:
        """Return the next step and the energy of each GPU by name, as earlier calls of the sweep left them."""
        with suppress(Exception):
            every = read_latest_metrics(self._client.get_run(self._run_id))
            known = [metric for metric in every if metric.key.startswith(PREFIX)]
            values = {metric.key.removeprefix(PREFIX): float(metric.value) for metric in known}
            return max((metric.step + 1 for metric in known), default=0), values
        return 0, {}


class _Monitor(gpu_monitor.GPUMonitor):
    """MLflow's monitor of GPUs, of some of them, with their energy."""

    def __init__(self, handles: Sequence[Any], earlier: Mapping[str, float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        logging.getLogger(gpu_monitor.__name__).setLevel(logging.ERROR)  # what a GPU does not know it says each time
        self.gpu_handles = list(handles)
        self.num_gpus = len(self.gpu_handles)
        self._began = [nvml.count_energy_mj(handle) for handle in handles]
        self._earlier = earlier

    def aggregate_metrics(self) -> dict[str, float]:
        found: dict[str, float] = super().aggregate_metrics()  # type: ignore[no-untyped-call]
        for number, (handle, began) in enumerate(zip(self.gpu_handles, self._began, strict=True)):
            now = nvml.count_energy_mj(handle)
            if began is not None and now is not None:
                name = f"gpu_{number}_energy_wh"
                found[name] = self._earlier.get(name, 0.0) + (now - began) / _WH
        return found
