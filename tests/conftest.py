"""The running stack that all tests marked `stack` share: it takes a minute to start, so there is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.up import Stack, running_stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the stack together, in one process, and begin with them: they take the longest."""
    items.sort(key=lambda item: item.get_closest_marker("stack") is None)
    for item in items:
        if item.get_closest_marker("stack"):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Label Studio, MLflow, Prefect with a worker, and the backend, on free ports with fresh data."""
    data: Path = tmp_path_factory.mktemp("stack")
    with running_stack(StackConfig(data, ports=Ports.free()), forward_events=False) as running:
        yield running
