import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from maskloop.checkpoint import save_checkpoint
from maskloop.model import CSFPN, ModelConfig

REPOSITORY = Path(__file__).parents[2]
BROUGHT = [
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    "data/snapshot.json",
    "data/.gitignore",
    "params.yaml",
]


def git(folder, *arguments):
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@localhost")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Threads that wait for each other are slow on a busy machine, and there is little to compute."""
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit that holds what ours holds for DVC, and no code."""
    root = tmp_path / "repository"
    for name in BROUGHT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    git(root, "init", "--quiet", "--initial-branch", "main")
    (root / ".gitignore").write_text(".maskloop/\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Begin")
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint that has learnt nothing."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig()), folder, "default", {})
    return folder
