"""MLflow: the tracker, its runs, its store, and what waits on disk for a store that is lost."""
