"""Trackers: one adapter a file, one contract (`interfaces.Tracker`)."""

from orchestrator.environment import repair_environment

repair_environment()
