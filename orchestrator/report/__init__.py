"""A sweep as pictures, as an interactive page and as a note."""

from orchestrator.machine.environment import repair_environment

repair_environment()
