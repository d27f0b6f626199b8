"""Loaded by each process that has this folder on its path, before anything else."""

from tests.doubles.nvml import install_from_environment

install_from_environment()
