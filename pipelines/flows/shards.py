"""Where the shards of a flow are done: on a Dask cluster, or one by one in the flow's own process."""

import os
from collections.abc import Mapping
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipelines.errors import SettingsError

ADDRESS, PROCESSES = "MASKLOOP_DASK", "MASKLOOP_PROCESSES"


def task_runner(environment: Mapping[str, str] = os.environ) -> TaskRunner[Any]:
    """What the worker's environment asks for.

    `MASKLOOP_DASK` is the address of a scheduler (`tcp://host:8786`) whose workers see the same files and
    services. `MASKLOOP_PROCESSES` makes a cluster of so many processes on this machine, for one run.

    Raises:
        SettingsError: the number is none, or prefect-dask is not installed.
    """
    address, processes = environment.get(ADDRESS, ""), environment.get(PROCESSES, "")
    if not address and not processes:
        return ThreadPoolTaskRunner(max_workers=1)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise SettingsError(
            f"{ADDRESS} and {PROCESSES} need prefect-dask: pip install 'maskloop[scale]'."
        ) from error
    if address:
        return DaskTaskRunner(address=address)
    if not processes.isdecimal() or int(processes) < 1:
        raise SettingsError(f"{PROCESSES} is {processes!r}: set it to a number of processes.")
    import dask

    # Dask lets its processes give memory back at once, and the network asks for it again at each layer: page
    # faults took as long as the arithmetic
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})
    # a shard keeps one thread busy, and Dask gives the network of each process one
    cluster = {"n_workers": int(processes), "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)
