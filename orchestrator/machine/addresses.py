"""Where the MLflow UI and TensorBoard listen unless the user says otherwise."""

from typing import Final

LOOPBACK: Final = "127.0.0.1"
MLFLOW_PORT: Final = 5000
TENSORBOARD_PORT: Final = 6006
