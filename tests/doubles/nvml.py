"""A stand-in for NVIDIA's management library: so many GPUs, and no driver behind them.

torch and `pynvml` both load the library with `ctypes.CDLL` and call it as they would the real one. For other processes
the folder `site` beside this file goes on PYTHONPATH, and `ORCHESTRATOR_TEST_GPUS` says how many GPUs there are.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARY = "libnvidia-ml.so.1"
GPUS = "ORCHESTRATOR_TEST_GPUS"
DRIVER = "470.82.01"
GIB = 2**30
MEMORY, FREE = 80 * GIB, 70 * GIB
OK, NOT_FOUND = 0, 6


def uuid_of(gpu: int) -> str:
    return f"GPU-{gpu:08d}-0000-0000-0000-000000000000"


def _read(value) -> int:
    return value if isinstance(value, int) else value.value


def _index(handle) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value - 1


def _point(reference, gpu: int) -> int:
    ctypes.c_void_p.from_buffer(reference._obj).value = gpu + 1
    return OK


def _set(reference, value: int) -> int:
    reference._obj.value = value
    return OK


def error_string(code):
    return b"an error of the double"


class Library:
    """What it knows of each GPU: all alike, but for the energy, which a test may raise."""

    nvmlErrorString = staticmethod(error_string)  # noqa: N815 - pynvml writes on it, as on a foreign function

    def __init__(self, gpus: int, driver: str = DRIVER) -> None:
        self.gpus = gpus
        self.driver = driver
        self.energy_mj = [1_000_000 * (gpu + 1) for gpu in range(gpus)]
        self.without: set[str] = set()
        """Functions that this driver does not have."""

    def __getattribute__(self, name: str):
        if name.startswith("nvml") and name in object.__getattribute__(self, "without"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def nvmlInit(self):  # noqa: N802 - the library's names, here and below
        return OK

    def nvmlInitWithFlags(self, flags):  # noqa: N802
        return OK

    def nvmlShutdown(self):  # noqa: N802
        return OK

    def nvmlSystemGetDriverVersion(self, buffer, size):  # noqa: N802
        buffer.value = self.driver.encode()
        return OK

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        return _set(count, self.gpus)

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
        return _point(handle, _read(index))

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):  # noqa: N802
        known = [uuid_of(gpu) for gpu in range(self.gpus)]
        name = uuid.value.decode()
        return _point(handle, known.index(name)) if name in known else NOT_FOUND

    def nvmlDeviceGetUUID(self, handle, buffer, size):  # noqa: N802
        buffer.value = uuid_of(_index(handle)).encode()
        return OK

    def nvmlDeviceGetMemoryInfo(self, handle, info):  # noqa: N802
        info._obj.total, info._obj.free, info._obj.used = MEMORY, FREE, MEMORY - FREE
        return OK

    def nvmlDeviceGetUtilizationRates(self, handle, rates):  # noqa: N802
        rates._obj.gpu, rates._obj.memory = 40 + _index(handle), 10
        return OK

    def nvmlDeviceGetPowerUsage(self, handle, milliwatts):  # noqa: N802
        return _set(milliwatts, 300_000)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle, milliwatts):  # noqa: N802
        return _set(milliwatts, 600_000)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules):  # noqa: N802
        return _set(millijoules, self.energy_mj[_index(handle)])


@contextmanager
def installed(library: Library) -> Iterator[Library]:
    """Let this process find the double in the place of the library."""
    import pynvml

    real, known = ctypes.CDLL, (pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache))
    _replace(library)
    pynvml.CDLL, pynvml.nvmlLib = ctypes.CDLL, None
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        yield library
    finally:
        ctypes.CDLL = pynvml.CDLL = real
        pynvml.nvmlLib = known[0]
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(known[1])


def install_from_environment() -> None:
    """Let this process and its children find it for good, where the environment says so."""
    if GPUS in os.environ:
        _replace(Library(int(os.environ[GPUS])))


def _replace(library: Library) -> None:
    class Double(ctypes.CDLL):
        def __new__(cls, name=None, *args, **options):
            return library if name == LIBRARY else super().__new__(cls)

    ctypes.CDLL = Double
