"""The command line: the only place that prints and the only one that knows exit codes."""

from orchestrator.cli.main import main

__all__ = ["main"]
