import subprocess
import sys


def test_threads_wait_passively() -> None:
    """Set before torch is imported, or torch does not see it."""
    script = "import sys, os, maskloop; assert 'torch' not in sys.modules; print(os.getenv('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "PASSIVE"
