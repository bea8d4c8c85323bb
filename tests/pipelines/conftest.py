import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BROUGHT = (".dvc/config", ".dvc/.gitignore", ".dvcignore", "data/snapshot.json", "data/.gitignore")
BROUGHT_TOO = ("models/.gitignore", "params.yaml")


def git(folder, *arguments):
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@localhost")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit that holds what ours holds for DVC, and no code."""
    root = tmp_path / "repository"
    for name in BROUGHT + BROUGHT_TOO:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    git(root, "init", "--quiet", "--initial-branch", "main")
    (root / ".gitignore").write_text(".maskloop/\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Begin")
    return root
