"""What NVIDIA's management library says of a GPU; nothing where there is none. It never starts CUDA."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pynvml


@contextmanager
def opened() -> Iterator[bool]:
    """Open the library, and close it at the end. Yields whether there is one that works."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def find_gpu(uuid: str) -> Any:
    """Find the GPU, or the slice of one, with this UUID, as torch and CUDA write it; None where the library has none.

    The library has to be open.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    for kind in ("GPU", "MIG"):
        with suppress(pynvml.NVMLError):
            return pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{bare}")
    return None


def count_energy_mj(gpu: Any) -> int | None:
    """Read a GPU's counter of energy, in millijoules; None on a GPU that is older than Volta, or a slice of one.

    The library has to be open.
    """
    with suppress(pynvml.NVMLError):
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu))
    return None


def read_energy_mj(uuid: str) -> int | None:
    """Return the energy that a GPU has taken since its driver was loaded, in millijoules; None where it is not said."""
    with opened() as there:
        gpu = find_gpu(uuid) if there else None
        return None if gpu is None else count_energy_mj(gpu)


def read_driver() -> str | None:
    """Return the version of the driver; None where the library does not say it."""
    with opened() as there, suppress(pynvml.NVMLError):
        return str(pynvml.nvmlSystemGetDriverVersion()) if there else None
    return None


def read_free_bytes(uuid: str) -> int | None:
    """Return the free memory of a GPU in bytes; None where the library does not say it."""
    with opened() as there, suppress(pynvml.NVMLError):
        gpu = find_gpu(uuid) if there else None
        return None if gpu is None else int(pynvml.nvmlDeviceGetMemoryInfo(gpu).free)
    return None
