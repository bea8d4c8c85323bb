"""MobileSAM with its real weights on photos that scikit-image carries."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maskloop.clicks import Click, next_click
from maskloop.errors import CheckpointError, ClickError
from maskloop.evaluation import intersection_over_union
from maskloop.images import decode_image
from maskloop.masks import polygon_to_mask
from maskloop.rivals import MobileSam, Sam
from maskloop.rivals.sam import CACHED_IMAGES, _build, input_size, mask_input, prompt
from pipelines.data.samples import load_samples

PHOTOS = {photo.name: photo for photo in load_samples()}


def objects(name):
    photo = PHOTOS[name]
    image = decode_image(photo.image_bytes)
    masks = [polygon_to_mask(item.rings, *image.shape[:2]) for item in photo.objects]
    return image, masks


COINS, COIN_MASKS = objects("coins")


class Session:
    """A person who labels one object, click by click."""

    def __init__(self, segmenter, image, target):
        self.segmenter, self.image, self.target = segmenter, image, target
        self.clicks, self.answers = [], []

    def click(self):
        mask = self.answers[-1].mask if self.answers else np.zeros_like(self.target)
        self.clicks.append(next_click(mask, self.target, None, self.clicks))
        previous = self.answers[-1].probability if self.answers else None
        self.answers.append(self.segmenter.predict(self.image, self.clicks, previous))

    def ious(self):
        return [intersection_over_union(answer.mask, self.target) for answer in self.answers]


@pytest.mark.parametrize("coin", range(4))
def test_mobile_sam__finds_a_coin_under_one_click(coin, mobile_sam):
    session = Session(mobile_sam, COINS, COIN_MASKS[coin])
    session.click()
    assert session.ious()[0] > 0.9
    assert session.answers[0].probability.dtype == np.float32


def test_mobile_sam__second_click_tells_which_object_is_meant(mobile_sam):
    image, masks = objects("astronaut")
    session = Session(mobile_sam, image, masks[0])
    session.click()
    session.click()
    assert session.ious()[1] > max(0.9, session.ious()[0] + 0.2)


def test_mobile_sam__no_state_leaks_between_objects(mobile_sam):
    def sessions(segmenter):
        return [Session(segmenter, COINS, mask) for mask in COIN_MASKS[:2]]

    alone, interleaved = sessions(mobile_sam), sessions(mobile_sam)
    for session in alone:
        for _ in range(3):
            session.click()
    for _ in range(3):
        for session in interleaved:
            session.click()
    for one, other in zip(alone, interleaved, strict=True):
        assert one.clicks == other.clicks
        for expected, answer in zip(one.answers, other.answers, strict=True):
            np.testing.assert_array_equal(answer.probability, expected.probability)


def test_mobile_sam__first_answer_is_the_best_scored_of_three(mobile_sam):
    height, width = COINS.shape[:2]
    embedding = mobile_sam._encoded(COINS.tobytes(), height, width)
    for mask in COIN_MASKS:
        click = next_click(np.zeros_like(mask), mask)
        with torch.inference_mode():
            low, scores = mobile_sam._decode(embedding, prompt([click], height, width), None, several=True)
        assert low.shape == (1, 3, 256, 256)
        answer = mobile_sam.predict(COINS, [click])
        fitting = [(mask_input(answer.probability) > 0).eq(one > 0).float().mean() for one in low[0]]
        assert int(np.argmax(fitting)) == int(scores.argmax())


def test_mobile_sam__attention_biases_are_the_loaded_ones(mobile_sam):
    # the network caches them when it is put into evaluation mode, so that has to happen after loading
    cached = [module for module in mobile_sam._model.modules() if hasattr(module, "attention_bias_idxs")]
    assert len(cached) == 10
    for module in cached:
        assert torch.equal(module.ab, module.attention_biases[:, module.attention_bias_idxs])
        assert module.ab.any()


def test_mobile_sam__nothing_marked_as_the_object(mobile_sam):
    assert not mobile_sam.predict(COINS, [Click(44, 334, positive=False)]).probability.any()


def test_mobile_sam__click_outside(mobile_sam):
    with pytest.raises(ClickError, match="outside the image"):
        mobile_sam.predict(COINS, [Click(303, 5)])


def test_mobile_sam__version_names_the_weights(mobile_sam):
    assert mobile_sam.version == "mobile_sam-6dbb9052"


def test_mobile_sam__images_are_known_by_their_pixels(mobile_sam, monkeypatch):
    # comes after the tests with true images, which it drives out of the cache
    encoded = []

    def encode(pixels):
        encoded.append(pixels)
        return pixels.new_full((1, 256, 64, 64), float(pixels.mean()))

    monkeypatch.setattr(mobile_sam._model.image_encoder, "forward", encode)  # the true one takes a second
    image = np.full((40, 60, 3), 90, np.uint8)
    first = mobile_sam.predict(image, [Click(4, 4)]).probability
    np.testing.assert_array_equal(mobile_sam.predict(image.copy(), [Click(4, 4)]).probability, first)
    assert len(encoded) == 1
    image[:20] = 0  # the same array, another image
    assert not np.array_equal(mobile_sam.predict(image, [Click(4, 4)]).probability, first)
    mobile_sam.predict(image.reshape(60, 40, 3), [Click(4, 4)])
    assert len(encoded) == 3
    for value in range(CACHED_IMAGES):
        mobile_sam.predict(np.full((8, 8, 3), value, np.uint8), [Click(4, 4)])
    mobile_sam.predict(image, [Click(4, 4)])
    assert len(encoded) == 3 + CACHED_IMAGES + 1


def test_prompt__pixel_centres():
    points, labels = prompt([Click(0, 0), Click(255, 511, positive=False)], 256, 512)
    assert points.tolist() == [[[0.5, 0.5], [1022.5, 510.5]]]
    assert labels.tolist() == [[1, 0]]


@pytest.mark.parametrize(("size", "expected"), [((480, 640), (768, 1024)), ((640, 427), (1024, 683))])
def test_input_size__longer_side(size, expected):
    assert input_size(*size) == expected


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 427), (64, 64), (1500, 2000)])
def test_mask_input__undoes_what_enlarges_an_answer(height, width, mobile_sam):
    torch.manual_seed(0)
    low = F.interpolate(4 * torch.randn(1, 1, 8, 8), (256, 256), mode="bicubic")
    size = input_size(height, width)
    probability = mobile_sam._model.postprocess_masks(low, size, (height, width)).sigmoid()[0, 0].numpy()
    rows, cols = size[0] // 4 - 2, size[1] // 4 - 2
    again = mask_input(probability)
    assert again.shape == (1, 1, 256, 256)
    assert (again - low)[..., 2:rows, 2:cols].abs().max() < 0.5


def test_mask_input__certain_pixels_stay_finite():
    probability = np.zeros((512, 1024), np.float32)
    probability[:, 512:] = 1
    logits = mask_input(probability)[0, 0]
    assert logits.isfinite().all()
    assert (logits[:128, 130:] > 10).all()
    assert (logits[:128, :126] < -10).all()


def test_sam__vit_b_by_path(save_constant):
    file = save_constant(_build("vit_b"), "sam_vit_b.pth")
    sam = Sam(file)
    assert sam.kind == "vit_b"
    assert sam.version.startswith("sam_vit_b-")
    assert sum(value.numel() for value in sam._model.parameters()) == 93_735_472
    with pytest.raises(
        CheckpointError, match=r"holds SAM vit_b, not MobileSAM; name it sam:.*sam_vit_b\.pth"
    ):
        MobileSam(file)


def test_sam__another_network(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"holds no image encoder of SAM; it is to be .*sam_vit_b_01ec64"
    ):
        Sam(tmp_path / "other.pth")


def test_sam__missing_file_says_which(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*sam_vit_b_01ec64\.pth.*facebookresearch"):
        Sam(tmp_path / "sam_vit_b_01ec64.pth")
