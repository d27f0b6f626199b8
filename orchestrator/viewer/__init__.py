"""The MLflow UI and TensorBoard on the stores of a root."""
