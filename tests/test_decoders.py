import pytest
import torch
from torch import nn

from maskloop.errors import CheckpointError
from maskloop.model.decoders import DECODERS, Concat, DeepLab, SpatialPyramid, build_decoder
from maskloop.model.encoders import build_encoder


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_decoder__odd_sizes(name: str) -> None:
    decoder = DECODERS[name]((3, 4, 5), 6).eval()
    maps = [torch.rand(2, 3, 17, 25), torch.rand(2, 4, 9, 13), torch.rand(2, 5, 5, 7)]
    with torch.no_grad():
        features = decoder(maps)
    assert features.shape == (2, decoder.out_channels, 17, 25)


def test_concat__stacks_the_resized_maps() -> None:
    fine, coarse = torch.rand(1, 2, 4, 4), torch.full((1, 3, 2, 2), 7.0)
    features = Concat((2, 3), 5)([fine, coarse])
    assert torch.equal(features[:, :2], fine)
    torch.testing.assert_close(features[:, 2:], torch.full((1, 3, 4, 4), 7.0))


def test_deeplab__one_image_can_be_trained_on() -> None:
    """A batch norm on one pooled cell of one image would refuse."""
    decoder = DeepLab((3, 5), 4).train()
    decoder([torch.rand(1, 3, 8, 8), torch.rand(1, 5, 4, 4)]).sum().backward()


def test_spatial_pyramid__sees_the_whole_map() -> None:
    torch.manual_seed(0)
    pyramid = SpatialPyramid(2, 8, dropout=0.0).eval()
    image = torch.rand(1, 2, 50, 50)
    changed = image.clone()
    changed[..., 49, 49] += 100
    with torch.no_grad():
        before, after = pyramid(image), pyramid(changed)
    # 49 cells are beyond every dilation, so only the pooled branch can tell
    assert not torch.equal(before[..., 0, 0], after[..., 0, 0])


@pytest.mark.parametrize(("encoder", "width", "dropout"), [("resnet34", 128, 0.2), ("resnet101", 256, 0.5)])
def test_build_decoder__deeplab_as_published(encoder: str, width: int, dropout: float) -> None:
    with torch.device("meta"):
        decoder = build_decoder(build_encoder(encoder))
    assert decoder.out_channels == width
    assert [layer.p for layer in decoder.modules() if isinstance(layer, nn.Dropout)] == [dropout]


def test_build_decoder__width_of_the_maps_only() -> None:
    with torch.device("meta"):
        encoder = build_encoder("hrnet18s")
        assert build_decoder(encoder).out_channels == build_decoder(encoder, 270).out_channels == 270
        with pytest.raises(CheckpointError, match="channels is 64, but HRNet gives 270"):
            build_decoder(encoder, 64)
