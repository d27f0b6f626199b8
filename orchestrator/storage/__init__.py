"""What lies under a root: where, how it is written whole, who owns it, and what answers an equal training."""
