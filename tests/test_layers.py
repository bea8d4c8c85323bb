"""Convolutions that learn by a way of their own, against torch's."""

import pytest
import torch
from torch import nn

from maskloop.model.layers import Conv2d, Depthwise


@pytest.mark.parametrize(
    "kernel, stride, padding, groups",
    [(5, 1, 2, 6), (5, 1, 0, 6), (5, 2, 0, 6), (3, 1, 1, 6), (5, 1, 2, 3), (5, 1, 2, 1)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_conv2d__learns_as_torch_does(
    kernel: int, stride: int, padding: int, groups: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    own = Conv2d(6, 6, kernel, stride, padding, groups=groups, bias=False)
    other = nn.Conv2d(6, 6, kernel, stride, padding, groups=groups, bias=False)
    other.load_state_dict(own.state_dict())
    image = torch.randn(2, 6, 13, 9).contiguous(memory_format=layout)
    wanted = []
    for module in (own, other):
        x = image.clone().requires_grad_()
        module(x).square().sum().backward()
        wanted.append((x.grad, module.weight.grad))
    torch.testing.assert_close(wanted[0], wanted[1], rtol=1e-4, atol=1e-4)


def test_conv2d__gradient_in_float32_of_bfloat16_maps() -> None:
    torch.manual_seed(0)
    own = Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    image = torch.randn(2, 4, 9, 9).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result = own(image)
    assert result.dtype == torch.bfloat16
    result.float().sum().backward()
    assert own.weight.grad is not None
    assert own.weight.grad.dtype == torch.float32


def test_conv2d__own_way_in_training_alone() -> None:
    own = Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    image = torch.randn(1, 4, 9, 9)
    name = type(own(image).grad_fn).__name__
    assert name == f"{Depthwise.__name__}Backward"
    assert type(own.eval()(image).grad_fn).__name__ != name
    with torch.no_grad():
        torch.testing.assert_close(own.train()(image), own.eval()(image))


def test_depthwise__gradient_by_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 7, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 1, 5, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: Depthwise.apply(*given, (2, 2)), (x, weight))
