"""GPUs as system metrics of the sweep's run, with a double of the library that knows them."""

import time

import pytest

from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.doubles.nvml import FREE, MEMORY, Library, installed, uuid_of
from tests.factories import make_sweep_start


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with installed(Library(4)) as library:
        yield library


def uuids(*gpus):
    """As torch writes them."""
    return tuple(uuid_of(gpu).removeprefix("GPU-") for gpu in gpus)


def find_samples(store):
    return store.client.get_metric_history(store.parent().info.run_id, "system/gpu_0_utilization_percentage")


def sweep(root, store, gpus, meanwhile=None, earlier=0):
    """Begin a sweep, wait for a sample more than `earlier`, end it; return the system metrics of its run."""
    tracker = MlflowTracker(root, "demo", None)
    tracker.start_sweep(make_sweep_start(gpu_uuids=gpus))
    deadline = time.monotonic() + 60
    if meanwhile is not None:
        while len(find_samples(store)) <= earlier:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        meanwhile()
    tracker.end_sweep("finished")
    return {name: value for name, value in store.parent().data.metrics.items() if name.startswith("system/")}


def test_the_gpus_of_a_sweep_are_its_system_metrics_and_no_others(mlflow_root, store, library):
    def use():
        library.energy_mj[2] += 3_600_000  # a watt-hour
        library.energy_mj[1] += 36_000_000

    found = sweep(mlflow_root, store, uuids(2, 3), use)
    assert found["system/gpu_0_utilization_percentage"] == 42
    assert found["system/gpu_1_utilization_percentage"] == 43
    assert found["system/gpu_0_memory_usage_megabytes"] == pytest.approx((MEMORY - FREE) / 1e6, abs=0.1)
    assert found["system/gpu_0_power_usage_watts"] == 300
    assert (found["system/gpu_0_energy_wh"], found["system/gpu_1_energy_wh"]) == (1, 0)
    assert not any(name.startswith("system/gpu_2") for name in found)


def test_a_sweep_that_is_gone_on_with_adds_its_energy_up(mlflow_root, store, library):
    def use():
        library.energy_mj[0] += 1_800_000

    assert sweep(mlflow_root, store, uuids(0), use)["system/gpu_0_energy_wh"] == 0.5
    again = sweep(mlflow_root, store, uuids(0), use, earlier=len(find_samples(store)))
    assert again["system/gpu_0_energy_wh"] == 1
    points = store.client.get_metric_history(store.parent().info.run_id, "system/gpu_0_energy_wh")
    steps = [point.step for point in points]
    assert steps == sorted(set(steps))


def test_what_a_gpu_does_not_count_is_left_out(mlflow_root, store, library):
    library.without.add("nvmlDeviceGetTotalEnergyConsumption")
    found = sweep(mlflow_root, store, uuids(0), lambda: None)
    assert "system/gpu_0_utilization_percentage" in found
    assert "system/gpu_0_energy_wh" not in found


@pytest.mark.parametrize("gpus", [(), ("of-nobody",)])
def test_without_a_gpu_there_are_none(mlflow_root, store, library, gpus):
    assert sweep(mlflow_root, store, gpus) == {}


def test_without_the_library_there_are_none(mlflow_root, store):
    assert sweep(mlflow_root, store, uuids(0)) == {}


def test_a_store_that_is_away_misses_a_sample_and_gets_the_next(mlflow_root, store, library, monkeypatch):
    from mlflow import MlflowClient

    real, lost = MlflowClient.log_batch, []

    def log_batch(client, run_id, metrics=(), **more):
        if any(metric.key.startswith("system/") for metric in metrics) and not lost:
            lost.append(len(metrics))
            raise OSError("the server is away")
        return real(client, run_id, metrics=metrics, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    assert sweep(mlflow_root, store, uuids(0), lambda: None)["system/gpu_0_utilization_percentage"] == 40
    assert lost
