"""The running stack that all tests marked `stack` share: it takes a minute to start, so there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.up import Stack, running_stack


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the stack together, in one process, and begin with them: they take the longest.

    A test that starts a stack of its own is in a group of its own, `xdist_group`.
    """
    items.sort(key=lambda item: item.get_closest_marker("stack") is None)
    for item in items:
        if item.get_closest_marker("stack") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Iterator[Stack]:
    """Label Studio, MLflow, Prefect with a worker, and the backend, on free ports with fresh data."""
    data: Path = tmp_path_factory.mktemp("stack")
    with (
        _only_one(data.parent.parent / f"stack-of-{testrun_uid}"),
        running_stack(StackConfig(data, ports=Ports.free()), forward_events=False) as running,
    ):
        yield running


@contextmanager
def _only_one(mark: Path) -> Iterator[None]:
    """Fail if the tests of the stack are spread over two processes: two stacks take twice the time."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        pytest.fail("a second stack is starting: run the tests with `--dist loadgroup`, as `make test` does")
    try:
        yield
    finally:
        mark.unlink()
