"""Modules taken out of packages that cannot be imported whole, and weights that are read as data."""

import sys

import pytest
import torch
from torch import nn

from maskloop.errors import CheckpointError
from maskloop.rivals.packages import fill, import_alone, read_weights


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that fails when it is imported, around a module that does not."""
    inner = tmp_path / "unwieldy" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("raise RuntimeError('needs what is not here')")
    (inner / "__init__.py").write_text("import not_installed_either")
    (inner / "sizes.py").write_text("SIDE = 3")
    (inner / "net.py").write_text(
        "from absent.layers import double\n"
        "from unwieldy.inner import sizes\n"
        "from .sizes import SIDE\n"
        "AREA = double(SIDE) * sizes.SIDE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


DOUBLE = {"absent.layers": {"double": lambda value: 2 * value}}


@pytest.mark.usefixtures("package")
def test_import_alone__runs_no_package_and_leaves_no_trace():
    before = dict(sys.modules)
    assert import_alone("unwieldy.inner.net", "unwieldy", DOUBLE).AREA == 18
    assert sys.modules == before


@pytest.mark.usefixtures("package")
def test_import_alone__modules_imported_before_stay(monkeypatch):
    whole, absent = object(), object()
    monkeypatch.setitem(sys.modules, "unwieldy.inner", whole)
    monkeypatch.setitem(sys.modules, "absent.layers", absent)
    import_alone("unwieldy.inner.net", "unwieldy", DOUBLE)
    assert sys.modules["unwieldy.inner"] is whole
    assert sys.modules["absent.layers"] is absent


@pytest.mark.usefixtures("package")
def test_import_alone__a_release_without_the_module():
    with pytest.raises(
        CheckpointError, match=r"installed unwieldy has no usable unwieldy.inner.net .*absent"
    ):
        import_alone("unwieldy.inner.net", "unwieldy")
    assert not [name for name in sys.modules if name.startswith(("unwieldy", "absent"))]


def test_import_alone__not_installed():
    with pytest.raises(
        CheckpointError, match=r"some-rival is not installed; pip install 'maskloop\[rivals\]'"
    ):
        import_alone("some_rival.net", "some-rival")


class Intruder:
    def __reduce__(self):
        return print, ("executed",)


def test_read_weights__nothing_is_unpickled(tmp_path, capsys):
    torch.save({"weight": Intruder()}, tmp_path / "evil.pt")
    with pytest.raises(
        CheckpointError, match=r"evil\.pt cannot be read as weights; it is to be the real one"
    ):
        read_weights(tmp_path / "evil.pt", "the real one")
    assert "executed" not in capsys.readouterr().out


def test_read_weights__damaged_missing_or_something_else(tmp_path):
    file = tmp_path / "weights.pt"
    with pytest.raises(CheckpointError, match=r"no file .*weights\.pt; it is to be the real one"):
        read_weights(file, "the real one")
    torch.save({"weight": torch.ones(3)}, file)
    assert read_weights(file, "the real one")["weight"].tolist() == [1, 1, 1]
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(file, "the real one")
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(file, "the real one")
    torch.save({"step": 3}, file)
    with pytest.raises(CheckpointError, match="holds more than named tensors"):
        read_weights(file, "the real one")


def test_fill__weights_of_another_network(tmp_path):
    with pytest.raises(CheckpointError, match=r"weights\.pt does not fit Linear: .*size mismatch for weight"):
        fill(nn.Linear(2, 1), nn.Linear(3, 1).state_dict(), tmp_path / "weights.pt")
