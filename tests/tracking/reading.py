"""What an MLflow store holds, as a client sees it that wrote none of it."""

from pathlib import Path

from mlflow import MlflowClient

from orchestrator.storage.layout import Root


class Store:
    """The store of a root as a fresh client sees it."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.client = MlflowClient(tracking_uri=root.mlflow_uri)

    @property
    def experiment(self):
        return self.client.get_experiment_by_name("demo")

    def runs(self, query="tags.kind = 'run'"):
        return {r.info.run_name: r for r in self.client.search_runs([self.experiment.experiment_id], query)}

    def parent(self):
        (parent,) = self.runs("tags.kind = 'sweep'").values()
        return parent

    def artifact(self, run, name):
        return Path(self.client.download_artifacts(run.info.run_id, name))
