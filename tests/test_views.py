from dataclasses import replace

import pytest
import torch
from torch import Generator

from maskloop import views
from maskloop.views import Scene, View, augment, draw_view, stack_views

SIZE = 64


def square(top: int, left: int, side: int, size: int = SIZE) -> torch.Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def painted(mask: torch.Tensor, level: float) -> torch.Tensor:
    """An image (3, H, W) that has a level where the mask is, and half of it elsewhere."""
    return torch.where(mask, level, level / 2).expand(3, -1, -1)


def view(mask: torch.Tensor, level: float = 0.8) -> View:
    return View(painted(mask, level), mask.long(), torch.zeros_like(mask))


@pytest.fixture
def generator() -> Generator:
    return Generator().manual_seed(3)


class TestDrawView:
    SCENE = Scene((square(20, 30, 40, 100) * 200).expand(3, -1, -1).byte(), square(20, 30, 40, 100)[None])

    def test_draw_view__image_and_target_stay_together(self, generator):
        for _ in range(20):
            drawn = draw_view(self.SCENE, SIZE, generator)
            assert drawn.image.shape == (3, SIZE, SIZE) and drawn.target.shape == (SIZE, SIZE)
            assert torch.equal(drawn.target == 1, drawn.image[0] > 100 / 255)
            assert not drawn.others.any()

    def test_draw_view__same_seed_same_view(self):
        one, other = (draw_view(self.SCENE, SIZE, Generator().manual_seed(8)) for _ in range(2))
        assert torch.equal(one.image, other.image) and torch.equal(one.target, other.target)

    def test_draw_view__too_little_of_the_object(self, generator):
        scene = Scene(torch.zeros(3, 100, 100, dtype=torch.uint8), square(50, 50, 1, 100)[None])
        assert draw_view(scene, 32, generator) is None

    def test_draw_view__merged_objects(self, generator, monkeypatch):
        monkeypatch.setattr(views, "MERGE_SHARE", 1.0)
        monkeypatch.setattr(views, "ZOOM_SHARE", 1.0)
        masks = torch.stack([square(10, 10, 20), square(10, 32, 20)])
        drawn = draw_view(Scene(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), masks), SIZE, generator)
        columns = drawn.target.any(dim=0)
        first, last = columns.nonzero()[0], columns.nonzero()[-1]
        assert not columns[first:last].all()  # the gap between the two

    def test_draw_view__decodes_no_more_than_it_needs(self, generator):
        class Counted:
            asked = 0

            def __len__(self):
                return 50

            def __getitem__(self, index):
                self.asked += 1
                return square(10, 10, 30)

        masks = Counted()
        draw_view(Scene(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), masks), SIZE, generator)
        assert masks.asked <= 2 + views.NEIGHBOURS


class TestNeighbours:
    TARGET = square(20, 20, 20)
    TOUCHING = square(20, 40, 10)
    FAR = square(0, 0, 10)

    def others(self, masks, generator):
        return views._neighbours(self.TARGET, torch.stack(masks), generator)

    def test_neighbours__touching_ones_alone(self, generator, monkeypatch):
        monkeypatch.setattr(views, "TOUCHING_SHARE", 1.0)
        assert torch.equal(self.others([self.FAR, self.TOUCHING], generator), self.TOUCHING)

    def test_neighbours__all_where_none_touches(self, generator, monkeypatch):
        monkeypatch.setattr(views, "TOUCHING_SHARE", 1.0)
        assert torch.equal(self.others([self.FAR], generator), self.FAR)

    def test_neighbours__all_in_the_other_views(self, generator, monkeypatch):
        monkeypatch.setattr(views, "TOUCHING_SHARE", 0.0)
        both = self.others([self.FAR, self.TOUCHING], generator)
        assert torch.equal(both, self.FAR | self.TOUCHING)

    def test_neighbours__part_of_the_target_is_none(self, generator):
        assert not self.others([square(22, 22, 8), square(21, 20, 20)], generator).any()

    def test_neighbours__whole_around_the_target_is_one(self, generator):
        around = square(10, 10, 40)
        assert torch.equal(self.others([around], generator), around & ~self.TARGET)


class TestAugment:
    def test_augment__flips_everything_alike(self, generator, monkeypatch):
        monkeypatch.setattr(views, "PASTE_SHARE", 0.0)
        mask = square(5, 5, 20)
        item = View(painted(mask, 0.8), mask.long(), mask.roll(25, 1))
        flipped = 0
        for _ in range(20):
            result = augment(stack_views([item]), generator)
            target = result.target[0] == 1
            flipped += not torch.equal(target, mask)
            assert torch.equal(target, result.image[0, 0] > result.image[0, 0].mean() + 0.05)
            assert torch.equal(result.others[0], target.roll(25 if torch.equal(target, mask) else -25, 1))
        assert 4 < flipped < 16

    def test_augment__leaves_its_batch_alone(self, generator):
        batch = stack_views([view(square(5, 5, 20)), view(square(30, 30, 20))])
        before = [plane.clone() for plane in (batch.image, batch.target, batch.others)]
        augment(batch, generator)
        assert all(
            torch.equal(*pair) for pair in zip(before, (batch.image, batch.target, batch.others), strict=True)
        )


class TestPaste:
    @pytest.fixture(autouse=True)
    def always(self, monkeypatch):
        monkeypatch.setattr(views, "PASTE_SHARE", 1.0)

    def test_paste__the_target_decides_which_is_meant(self, generator):
        """Objects of 0.8 and 0.4; the target shows one of them, and the others the other one."""
        batch = stack_views([view(square(20, 20, 24), 0.8), view(square(30, 10, 24), 0.4)])
        meant = set()
        for _ in range(20):
            result = views._paste(batch, generator)
            for image, target, others in zip(result.image, result.target, result.others, strict=True):
                assert not (others & (target == 1)).any()
                levels = image[0][target == 1]
                bright = bool(levels.median() > 0.6)
                meant.add(bright)
                assert bool(image[0][others].median() > 0.6) != bright
        assert meant == {True, False}

    def test_paste__place_and_size_vary(self, generator):
        mask = square(20, 20, 24)
        areas, tops = set(), set()
        for _ in range(30):
            _, moved = views._moved(painted(mask, 0.8)[None], mask[None], generator)
            areas.add(int(moved.sum()))
            tops.add(int(moved[0].any(dim=1).nonzero()[0]))
        low, high = views.PASTE_SCALE
        assert max(areas) <= 24 * 24 * high * high * 1.1
        assert min(areas) < 24 * 24 * low  # half as wide and high is a quarter of the pixels
        assert len(tops) > 15

    def test_moved__exact(self, generator, monkeypatch):
        monkeypatch.setattr(views, "PASTE_SCALE", (0.5, 0.5))
        monkeypatch.setattr(views, "PASTE_REACH", 0.0)
        mask = square(0, 40, 20)
        image, moved = views._moved(painted(mask, 0.8)[None], mask[None], generator)
        assert torch.equal(moved[0], square(27, 27, 10))
        assert (image[0][:, square(28, 28, 8)] > 0.79).all()

    def test_paste__nothing_to_paste(self, generator):
        batch = stack_views([view(square(20, 20, 24)), view(square(0, 0, 0))])
        result = views._paste(batch, generator)
        assert torch.equal(result.target[0], batch.target[0])
        assert torch.equal(result.image[0], batch.image[0])
        assert not result.others[0].any()

    def test_paste__undecided_pixels_stay(self, generator):
        target = square(20, 20, 24).long()
        target[:, 60:] = -1
        batch = stack_views([View(painted(target == 1, 0.8), target, target == 5)] * 2)
        for _ in range(10):
            result = views._paste(batch, generator)
            cut = result.image[:, 0] != batch.image[:, 0]
            assert (result.target[..., 60:] == -1)[~cut[..., 60:]].any()
            assert not (result.target[..., :60] == -1).any()


class TestClicks:
    """Places of clicks that people gave, worked out by hand."""

    CLICKS = torch.tensor([[20.0, 30.0, 1.0], [59.0, 69.0, -1.0], [5.0, 50.0, -1.0]])

    def test_draw_view__clicks_follow_the_crop(self, generator, monkeypatch):
        """A square of 40 pixels from (20, 30) on, shown at 80: a pixel's centre x goes to 2x + 0.5."""
        monkeypatch.setattr(views, "_square", lambda *_: (20, 30, 40))
        scene = replace(TestDrawView.SCENE, clicks=[self.CLICKS])
        drawn = draw_view(scene, 80, generator)
        assert drawn.clicks.tolist() == [[0.5, 0.5, 1], [78.5, 78.5, -1]], "the third is above the square"

    def test_draw_view__clicks_follow_a_crop_that_is_shrunk(self, generator, monkeypatch):
        """At half the size, x goes to x / 2 - 0.25, and the first pixel's centre would be outside."""
        monkeypatch.setattr(views, "_square", lambda *_: (20, 30, 40))
        scene = replace(TestDrawView.SCENE, clicks=[self.CLICKS + torch.tensor([1, 1, 0])])
        assert draw_view(scene, 20, generator).clicks.tolist() == [[0.25, 0.25, 1]]
        scene = replace(TestDrawView.SCENE, clicks=[self.CLICKS])
        assert draw_view(scene, 20, generator).clicks.tolist() == [[0, 0, 1], [19, 19, -1]]

    def test_draw_view__click_lies_on_what_it_lay_on(self, generator):
        """Clicks at the corners of the object stay within a pixel of the corners that are seen."""
        scene = replace(TestDrawView.SCENE, clicks=[torch.tensor([[20.0, 30.0, 1.0], [59.0, 69.0, 1.0]])])
        for _ in range(30):
            drawn = draw_view(scene, SIZE, generator)
            for row, col, _ in drawn.clicks.tolist():
                near = drawn.target[
                    max(0, round(row) - 1) : round(row) + 2, max(0, round(col) - 1) : round(col) + 2
                ]
                assert near.any()
                assert not near.all() or 0 in (round(row), round(col)) or SIZE - 1 in (round(row), round(col))

    def test_draw_view__merged_objects_have_no_clicks(self, generator, monkeypatch):
        monkeypatch.setattr(views, "MERGE_SHARE", 1.0)
        masks = torch.stack([square(10, 10, 20), square(10, 32, 20)])
        image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
        clicks = [torch.tensor([[15.0, 15.0, 1.0]]), torch.tensor([[15.0, 40.0, 1.0]])]
        assert draw_view(Scene(image, masks, clicks), SIZE, generator).clicks is None

    def test_draw_view__clicks_of_the_object_that_is_drawn(self, generator, monkeypatch):
        monkeypatch.setattr(views, "MERGE_SHARE", 0.0)
        monkeypatch.setattr(views, "_square", lambda *_: (0, 0, SIZE))
        masks = torch.stack([square(10, 10, 20), square(10, 32, 20)])
        image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
        clicks = [torch.tensor([[15.0, 15.0, 1.0]]), torch.zeros(0, 3)]
        drawn = [draw_view(Scene(image, masks, clicks), SIZE, generator) for _ in range(20)]
        assert {bool(view.target[15, 15]) for view in drawn} == {True, False}
        assert all((view.clicks is not None) == bool(view.target[15, 15]) for view in drawn)

    def test_draw_view__clicks_change_nothing_else(self):
        plain, clicked = (
            draw_view(replace(TestDrawView.SCENE, clicks=clicks), SIZE, Generator().manual_seed(8))
            for clicks in ((), [self.CLICKS])
        )
        assert torch.equal(plain.image, clicked.image) and torch.equal(plain.target, clicked.target)

    def test_stack_views__empty_slots(self):
        some = replace(view(square(5, 5, 20)), clicks=torch.tensor([[6.0, 7.0, 1.0], [50.0, 7.0, -1.0]]))
        batch = stack_views([view(square(5, 5, 20)), some])
        assert batch.clicks.tolist() == [[[0, 0, 0]] * 2, [[6, 7, 1], [50, 7, -1]]]
        assert stack_views([view(square(5, 5, 20))]).clicks is None

    def test_augment__clicks_follow_the_flip(self, generator, monkeypatch):
        """In 64 columns, column 6 becomes 57 and 50.5 becomes 12.5."""
        monkeypatch.setattr(views, "PASTE_SHARE", 0.0)
        mask = square(5, 5, 20)
        batch = stack_views(
            [replace(view(mask), clicks=torch.tensor([[8.0, 6.0, 1.0], [9.0, 50.5, -1.0]]))] * 20
        )
        result = augment(batch, generator)
        flipped = [not torch.equal(target == 1, mask) for target in result.target]
        assert set(flipped) == {True, False}
        for clicks, turned in zip(result.clicks.tolist(), flipped, strict=True):
            assert clicks == ([[8, 57, 1], [9, 12.5, -1]] if turned else [[8, 6, 1], [9, 50.5, -1]])
        assert batch.clicks[:, 0, 1].eq(6).all(), "the batch itself stays"

    def test_paste__clicks_of_another_target_are_dropped(self, generator, monkeypatch):
        """The first item's object is pasted into the middle of the second, over one of its clicks."""
        monkeypatch.setattr(views, "PASTE_SHARE", 1.0)
        monkeypatch.setattr(views, "PASTE_SCALE", (1.0, 1.0))
        monkeypatch.setattr(views, "PASTE_REACH", 0.0)  # to rows and columns 22 to 41
        clicks = torch.tensor([[30.0, 30.0, -1.0], [4.0, 4.0, 1.0], [21.0, 30.0, -1.0]])
        item = replace(view(square(0, 0, 20)), clicks=clicks)
        kept = set()
        for _ in range(20):
            result = views._paste(stack_views([item] * 2), generator)
            for target, signs in zip(result.target, result.clicks[..., 2].tolist(), strict=True):
                replaced = bool(target[30, 30])
                assert signs == ([0, 0, 0] if replaced else [0, 1, -1])
                kept.add(replaced)
        assert kept == {True, False}

    def test_paste__nothing_pasted_nothing_dropped(self, generator, monkeypatch):
        monkeypatch.setattr(views, "PASTE_SHARE", 1.0)
        item = replace(view(square(20, 20, 24)), clicks=torch.tensor([[30.0, 30.0, 1.0]]))
        result = views._paste(stack_views([item, view(square(0, 0, 0))]), generator)
        assert result.clicks[0].tolist() == [[30, 30, 1]]
