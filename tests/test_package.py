import subprocess
import sys

SCRIPT = """
import os, sys
import maskloop
assert "torch" not in sys.modules
print(os.environ["OMP_WAIT_POLICY"])
"""


def test_threads_wait_passively() -> None:
    """Set before torch is imported, or torch does not see it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "PASSIVE"
