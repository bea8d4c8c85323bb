"""Train: fine-tune the checkpoint `train.start` on the prepared images; writes `models/candidate`.

What holds times goes to `reports/`: of the same data and parameters the candidate has the same bytes.
"""

import os
from pathlib import Path

import pandas as pd

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.corpus import Corpus
from maskloop.training import TrainingConfig, train
from maskloop.training.blending import blend
from pipelines.stages.params import read_params

TRAINING_SET = Path("data/prepared/train.parquet")
CANDIDATE = Path("models/candidate")
REPORTS = Path("reports")


def main(root: Path = Path()) -> None:
    params = read_params(root, "train")
    start, share = root / params.pop("start"), params.pop("blend")
    shares = _present(root / TRAINING_SET, params.pop("shares"))
    min_area = params.pop("min_area")
    config = TrainingConfig(name="candidate", shares=shares, save_every=params["steps"], **params)
    corpus = Corpus.read(root / TRAINING_SET, shares=shares, min_area=min_area)
    out = root / CANDIDATE
    champion = load_checkpoint(start)
    train(champion.model, corpus, out, config, champion.origin(), resume=False)
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, the first one writes
        return
    _blend(out, start, share)
    (out / "resume.safetensors").unlink()  # as large as three checkpoints, and of no use to a finished run
    (root / REPORTS).mkdir(exist_ok=True)
    for name in ("log.csv", "training.json"):
        (out / name).replace(root / REPORTS / name)


def _blend(out: Path, start: Path, share: float) -> None:
    """Take what was trained part of the way back to where it came from, so that general skill stays."""
    tuned = load_checkpoint(out)
    blend(tuned.model, load_checkpoint(start).model, share)
    save_checkpoint(tuned.model, out, tuned.name, tuned.metadata | {"blend": share}, tuned.fine)


def _present(path: Path, shares: dict[str, float]) -> dict[str, float]:
    """The shares of the sources that have images: before anybody labelled, there are none of that source."""
    sources = set(pd.read_parquet(path, columns=["source"])["source"])
    return {source: float(share) for source, share in shares.items() if source in sources}


if __name__ == "__main__":
    main()
