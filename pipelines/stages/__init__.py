"""The stages of dvc.yaml, each a program of its own: `python -m pipelines.stages.<name>`.

They know neither Prefect nor MLflow nor DVC, so a person can run them by hand.
"""

import os

# Torch's threads wait for each other in busy loops, ten times slower where a service shares the cores.
# The setting is read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
