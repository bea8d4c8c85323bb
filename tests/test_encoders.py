"""What every encoder must do, and that each is the network it is named after."""

import hashlib
from math import ceil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.encoders import ENCODERS, build_encoder
from maskloop.model.encoders.convert import main as convert
from maskloop.model.encoders.tiny_vit import Attention, AttentionBlock, join_windows, offsets, split_windows

STRIDES = {
    "efficientnet_lite0": (4, 8, 16, 32),
    "hrnet18": (4, 8, 16, 32),
    "hrnet18s": (4, 8, 16, 32),
    "resnet34": (4, 8),
    "resnet50": (4, 8),
    "resnet101": (4, 8),
    "tiny_vit_5m": (4, 8, 16, 16),
}
ONE_OF_EACH_FAMILY = ("efficientnet_lite0", "hrnet18s", "resnet34", "tiny_vit_5m")


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def model(request: pytest.FixtureRequest) -> CSFPN:
    return build(request.param)


def build(encoder: str) -> CSFPN:
    torch.manual_seed(0)
    return CSFPN(ModelConfig(encoder=encoder, hires_channels=16)).eval()


def scene(height: int, width: int, clicks: int, batch: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(batch, clicks, 2, generator=generator) * torch.tensor([height - 1, width - 1])
    signs = torch.ones(batch, clicks, 1)
    signs[:, 1::2] = -1
    image = torch.rand(batch, 3, height, width, generator=generator)
    return image, torch.zeros(batch, 1, height, width), torch.cat([places, signs], dim=2)


@pytest.mark.parametrize(("height", "width"), [(65, 97), (33, 57)])
def test_encoder__sizes(model: CSFPN, height: int, width: int) -> None:
    encoder = model.encoder
    with torch.no_grad():
        stem = encoder.stem(torch.rand(1, 3, height, width))
        maps = encoder(stem)
        features = model.decoder(maps)
    assert stem.shape == (1, encoder.stem_channels, ceil(height / 2), ceil(width / 2))
    strides = STRIDES[model.config.encoder]
    assert [item.shape for item in maps] == [
        (1, channels, ceil(height / stride), ceil(width / stride))
        for channels, stride in zip(encoder.channels, strides, strict=True)
    ]
    assert features.shape == (1, model.decoder.out_channels, *maps[0].shape[-2:])


@pytest.mark.parametrize(("height", "width", "clicks"), [(65, 97, 0), (33, 57, 40)])
def test_csfpn__any_encoder(model: CSFPN, height: int, width: int, clicks: int) -> None:
    with torch.no_grad():
        logits = model(*scene(height, width, clicks))
    for item in logits:
        assert item.shape == (1, 1, height, width)
        assert torch.isfinite(item).all()


def test_csfpn__checkpoint_of_any_encoder(model: CSFPN, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path, "test", {})
    loaded = load_checkpoint(tmp_path).model
    assert loaded.config == model.config
    weights = loaded.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value.half() if value.is_floating_point() else value), name


def test_csfpn__gradients_reach_every_parameter_of_any_encoder(model: CSFPN) -> None:
    """The last of the tests with this fixture: training changes the running statistics."""
    model.train()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):  # with gamma at 0 the propagation's own weights get none, by design
            nn.init.constant_(parameter, 0.5)
    logits = model(*scene(64, 64, clicks=3, batch=2))
    (logits.mask.square().mean() + logits.auxiliary.square().mean()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("encoder", ONE_OF_EACH_FAMILY)
def test_csfpn__exports(encoder: str) -> None:
    model, inputs = build(encoder), scene(65, 97, clicks=3)
    exported = torch.export.export(model, inputs).module()
    with torch.no_grad():
        for ours, theirs in zip(model(*inputs), exported(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)


# measured on the code of CSFPN and RITM at 320x480: millions of parameters, billions of multiply-adds
PAPER = {"hires": "hsgn", "hires_channels": None, "sign_embedding": False, "dense_projection": True}
BASELINE = {"hires": "none", "sgn": False}


@pytest.mark.parametrize(
    ("encoder", "head", "parts", "parameters", "work"),
    [
        ("hrnet18", "ocr", PAPER, 12.06, 91.5),
        ("hrnet18s", "ocr", PAPER, 6.36, 86.3),
        ("hrnet18", "ocr", BASELINE, 10.03, 14.6),
        ("hrnet18s", "ocr", BASELINE, 4.33, 9.4),
        ("resnet34", "deeplab", BASELINE, 23.35, 58.6),
    ],
)
def test_csfpn__costs_what_the_original_costs(
    encoder: str, head: str, parts: dict[str, object], parameters: float, work: float
) -> None:
    with torch.device("meta"):
        model = CSFPN(ModelConfig(encoder=encoder, head=head, **parts)).eval()
        image, previous, clicks = (
            torch.zeros(1, 3, 320, 480),
            torch.zeros(1, 1, 320, 480),
            torch.zeros(1, 20, 3),
        )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image, previous, clicks)
    assert sum(item.numel() for item in model.parameters()) / 1e6 == pytest.approx(parameters, rel=0.01)
    assert counter.get_total_flops() / 2e9 == pytest.approx(work, rel=0.01)


def test_csfpn__sizes_of_the_paper() -> None:
    """The shapes of the paper's network at 320x480: 270 channels at stride 4, and at stride 2 after HSGN."""
    with torch.device("meta"):
        model = CSFPN(ModelConfig(encoder="hrnet18", head="ocr", **PAPER)).eval()
        stem = model.encoder.stem(torch.zeros(1, 3, 320, 480))
        features = model.decoder(model.encoder(stem))
        propagated = model.sgn(features, torch.zeros(1, 2, 3), stride=4)
        fine = model.hires(propagated, stem, torch.zeros(1, 2, 3), stride=2)
        logit = model.head(fine, model.auxiliary(features))
    assert stem.shape == (1, 64, 160, 240)
    assert features.shape == propagated.shape == (1, 270, 80, 120)
    assert fine.shape == (1, 270, 160, 240)
    assert logit.shape == (1, 1, 160, 240)
    assert model.sgn.heads[0].query.out_channels == model.hires.propagation.query.out_channels == 90


# of the published state dicts without the classifier (hrnet_w18 and hrnet_w18_small_v2 of timm 1.0.31, the
# ResNets of torchvision 0.29.1, with which timm agrees, mobile_sam.pt): how many tensors, a digest of their
# names and shapes, and one of them to read
PUBLISHED = {
    "hrnet18": (1830, "9545829b6f86d022", "stage4.2.fuse_layers.3.0.2.0.weight", (144, 18, 3, 3)),
    "hrnet18s": (864, "c0102182dbfa88ca", "transition1.1.0.0.weight", (36, 256, 3, 3)),
    "resnet34": (216, "44a0fd3c2ef0c9ed", "layer1.0.conv1.weight", (64, 64, 3, 3)),
    "resnet50": (318, "c1f7fd3808aa49e7", "layer4.0.downsample.0.weight", (2048, 1024, 1, 1)),
    "resnet101": (624, "a36254db3e8fffb4", "layer3.22.conv3.weight", (1024, 256, 1, 1)),
    "tiny_vit_5m": (292, "ce835761b1f612ac", "layers.2.blocks.5.attn.attention_biases", (5, 196)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_encoder__has_the_published_names_and_shapes(name: str) -> None:
    count, digest, example, shape = PUBLISHED[name]
    with torch.device("meta"):
        own = build_encoder(name).state_dict()
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in own.items())
    assert own[example].shape == shape
    assert len(own) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Weights as TinyViT's file names them, with the rest of its model."""
    torch.manual_seed(1)
    encoder = build_encoder("tiny_vit_5m")
    weights = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights["image_encoder.neck.0.weight"] = torch.zeros(256, 320, 1, 1)
    weights["mask_decoder.iou_token.weight"] = torch.zeros(1, 256)
    return weights


def test_load_published__wrapped(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    bare = {name.removeprefix("image_encoder."): value for name, value in published.items()}
    contents = {
        "plain.pt": published,
        "bare.pth": bare,
        "training.bin": {"epoch": 3, "state_dict": {f"module.{name}": item for name, item in bare.items()}},
        "nested.pt": {"model": {"state_dict": published}},
    }
    for file, content in contents.items():
        torch.save(content, tmp_path / file)
    save_file(published, tmp_path / "plain.safetensors")
    for file in (*contents, "plain.safetensors"):
        encoder = build_encoder("tiny_vit_5m")
        encoder.load_imagenet(tmp_path / file)
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, bare[name]), (file, name)


def test_load_published__counters_of_batch_norms_may_lack(tmp_path: Path) -> None:
    weights = build_encoder("resnet34").state_dict()
    old = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(
        {**old, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "old.pth"
    )
    encoder = build_encoder("resnet34")
    encoder.load_imagenet(tmp_path / "old.pth")
    assert torch.equal(encoder.conv1.weight, weights["conv1.weight"])


def test_load_published__another_network(tmp_path: Path) -> None:
    """The larger HRNet holds all names of the smaller one, so what is left over must count."""
    torch.save(build_encoder("hrnet18").state_dict(), tmp_path / "large.pth")
    with pytest.raises(
        CheckpointError,
        match=r"HRNetV2-W18-Small-v2: 0 of 864 tensors .* 805 are unknown, first 'layer1.2.conv1.weight'; "
        r"use hrnet_w18_small_model_v2.pth of HRNet/HRNet-Image-Classification",
    ):
        build_encoder("hrnet18s").load_imagenet(tmp_path / "large.pth")


def test_load_published__another_shape(tmp_path: Path) -> None:
    weights = build_encoder("resnet34").state_dict()
    torch.save({**weights, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pth")
    with pytest.raises(CheckpointError, match=r"ResNet-34: 1 of 216 tensors .* first 'conv1.weight'"):
        build_encoder("resnet34").load_imagenet(tmp_path / "grey.pth")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"epoch": 3}}, {}])
def test_load_published__no_weights_in_it(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd.pth does not hold ResNet-34: 180 of 216 tensors"):
        build_encoder("resnet34").load_imagenet(tmp_path / "odd.pth")


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_load_published__damaged(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not a page of weights, but of words")
    with pytest.raises(
        CheckpointError, match=rf"{name} cannot be read .*; use the ImageNet weights of resnet34"
    ):
        build_encoder("resnet34").load_imagenet(tmp_path / name)


def test_load_published__never_unpickles(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path("anything that is no tensor")}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        build_encoder("resnet34").load_imagenet(tmp_path / "code.pth")


def test_load_published__missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.pth is missing; give the ImageNet weights of resnet34"):
        build_encoder("resnet34").load_imagenet(tmp_path / "none.pth")


def test_convert(
    published: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "published.pt", tmp_path / "encoder.safetensors"
    torch.save(published, source)
    assert convert(["tiny_vit_5m", str(source), str(target)]) == 0
    encoder = build_encoder("tiny_vit_5m")
    encoder.load_imagenet(target)
    assert torch.equal(
        encoder.patch_embed.seq[0].c.weight, published["image_encoder.patch_embed.seq.0.c.weight"]
    )
    assert convert(["hrnet18s", str(source), str(target)]) == 1
    assert "does not hold HRNetV2-W18-Small-v2" in capsys.readouterr().err
    assert convert(["tiny_vit_5m", str(source), str(tmp_path / "none" / "x.safetensors")]) == 1
    assert "none is no folder" in capsys.readouterr().err


def test_resnet__dilation_keeps_what_the_published_weights_see() -> None:
    """Output stride 8: what had stride 2 has stride 1, and what came after it looks twice as far apart."""
    dilations = {
        name: module.dilation[0]
        for name, module in build_encoder("resnet34").named_modules()
        if isinstance(module, nn.Conv2d) and name.endswith(("0.conv1", "0.conv2", "1.conv1"))
    }
    assert [dilations[f"layer3.{name}"] for name in ("0.conv1", "0.conv2", "1.conv1")] == [1, 2, 2]
    assert [dilations[f"layer4.{name}"] for name in ("0.conv1", "0.conv2", "1.conv1")] == [2, 4, 4]
    with torch.device("meta"):
        assert build_encoder("resnet50").layer4[0].conv2.dilation == (2, 2)


def test_tiny_vit__offsets() -> None:
    # cells of a 2x2 window: a b / c d; same 0, one column 1, one row 2, both 3
    assert offsets(2).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


def test_tiny_vit__windows() -> None:
    cells = torch.arange(15.0).reshape(1, 3, 5, 1)
    windows = split_windows(cells, 2)
    assert windows.shape == (6, 4, 1)
    assert windows[1, :, 0].tolist() == [2, 3, 7, 8]
    assert windows[5, :, 0].tolist() == [14, 0, 0, 0]
    assert torch.equal(join_windows(windows, 2, cells.shape), cells)


def test_tiny_vit__attention_is_what_its_formula_says() -> None:
    torch.manual_seed(0)
    layer = Attention(channels=6, heads=2, window=2)
    nn.init.normal_(layer.attention_biases)
    cells = torch.randn(3, 4, 6)
    seen = []
    for head, part in enumerate(layer.qkv(layer.norm(cells)).chunk(2, dim=2)):
        queries, keys, values = part.split(3, dim=2)
        scores = queries @ keys.transpose(1, 2) / 3**0.5 + layer.attention_biases[head][offsets(2)]
        seen.append(scores.softmax(dim=2) @ values)
    torch.testing.assert_close(layer(cells), layer.proj(torch.cat(seen, dim=2)))


def test_tiny_vit__windows_do_not_see_each_other_but_for_the_convolution() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(channels=4, heads=2, window=7).eval()
    image = torch.randn(1, 4, 14, 14)
    changed = image.clone()
    changed[:, 0, 0, 0] += 5  # in one channel: the norm takes out what all have in common
    with torch.no_grad():
        differs = (block(image) != block(changed)).any(dim=1)[0]
    assert differs[:8, :8].all()
    assert not differs[8:].any()
    assert not differs[:, 8:].any()
