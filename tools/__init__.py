"""What looks at this repository rather than at sweeps."""
