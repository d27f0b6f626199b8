"""Configuration: `experiments.yaml` -> frozen, typed values."""
