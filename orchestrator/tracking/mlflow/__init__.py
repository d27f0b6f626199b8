"""MLflow: the tracker, its runs, its store, and what waits on disk for a store that is lost."""

import os

for _name, _value in {  # for the whole process, before MLflow is imported; what the user has set stays
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for data
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds: a server is given up soon, not after minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # it helps where a server was restarted and the connection is a dead one
}.items():
    os.environ.setdefault(_name, _value)
