"""The stack: Label Studio, MLflow, Prefect with a worker, and the backend, on this machine."""
