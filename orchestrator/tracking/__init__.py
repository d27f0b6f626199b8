"""Trackers: one adapter a file, one contract (`interfaces.Tracker`)."""

from orchestrator.machine.environment import repair_environment

repair_environment()
