"""The tests of the stack share one, so they must run in one process."""

import os

import pytest

pytestmark = pytest.mark.stack


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_group__known_to_xdist(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@stack")
