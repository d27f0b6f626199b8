"""What git knows of the folder that a command runs in."""

import subprocess


def find_git_commit() -> str | None:
    """Find the commit of the folder that the command runs in; None outside a repository or without git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
