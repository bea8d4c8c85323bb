import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator

from maskloop.corpus import Corpus
from maskloop.errors import TrainingError
from maskloop.masks import encode_coco
from maskloop.resident import Resident
from maskloop.training import TrainingConfig, draw_batch
from maskloop.views import Scene

DRAWN = np.random.default_rng(0)


def row(height: int, width: int, source: str) -> dict[str, object]:
    """A noisy image with three blocks, the first of them clicked on by somebody."""
    masks = np.zeros((3, height, width), bool)
    masks[0, : height // 2] = masks[1, :, width // 2 :] = masks[2, 5:40, 7:50] = True
    objects = [
        {"rle": encode_coco(mask)["counts"], "category": "a", "area": int(mask.sum())} for mask in masks
    ]
    objects[0]["clicks"] = [{"row": 4.0, "col": 6.0, "positive": True}]
    image = cv2.imencode(".png", DRAWN.integers(0, 255, (height, width, 3), np.uint8))[1].tobytes()
    size = {"source": source, "split": "train", "height": height, "width": width}
    return {"image_id": f"{height}", **size, "image": image, "objects": objects}


@pytest.fixture
def corpus() -> Corpus:
    return Corpus(pd.DataFrame([row(90, 120, "one"), row(130, 80, "two"), row(100, 100, "two")]))


def test_draw__what_the_corpus_draws(corpus: Corpus) -> None:
    generators, resident = [Generator().manual_seed(3) for _ in "ab"], Resident(corpus, "cpu")
    for _ in range(20):
        scene, held = (
            source.draw(generator) for source, generator in zip((corpus, resident), generators, strict=True)
        )
        assert torch.equal(scene.image, held.image) and len(scene.masks) == len(held.masks)
        assert all(torch.equal(scene.masks[index], held.masks[index]) for index in range(len(scene.masks)))
        assert [clicks.tolist() for clicks in scene.clicks] == [clicks.tolist() for clicks in held.clicks]


def test_draw_batch__the_same_views(corpus: Corpus) -> None:
    config = TrainingConfig(batch=12, size=64)
    one, held = (
        draw_batch(source, config, Generator().manual_seed(1), "cpu")
        for source in (corpus, Resident(corpus, "cpu"))
    )
    assert one.clicks is not None and held.clicks is not None
    for plane, other in zip(vars(one).values(), vars(held).values(), strict=True):
        assert torch.equal(plane, other)


def test_resident__decodes_each_image_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    image = corpus.image
    monkeypatch.setattr(corpus, "image", lambda number: decoded.append(number) or image(number))
    resident = Resident(corpus, "cpu")
    scenes: list[Scene] = [resident.draw(Generator().manual_seed(seed)) for seed in range(30)]
    assert len(scenes) == 30 and sorted(decoded) == [0, 1, 2]


def test_resident__too_little_memory(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> torch.Tensor:
        raise torch.OutOfMemoryError(f"no room for image {number}")

    monkeypatch.setattr(corpus, "image", full)
    with pytest.raises(TrainingError, match=r"3 images take 0\.0 GB, which cpu has not free.*--no-hold"):
        Resident(corpus, "cpu")
