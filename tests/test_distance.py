import cv2
import numpy as np
import pytest
import torch

from maskloop.distance import squared_distance


def test_squared_distance__by_hand() -> None:
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
    # the image's border counts as outside, one pixel away
    assert squared_distance(mask).tolist() == [[0, 1, 1, 1], [1, 2, 4, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (40, 3), (61, 83)])
def test_squared_distance__equals_opencv(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(3, *shape, generator=generator) > 0.03
    distances = squared_distance(masks)
    for mask, distance in zip(masks, distances, strict=True):
        padded = np.pad(mask.numpy().astype(np.uint8), 1)
        expected = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        np.testing.assert_allclose(np.sqrt(distance.numpy()), expected, atol=1e-3)


def test_squared_distance__nothing_inside() -> None:
    assert squared_distance(torch.zeros(5, 6, dtype=torch.bool)).sum() == 0
