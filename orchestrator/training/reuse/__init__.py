"""The frozen prefix of a network, computed once for all runs that share it."""
