"""Evaluation in shards against one process: the same figures? how much faster? what does a shard cost?

    python -m benchmarks.scaling_evaluation parquet PATH [--limit 24] [--max-clicks 10] [--processes 1 2]

The flow `evaluate` runs against a Prefect server of its own, on real Dask clusters of processes that the flow
starts; each with as few shards as processes, and with `--shards` of them. One process with one thread comes
first. Seconds are the clock's, from the first shard's start to the last one's end where the whole run is not
meant; those in brackets the processor's, of the flow and its cluster.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import torch

from maskloop.results import Report
from maskloop.sharding import Evaluation
from pipelines.stack import catalog
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.services import Services

FLOW = "import json, sys; from pipelines.flows.evaluate import evaluate; evaluate(**json.loads(sys.argv[1]))"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("root", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--max-clicks", type=int, default=10)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shards", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    evaluation = Evaluation(
        arguments.dataset,
        arguments.root,
        arguments.checkpoint,
        limit=arguments.limit,
        max_clicks=arguments.max_clicks,
    )
    evaluation.shards(1)  # reads what is read once
    evaluation.run(range(1), progress=False)
    started, used = time.perf_counter(), processor_seconds(resource.RUSAGE_SELF)
    whole = evaluation.run(progress=False)
    base, base_used = time.perf_counter() - started, processor_seconds(resource.RUSAGE_SELF) - used
    print(f"{'':<28}{'shards':>7}{'seconds':>16}{'faster':>8}{'whole run':>17}  same file", flush=True)
    print(f"{'one process':<28}{'-':>7}{base:>8.1f} [{base_used:.0f}]", flush=True)
    with tempfile.TemporaryDirectory() as scratch, Services(lambda _: None) as services:
        config = StackConfig(Path(scratch), ports=Ports.free())
        services.start(catalog.prefect(config))
        for processes in arguments.processes:
            for shards in sorted({processes, arguments.shards}):
                out = Path(scratch) / f"{processes}-{shards}.json"
                parameters = {
                    "dataset": arguments.dataset,
                    "root": str(arguments.root),
                    "model": str(arguments.checkpoint),
                    "out": str(out),
                    "shards": shards,
                    "limit": arguments.limit,
                    "max_clicks": arguments.max_clicks,
                }
                seconds, used = run_flow(config, parameters, processes)
                shown, count = between_shards(config)
                same = timeless(Report.read(out)) == timeless(whole)
                print(
                    f"{f'Dask, {processes} process' + 'es' * (processes > 1):<28}{count:>7}{shown:>8.1f}"
                    f"{base / shown:>16.2f}{seconds:>10.1f} [{used:.0f}]  {'yes' if same else 'NO'}",
                    flush=True,
                )


def run_flow(config: StackConfig, parameters: dict[str, Any], processes: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor that the whole run took, from import to its end."""
    environment = {
        **os.environ,
        **catalog.prefect_environment(config),
        "MASKLOOP_PROCESSES": str(processes),
    }
    started, used = time.perf_counter(), processor_seconds(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", FLOW, json.dumps(parameters)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started, processor_seconds(resource.RUSAGE_CHILDREN) - used


def between_shards(config: StackConfig) -> tuple[float, int]:
    """Of the newest flow run: seconds from the first shard's start to the last one's end, and how many."""
    client = httpx.Client(base_url=config.prefect_api, trust_env=False, timeout=60)
    (run,) = client.post("/flow_runs/filter", json={"limit": 1, "sort": "START_TIME_DESC"}).json()
    query = {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200}
    for _ in range(30):  # the server learns of task runs by and by
        tasks = client.post("/task_runs/filter", json=query).json()
        if tasks and all(task["end_time"] for task in tasks):
            break
        time.sleep(1)
    begin = min(task["start_time"] for task in tasks)
    end = max(task["end_time"] for task in tasks)
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds(), len(tasks)


def timeless(report: Report) -> list[dict[str, Any]]:
    """All that a result file holds of its objects, but for the seconds."""
    return [
        {name: value for name, value in vars(item).items() if name != "seconds"} for item in report.objects
    ]


def processor_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
