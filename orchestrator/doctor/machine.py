"""The machine: what computes, and where a sweep writes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from orchestrator.doctor.finding import Finding, fail, ok, warn
from orchestrator.errors import OrchestratorError
from orchestrator.machine.limits import read_cores, read_memory
from orchestrator.storage.flock import lock_open
from orchestrator.storage.layout import Root

_GIB = 2**30
_LITTLE_DISK = 5 * _GIB
"""A sweep of 32 frozen sets of a ResNet18 keeps 1.4 GiB of weights, and more while it trains."""
_NO_DISK = _GIB // 2
_LITTLE_MEMORY = 2 * _GIB


def check_device() -> Iterator[Finding]:
    """Return what torch computes on, and the precision that `auto` gives."""
    try:
        from orchestrator.training.device import describe_device
    except (ImportError, OSError) as error:  # a missing package or library
        yield fail("device", f"torch cannot be loaded: {error}", "run `make setup`")
        return
    device = describe_device()
    driver = f"driver {device.driver}" if device.driver else "no NVIDIA driver"
    build = f"CUDA {device.cuda}" if device.cuda else "no CUDA"
    versions = f"torch {device.torch} built for {build}, {driver}"
    if device.fault is not None:
        yield fail("device", device.fault.message, device.fault.hint)
        return
    if device.gpus:
        gpus = ", ".join(f"{gpu.name} ({gpu.memory_mb / 1024:.0f} GiB)" for gpu in device.gpus)
        yield ok("device", f"{len(device.gpus)} GPU: {gpus}; {versions}")
    elif device.driver:
        hint = "install torch built for CUDA" if device.cuda is None else "check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
        yield warn("device", f"CPU: {device.cpu}, because {device.why_cpu}; {versions}", hint)
    else:
        yield ok("device", f"CPU: {device.cpu}, because {device.why_cpu}; {versions}")
    yield ok("precision", f"auto gives {device.precision} on this {'GPU' if device.gpus else 'CPU'}")


def check_cpu() -> Finding:
    """Count the cores that this process may use."""
    cores = read_cores()
    text = f"{cores.usable} of {os.cpu_count() or 1} cores usable"
    if cores.quota is not None:
        text += f": the container is given the time of {cores.quota:.3g} ({cores.limited_by})"
    return ok("cpu", text)


def check_memory() -> Finding:
    """Describe how much memory is free, and what limits it."""
    memory = read_memory()
    text = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB available"
    if memory.limited_by is not None:
        text += f": the limit of the container ({memory.limited_by})"
    if memory.available < _LITTLE_MEMORY:
        hint = "lower data.batch_size and execution.workers, or end what else runs"
        return warn("memory", text, hint if memory.limited_by is None else f"{hint}, or raise the container's limit")
    return ok("memory", text)


def check_pictures() -> Finding:
    """Draw a small picture, as the report of a sweep does."""
    try:
        from orchestrator.report.pictures.canvas import Page

        picture = BytesIO()
        Page("A picture", "drawn to see whether one can be").figure.savefig(picture, format="png")
    except Exception as error:  # noqa: BLE001 - whatever a drawing library meets on this machine
        text = f"a picture cannot be drawn: {type(error).__name__}: {error}"
        return warn("pictures", text, "a sweep runs all the same, without pictures; `make setup` repairs the packages")
    return ok("pictures", f"drawn ({len(picture.getvalue()):,} bytes)")


def check_root(root: Root) -> Finding:
    """Try whether the root can be written and locked; where it is not there yet, the folder that will hold it."""
    folder = _nearest(root.path)
    shown = str(root.path) if folder == root.path else f"{root.path} (not there yet, so {folder} was tried)"
    try:
        if not folder.is_dir():
            return fail("root", f"{folder} is no folder", "choose another --root")
        if folder == root.path:
            root.create()  # it is there: this looks at its path and its permissions
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
            lock_open(probe)
    except OrchestratorError as error:
        return fail("root", error.message, error.hint)
    except OSError as error:
        return fail("root", f"{shown} cannot be written and locked: {error.strerror}", "choose another --root")
    return ok("root", f"{shown} can be written")


def check_disk(root: Root) -> Finding:
    """Describe how much space the disk of the root has."""
    usage = shutil.disk_usage(_nearest(root.path))
    text = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free at the root"
    hint = "free some space, or choose a --root on another disk"
    if usage.free < _NO_DISK:
        return fail("disk", text, hint)
    return warn("disk", text, hint) if usage.free < _LITTLE_DISK else ok("disk", text)


def _nearest(path: Path) -> Path:
    """Find what is there of a path."""
    return next(each for each in (path, *path.parents) if each.exists())
