import torch

from maskloop.quantising import quantised, restored

WEIGHTS = {
    "kernel": torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)),
    "matrix": torch.tensor([[1.0, -0.5], [0.0, 0.0], [1e-9, 3e-9], [400.0, 1.0]]),
    "bias": torch.tensor([0.1234567, 5.0]),
    "counter": torch.tensor([[3, 4]]),
}


def test_restored__to_the_nearest_step_of_each_row() -> None:
    back = restored(quantised(WEIGHTS))
    assert back.keys() == WEIGHTS.keys()
    for name in ("kernel", "matrix"):
        step = WEIGHTS[name].flatten(1).abs().amax(dim=1) / 127
        error = (back[name] - WEIGHTS[name]).flatten(1).abs().amax(dim=1)
        # the scale is rounded as well: half a step, and 127 times what half precision loses
        assert (error <= 0.57 * step + 1e-7).all()
    assert torch.equal(back["bias"], WEIGHTS["bias"])
    assert torch.equal(back["counter"], WEIGHTS["counter"])


def test_quantised__a_quarter_of_the_bytes() -> None:
    kernel = quantised({"kernel": torch.randn(64, 64, 3, 3)})
    assert sum(value.nbytes for value in kernel.values()) < 64 * 64 * 9 * 1.01


def test_quantised__twice_is_once() -> None:
    once = restored(quantised(WEIGHTS))
    assert all(torch.equal(value, once[name]) for name, value in restored(quantised(once)).items())


def test_restored__what_does_not_fit_is_left_for_the_reader_to_refuse() -> None:
    stored = quantised({"matrix": torch.ones(3, 2)})
    assert restored({"matrix": stored["matrix"], "matrix.scale": torch.ones(2)})["matrix"].shape == (0,)
    assert restored({"lonely.scale": torch.ones(2)}).keys() == {"lonely.scale"}
