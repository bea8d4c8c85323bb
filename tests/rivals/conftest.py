import pytest
import torch

from maskloop.rivals import MobileSam


@pytest.fixture(scope="session")
def mobile_sam():
    return MobileSam()


@pytest.fixture(scope="session")
def save_constant(tmp_path_factory):
    """Saves the state of a network with all weights alike; each tensor is stored as one number, repeated."""

    def save(model, name, value=0.0, prefix="", **other):
        state = {
            prefix + key: other.get(key, torch.full((), value, dtype=tensor.dtype).expand(tensor.shape))
            for key, tensor in model.state_dict().items()
        }
        file = tmp_path_factory.mktemp("weights") / name
        torch.save(state, file)
        return file

    return save
