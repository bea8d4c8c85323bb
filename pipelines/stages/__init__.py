"""The stages of dvc.yaml, each a program of its own: `python -m pipelines.stages.<name>`.

They know neither Prefect nor MLflow nor DVC, so a person can run them by hand.
"""
