"""How much energy a run takes."""

import torch

from orchestrator.machine.nvml import read_energy_mj

_MJ = 3_600_000
"""Millijoules of a watt-hour."""


class EnergyMeter:
    """The energy that the GPU of a run takes while the run is under way, whatever else runs there."""

    def __init__(self) -> None:
        self._uuid = ""
        self._began: int | None = None

    def start(self, device: torch.device) -> None:
        """Count from here on; nothing counts on a CPU."""
        if device.type == "cuda":
            self._uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
            self._began = read_energy_mj(self._uuid)

    def read_wh(self) -> float | None:
        """Return the energy so far in watt-hours; None where the GPU does not count it."""
        now = None if self._began is None else read_energy_mj(self._uuid)
        return None if now is None or self._began is None else (now - self._began) / _MJ
