"""The views of a sweep in the MLflow UI, and their addresses."""

import http.client
import json
from dataclasses import dataclass

from orchestrator import names

_EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
_VIEWS = {names.VIEW_RUNS: "runs, highest val_acc first", names.VIEW_NESTED: "runs under their sweep"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """A page that a browser can open.

    Attributes:
        name: What it shows, for people.
        url: Its address.
    """

    name: str
    url: str


def find_views(address: str) -> list[WebPage]:
    """List the views of each sweep that the MLflow server at `address` shows: its runs with columns, and nested.

    The UI shows no metric of its own accord; these views, which the sweeps keep with their experiments, do. A server
    that does not say has none.
    """
    host, _, port = address.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    try:
        connection.request("POST", _EXPERIMENTS, '{"max_results": 1000}', {"Content-Type": "application/json"})
        found = json.loads(connection.getresponse().read()).get("experiments", [])
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()
    views = []
    for experiment in sorted(found, key=lambda each: str(each["name"])):
        tags = {tag["key"] for tag in experiment.get("tags", [])}
        route = f"{address}/#/experiments/{experiment['experiment_id']}/runs?workflowType=machine_learning"
        views += [
            WebPage(name=f"{experiment['name']}: {title}", url=f"{route}&{names.VIEW_KEY}={view}")
            for view, title in _VIEWS.items()
            if f"{names.VIEW_TAG}{view}" in tags
        ]
    return views
