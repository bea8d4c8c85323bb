"""`sparse_propagate` against a loop that reads like its definition, and what the official code got wrong."""

import math

import pytest
import torch
from torch import Tensor

from maskloop.model.propagation import HSGN, SGN, clicked_cells, sparse_propagate

STRIDE = 4
HEIGHT, WIDTH = 6, 8


@pytest.fixture
def maps() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 5), (2, 5), (2, 7)]
    q, k, v = (torch.randn(*size, HEIGHT, WIDTH, generator=generator, dtype=torch.float64) for size in sizes)
    return q, k, v


def clicks(*points: tuple[float, float]) -> Tensor:
    return (
        torch.tensor([[*point, 1.0] for point in points], dtype=torch.float64)
        .reshape(1, -1, 3)
        .expand(2, -1, 3)
    )


def naive(queries: Tensor, keys: Tensor, values: Tensor, cells: list[tuple[int, int]]) -> Tensor:
    out = torch.zeros(values.shape[0], values.shape[1], HEIGHT, WIDTH, dtype=torch.float64)
    for item in range(queries.shape[0]):
        for row in range(HEIGHT):
            for col in range(WIDTH):
                query = queries[item, :, row, col]
                scores = [math.exp(query @ keys[item, :, r, c] / math.sqrt(query.numel())) for r, c in cells]
                for score, (r, c) in zip(scores, cells, strict=True):
                    out[item, :, row, col] += score / sum(scores) * values[item, :, r, c]
    return out


def test_sparse_propagate__equals_a_naive_loop(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    points = clicks((0, 0), (13, 30.2), (9, 9), (9, 10), (23, 31))
    cells = [(0, 0), (3, 7), (2, 2), (2, 2), (5, 7)]
    torch.testing.assert_close(
        sparse_propagate(*maps, points, STRIDE), naive(*maps, cells), rtol=1e-12, atol=1e-12
    )


def test_sparse_propagate__cell_0_counts(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    message = sparse_propagate(*maps, clicks((0, 0)), STRIDE)
    expected = maps[2][:, :, :1, :1].expand_as(message)
    torch.testing.assert_close(message, expected)


@pytest.mark.parametrize("outside", [(-1, 9), (9, -1), (HEIGHT * STRIDE, 9), (9, WIDTH * STRIDE), (-5, -5)])
def test_sparse_propagate__clicks_outside_are_ignored(
    maps: tuple[Tensor, Tensor, Tensor], outside: tuple[float, float]
) -> None:
    inside = clicks((9, 9), (2, 20))
    both = clicks((9, 9), outside, (2, 20))
    torch.testing.assert_close(
        sparse_propagate(*maps, both, STRIDE), sparse_propagate(*maps, inside, STRIDE), rtol=0, atol=0
    )


def test_sparse_propagate__order_does_not_matter(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    points = clicks((0, 0), (13, 30), (9, 9))
    torch.testing.assert_close(
        sparse_propagate(*maps, points, STRIDE), sparse_propagate(*maps, points.flip(1), STRIDE)
    )


def test_sparse_propagate__projections_equal_projected_maps(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    queries, keys, values = maps
    linear = torch.nn.Linear(7, 7).double()
    points = clicks((3, 3), (20, 20))
    projected = linear(values.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(
        sparse_propagate(queries, keys, values, points, STRIDE, project_value=linear),
        sparse_propagate(queries, keys, projected, points, STRIDE),
    )


def test_sparse_propagate__message_has_the_channels_of_a_cell_side_by_side(
    maps: tuple[Tensor, Tensor, Tensor],
) -> None:
    """As the maps that it is added to: one of another format costs a copy in each direction."""
    queries, keys, values = (item.to(memory_format=torch.channels_last) for item in maps)
    message = sparse_propagate(queries, keys, values, clicks((5, 9), (20, 3)), STRIDE)
    assert message.is_contiguous(memory_format=torch.channels_last)


def test_sparse_propagate__leaves_its_arguments_alone(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    points = clicks((-5, 2), (9, 9)).clone()
    before = points.clone()
    sparse_propagate(*maps, points, STRIDE)
    assert torch.equal(points, before)


@pytest.mark.parametrize("points", [torch.zeros(2, 0, 3), torch.zeros(2, 3, 3)])
def test_no_clicks_is_the_identity(points: Tensor) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 12, HEIGHT, WIDTH)
    sgn = SGN(12).eval()
    for head in sgn.heads:
        torch.nn.init.constant_(head.gamma, 2.0)
    torch.testing.assert_close(sgn(features, points, STRIDE), sgn.out(features), rtol=0, atol=0)


def test_gamma_0_is_the_identity() -> None:
    features, stem = torch.randn(2, 12, HEIGHT, WIDTH), torch.randn(2, 4, 2 * HEIGHT, 2 * WIDTH)
    hsgn = HSGN(12, 4, 6).eval()
    torch.testing.assert_close(
        hsgn(features, stem, clicks((9, 9)).float(), 2), hsgn(features, stem, torch.zeros(2, 1, 3), 2)
    )


def test_40_clicks_are_no_limit() -> None:
    points = torch.randint(0, 20, (2, 40, 3)).float()
    points[..., 2] = 1
    assert torch.isfinite(SGN(12).eval()(torch.randn(2, 12, HEIGHT, WIDTH), points, STRIDE)).all()


def test_clicked_cells__rounds_to_the_nearest_pixel() -> None:
    # a click at -0.3 still lies on pixel 0, one at 3.6 on pixel 4
    cells, valid = clicked_cells(torch.tensor([[[-0.3, 3.6, 1.0]]]), HEIGHT, WIDTH, STRIDE)
    assert cells.tolist() == [[1]]
    assert valid.all()
