"""Exit codes of the command line."""

UNEXPECTED = 1
CONFIG = 2
NOT_FOUND = 3
FAILED_TRIALS = 4
SETUP = 5
INTERRUPTED = 130
