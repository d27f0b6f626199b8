"""How much memory a run takes."""

import resource
import sys

import torch

from orchestrator.training.data.loading import LoadedData

_MIB = 2**20


class MemoryMeter:
    """The peak memory of a run: of its GPU, apart from what stays there beside the network, or of its process.

    Attributes:
        resident_mb: MiB of the GPU that images or activations take all through the run; None on a CPU.
    """

    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self.resident_mb: float | None = None

    def start(self, device: torch.device, data: LoadedData) -> None:
        """Count from here on, with the data of the run at their place."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.resident_mb = data.resident_bytes / _MIB

    def peak_mb(self) -> float:
        """Return the peak so far in MiB: network, optimizer and steps on a GPU, else the resident set of the process.

        The resident set counts from the start of the process.
        """
        if self.resident_mb is not None:
            return torch.cuda.max_memory_allocated(self._device) / _MIB - self.resident_mb
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB
