"""`python -m pipelines.cli` is `maskloop`."""

from pipelines.cli import main

main()
