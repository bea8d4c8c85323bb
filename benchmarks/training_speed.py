"""Samples a second in training, and where the time goes.

python -m benchmarks.training_speed DATA [--config RECIPE] [--start CHECKPOINT] [--steps 20] [--threads 1]
"""

import json
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.model import CSFPN
from maskloop.recipes import read_recipe
from maskloop.training import train
from maskloop.training.report import REPORT


def measure(data: Path, recipe: Path, steps: int, threads: int, start: Path | None = None) -> dict[str, Any]:
    """The report of a short run."""
    torch.set_num_threads(threads)
    found = read_recipe(recipe)
    model = CSFPN(found.model) if start is None else load_checkpoint(start).model
    config = replace(found.training, steps=steps, save_every=steps)
    with tempfile.TemporaryDirectory() as folder:
        out = train(model, Corpus.read(data, shares=config.shares), Path(folder), config, progress=False)
        return json.loads((out / REPORT).read_text())


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Parquet file, or a folder of them")
    parser.add_argument("--config", type=Path, default=Path("recipes/default.yaml"), help="recipe")
    parser.add_argument(
        "--start", type=Path, help="checkpoint; without it random weights, which cost as much"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    report = measure(given.data, given.config, given.steps, given.threads, given.start)
    print(f"{report['samples_per_second']:.2f} samples a second, peak memory {report['peak_memory_mib']} MiB")
    for part, share in report["time_shares"].items():
        print(f"{part:10}{share:7.1%}")


if __name__ == "__main__":
    main()
