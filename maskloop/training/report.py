"""`training.json`: what a run cost and where it ended."""

import json
import platform
import resource
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from maskloop.training.log import read_log
from maskloop.training.run import Run

REPORT = "training.json"
WINDOW = 50
"""Steps whose losses are averaged at the beginning and at the end: single ones say little."""


def write_report(out: Path, run: Run, resumed_at: int, seconds: float) -> None:
    """Write the report of a run that has ended.

    Args:
        out: folder of the run, with its log.
        run: the run.
        resumed_at: step where this session of it began; times and samples are this session's.
        seconds: since then.
    """
    losses = [float(row["loss"]) for row in read_log(out / "log.csv")]
    samples = (run.step - resumed_at) * run.config.batch
    report = {
        "steps": run.step,
        "resumed_at": resumed_at,
        "samples": samples,
        "seconds": round(seconds, 2),
        "samples_per_second": round(samples / max(seconds, 1e-9), 3),
        "time_shares": run.clock.shares(),
        "loss_first": round(fmean(losses[:WINDOW]), 6),
        "loss_last": round(fmean(losses[-WINDOW:]), 6),
        "peak_memory_mib": round(_peak_memory(run.device) / 2**20),
        "precision": run.config.precision,
        "device": _device_name(run.device),
        "processes": run.processes.count,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device} ({platform.machine()})"


def _peak_memory(device: str) -> int:
    """Bytes: of the accelerator where there is one, else of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
