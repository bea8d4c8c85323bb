"""The evaluation flow on a real Dask cluster of two processes, against Prefect's server."""

import os
import subprocess
import sys

import pytest

from maskloop.annotators import CentreAnnotator
from maskloop.results import Report
from pipelines.stack import catalog
from pipelines.stack.prefect_api import prefect_command
from pipelines.stack.up import Stack
from tests.test_sharding import made_evaluation, timeless

pytestmark = pytest.mark.stack

FLOW = """
import sys
from pipelines.flows.evaluate import evaluate
evaluate("parquet", sys.argv[1], sys.argv[2], sys.argv[3], shards=3, max_clicks=2)
"""


def test_flow__shards_on_a_cluster_give_the_file_of_one_process(stack: Stack, tmp_path) -> None:
    evaluation, out = (
        made_evaluation(tmp_path, protocol=None, annotator=CentreAnnotator()),
        tmp_path / "out.json",
    )
    environment = os.environ | catalog.prefect_environment(stack.config) | {"MASKLOOP_PROCESSES": "2"}
    done = subprocess.run(
        [sys.executable, "-c", FLOW, str(evaluation.root), str(evaluation.model), str(out)],
        env=environment,
        cwd=stack.config.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # what a worker logs while its cluster is closed may be lost, so how often it says this is left open
    assert "are measured" in done.stderr
    assert timeless(Report.read(out), tmp_path) == timeless(evaluation.run(progress=False), tmp_path)
    assert "evaluate/evaluate" in prefect_command(stack.config, "deployment", "ls")
